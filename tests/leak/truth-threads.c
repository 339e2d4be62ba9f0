/* Threads: what they hold while they run, wait, come and go, and what is lost when they have ended.
 */
#include "truth.h"

#include <fcntl.h>

BLOCK(keep_block)
BLOCK(keep_other)
BLOCK(keep_behind)
BLOCK(lost_block)
BLOCK(lost_other)
BLOCK(lost_behind_block)

static void *volatile global;

/* ---- that run, or wait ---- */

static void *hold(void *unused) {
    void *volatile held = keep_block(40);
    truth_started();
    truth_block();
    (void)held;
    return unused;
}

static void run_many(void) {
    for (unsigned i = 0; i < 64; i++)
        truth_thread(hold, NULL);
    truth_await(64);
    truth_rest();
}

static void *hold_and_spin(void *unused) {
    void *volatile held = keep_block(40);
    truth_started();
    for (volatile unsigned spins = 0;; spins = spins + 1)
        (void)held;
    return unused;
}

static void run_busy(void) {
    for (unsigned i = 0; i < 4; i++)
        truth_thread(hold_and_spin, NULL);
    truth_await(4);
    truth_rest();
}

/* Nobody but the thread has it. */
static void *use_argument(void *argument) {
    void *volatile held = argument;
    truth_started();
    truth_block();
    (void)held;
    return NULL;
}

MAKES void make_argument(void) {
    void *argument = keep_block(40);
    truth_point(argument, 2, keep_behind(24));
    truth_thread(use_argument, argument);
    truth_await(1);
}

static void run_argument(void) {
    truth_make(make_argument);
    truth_rest();
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t zero;

static void *wait_condition(void *unused) {
    void *volatile held = keep_block(40);
    pthread_mutex_lock(&mutex);
    truth_started();
    for (;;)
        pthread_cond_wait(&never, &mutex);
    (void)held;
    return unused;
}

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER;

static void *wait_mutex(void *unused) {
    void *volatile held = keep_block(48);
    truth_started();
    pthread_mutex_lock(&taken);
    global = held;
    return unused;
}

static void *wait_semaphore(void *unused) {
    void *volatile held = keep_block(56);
    truth_started();
    for (;;)
        sem_wait(&zero);
    (void)held;
    return unused;
}

static void *wait_sleep(void *unused) {
    void *volatile held = keep_block(64);
    truth_started();
    for (;;)
        sleep(1000);
    (void)held;
    return unused;
}

static void *wait_join(void *unused) {
    void *volatile held = keep_block(72);
    truth_started();
    pthread_join(truth_thread(hold, NULL), NULL);
    global = held;
    return unused;
}

static void run_waiting(void) {
    sem_init(&zero, 0, 0);
    pthread_mutex_lock(&taken);
    truth_thread(wait_condition, NULL);
    truth_thread(wait_mutex, NULL);
    truth_thread(wait_semaphore, NULL);
    truth_thread(wait_sleep, NULL);
    truth_thread(wait_join, NULL);
    truth_await(6);
    truth_rest();
}

__attribute__((noinline)) static void descend(unsigned depth, void (*end)(void)) {
    void *volatile held = keep_block(24);
    if (depth)
        descend(depth - 1, end);
    else
        end();
    global = held;
}

static void start_and_block(void) {
    truth_started();
    truth_block();
}

static void *hold_deep(void *unused) {
    descend(10000, start_and_block);
    return unused;
}

static void run_deep(void) {
    truth_thread(hold_deep, NULL);
    truth_await(1);
    truth_rest();
}

__attribute__((noinline)) static void start_with(size_t stack, size_t guard) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack);
    pthread_attr_setguardsize(&attributes, guard);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, hold, NULL) != 0)
        truth_die("pthread_create");
    pthread_attr_destroy(&attributes);
}

/* Without a guard their mappings are one. */
static void run_stacks(void) {
    static const size_t stacks[] = {256 * KIB, MIB, 64 * MIB, 512 * MIB};
    for (size_t i = 0; i < COUNT(stacks); i++) {
        start_with(stacks[i], 0);
        start_with(stacks[i], 4096);
        start_with(stacks[i], MIB / 4);
    }
    truth_await(3 * COUNT(stacks));
    truth_rest();
}

static __thread void *volatile own;

MAKES void make_own(void) {
    own = keep_other(32);
}

static void *hold_own(void *unused) {
    truth_make(make_own);
    return hold(unused);
}

static void *start_another(void *unused) {
    truth_thread(hold_own, NULL);
    return hold_own(unused);
}

static void run_nested(void) {
    truth_thread(start_another, NULL);
    truth_thread(start_another, NULL);
    truth_await(4);
    truth_rest();
}

/* What the kernel says of the first thread. */
__attribute__((noinline)) static bool main_has_ended(void) {
    char text[512];
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    text[got > 0 ? got : 0] = 0;
    const char *end = strrchr(text, ')');
    return end && end[2] == 'Z';
}

static void *rest_without_main(void *unused) {
    while (!main_has_ended())
        usleep(1000);
    truth_rest();
    return unused;
}

MAKES void make_without_main(void) {
    global = keep_block(40);
    truth_point(lost_block(48), 1, lost_behind_block(24));
}

static void run_without_main(void) {
    truth_make(make_without_main);
    truth_thread(rest_without_main, NULL);
    truth_scrub(); /* its stack stays as it is */
    pthread_exit(NULL);
}

/* ---- that have ended ---- */

static void *lose(void *unused) {
    void *volatile held = lost_block(40);
    void *volatile more[20];
    for (size_t i = 0; i < COUNT(more); i++)
        more[i] = held;
    truth_point(held, 1, lost_behind_block(24));
    return unused;
}

static void run_joined(void) {
    for (unsigned i = 0; i < 5; i++)
        truth_in_thread(lose, NULL);
    truth_rest();
}

static void run_joined_together(void) {
    pthread_t threads[8];
    for (size_t i = 0; i < COUNT(threads); i++)
        threads[i] = truth_thread(lose, NULL);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    truth_rest();
}

static void run_detached(void) {
    for (unsigned i = 0; i < 5; i++)
        pthread_detach(truth_thread(lose, NULL));
    truth_await_alone();
    truth_rest();
}

static void *detach_and_lose(void *unused) {
    pthread_detach(pthread_self());
    return lose(unused);
}

static void run_detached_itself(void) {
    truth_thread(detach_and_lose, NULL);
    truth_await_alone();
    truth_rest();
}

/* Nobody has asked for its result yet, and somebody still may. */
static void *lose_and_return(void *unused) {
    lose(unused);
    return keep_block(56);
}

static void *lose_and_exit(void *unused) {
    lose(unused);
    pthread_exit(keep_block(64));
}

static void run_not_joined(void) {
    truth_thread(lose_and_return, NULL);
    truth_thread(lose_and_exit, NULL);
    truth_await_alone();
    truth_rest();
}

/* The result of one that was joined is the program's. */
MAKES void make_results(void) {
    void *result;
    pthread_join(truth_thread(lose_and_return, NULL), &result);
    global = result;
}

static void run_results(void) {
    truth_make(make_results);
    truth_rest();
}

static void *return_lost(void *unused) {
    (void)unused;
    return lost_other(72);
}

MAKES void make_result_lost(void) {
    pthread_join(truth_thread(return_lost, NULL), NULL);
}

static void run_result_lost(void) {
    truth_make(make_result_lost);
    truth_rest();
}

static void *use_and_lose(void *argument) {
    truth_point(argument, 1, lost_behind_block(24));
    return NULL;
}

MAKES void make_argument_lost(void) {
    truth_in_thread(use_and_lose, lost_block(40));
}

static void run_argument_lost(void) {
    truth_make(make_argument_lost);
    truth_rest();
}

MAKES void make_own_lost(void) {
    own = lost_other(32);
}

static void *lose_own(void *unused) {
    truth_make(make_own_lost);
    return unused;
}

static void run_own_lost(void) {
    truth_in_thread(lose_own, NULL);
    truth_rest();
}

static void run_own_lost_not_joined(void) {
    truth_thread(lose_own, NULL);
    truth_await_alone();
    truth_rest();
}

static void *plug;

__attribute__((noinline)) static void tell_plug(const char *function, void *block) {
    void (*tell)(void *) = (void (*)(void *))dlsym(plug, function);
    if (!tell)
        truth_die(function);
    tell(block);
}

MAKES void make_plug_lost(void) {
    tell_plug("plug_hold_in_table", lost_other(80));
    tell_plug("plug_hold_by_thread", lost_other(88));
}

static void *lose_in_plug(void *unused) {
    truth_make(make_plug_lost);
    return unused;
}

static void run_dynamic_lost(void) {
    plug = truth_plug();
    for (unsigned i = 0; i < 3; i++)
        truth_in_thread(lose_in_plug, NULL);
    truth_rest();
}

static pthread_key_t keys[40];

MAKES void make_keys(void) {
    for (size_t i = 0; i < COUNT(keys); i++)
        pthread_setspecific(keys[i], i % 2 ? malloc(50) : lost_other(50));
}

static void *lose_by_keys(void *unused) {
    truth_make(make_keys);
    return unused;
}

/* Every second one has a destructor. */
static void run_keys(void) {
    for (size_t i = 0; i < COUNT(keys); i++)
        pthread_key_create(&keys[i], i % 2 ? free : NULL);
    truth_in_thread(lose_by_keys, NULL);
    truth_rest();
}

static void give_back(void *block) {
    free(block);
}

static void *be_cancelled(void *unused) {
    void *volatile held = lost_block(40);
    void *freed = malloc(60);
    pthread_cleanup_push(give_back, freed);
    truth_started();
    truth_block();
    pthread_cleanup_pop(1);
    (void)held;
    return unused;
}

MAKES void make_cancelled(void) {
    pthread_t thread = truth_thread(be_cancelled, NULL);
    truth_await(1);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

static void run_cancelled(void) {
    truth_make(make_cancelled);
    truth_rest();
}

/* ---- that come and go, and blocks that are handed on ---- */

static void *brief(void *argument) {
    free(malloc(100));
    free(argument);
    return malloc(50);
}

static void *come_and_go(void *unused) {
    void *result;
    truth_started();
    for (;;) {
        pthread_join(truth_thread(brief, malloc(30)), &result);
        free(result);
    }
    return unused;
}

static void run_come_and_go(void) {
    truth_thread(come_and_go, NULL);
    truth_await(1);
    global = keep_block(40);
    truth_rest();
}

/* One pointer, which is always in one of two places, or in a register. */
static void *volatile places[2];

static void *move(void *unused) {
    truth_started();
    for (unsigned at = 0;; at = !at) {
        void *moving = places[at];
        places[at] = NULL;
        places[!at] = moving;
    }
    return unused;
}

static void run_move(void) {
    places[0] = keep_block(40);
    truth_point(places[0], 1, keep_behind(24));
    truth_thread(move, NULL);
    truth_await(1);
    truth_rest();
}

/* Lists that one thread builds and another takes apart. */
struct node {
    struct node *next;
    char text[40];
};
static struct node *volatile queue;

static void *build(void *unused) {
    truth_started();
    for (;;) {
        pthread_mutex_lock(&mutex);
        for (unsigned i = 0; i < 20; i++) {
            struct node *node = malloc(sizeof *node);
            node->next = queue;
            queue = node;
        }
        pthread_mutex_unlock(&mutex);
    }
    return unused;
}

static void *take_apart(void *unused) {
    truth_started();
    for (;;) {
        pthread_mutex_lock(&mutex);
        struct node *list = queue;
        queue = NULL;
        pthread_mutex_unlock(&mutex);
        while (list) {
            struct node *next = list->next;
            free(list);
            list = next;
        }
    }
    return unused;
}

static void run_queue(void) {
    truth_thread(build, NULL);
    truth_thread(take_apart, NULL);
    truth_await(2);
    truth_rest();
}

static const struct truth_case cases[] = {
    {"many", "64 threads that wait hold a block each", run_many},
    {"busy", "four threads that run hold a block each", run_busy},
    {"argument", "a thread holds its argument", run_argument},
    {"waiting", "threads in waits of every kind hold what they point to", run_waiting},
    {"deep", "10,000 frames of a thread hold a block each", run_deep},
    {"stacks", "stacks of every size hold what they point to, with a guard or without", run_stacks},
    {"nested", "threads that threads have started hold what they point to", run_nested},
    {"without-main", "a process is searched whose first thread has ended", run_without_main},
    {"joined", "what a thread's stack held that was joined is leaked", run_joined},
    {"joined-together", "what the stacks of eight such threads held is leaked",
     run_joined_together},
    {"detached", "what a detached thread's stack held is leaked", run_detached},
    {"detached-itself", "what the stack of one that detached itself held is leaked",
     run_detached_itself},
    {"not-joined", "a thread's result is reachable that may still be joined", run_not_joined},
    {"results", "a result that was asked for is reachable", run_results},
    {"result-lost", "a result that nobody wanted is leaked", run_result_lost},
    {"argument-lost", "the argument of a thread that has ended is leaked", run_argument_lost},
    {"own-lost", "what the variables of a thread held that was joined is leaked", run_own_lost},
    {"own-lost-not-joined", "what the variables of a thread held that has ended is leaked",
     run_own_lost_not_joined},
    {"dynamic-lost", "what a plug-in's variables of ended threads held is leaked",
     run_dynamic_lost},
    {"keys", "what an ended thread's keys held is leaked, but for what destructors freed",
     run_keys},
    {"cancelled", "what a thread's stack held that was cancelled is leaked", run_cancelled},
    {"come-and-go", "threads that come and go leak nothing", run_come_and_go},
    {"move", "a pointer that moves all the time holds its block", run_move},
    {"queue", "a list that grows and shrinks all the time leaks nothing", run_queue},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
