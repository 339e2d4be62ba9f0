/* Stacks of all kinds, wherever they lie: what is in use of them holds what it points to, and what
 * is not holds nothing. */
#include "truth.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#define REGION (256 * KIB)

BLOCK(keep_block)
BLOCK(keep_other)
BLOCK(keep_behind)
BLOCK(lost_block)
BLOCK(lost_other)
BLOCK(lost_behind_block)

static void *volatile global;

/* Nobody else knows it: hidden, and in no heap. */
static volatile uintptr_t region;

static void map(void) {
    void *at = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        truth_die("mmap");
    region = truth_hide(at);
}

/* ---- frames ---- */

static void run_main_stack(void) {
    void *volatile held = keep_block(40);
    void *volatile many[50];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = keep_block(48);
    truth_rest();
    (void)held;
}

__attribute__((noinline)) static void run_deeper(unsigned depth, void (*end)(void)) {
    void *volatile held = keep_block(24);
    if (depth)
        run_deeper(depth - 1, end);
    else
        end();
    global = held;
}

static void run_deep_stack(void) {
    run_deeper(5000, truth_rest);
}

/* Where the frames of a call have been that has returned. */
__attribute__((noinline)) static void hold_and_return(unsigned depth) {
    void *volatile held = lost_block(24);
    if (depth)
        hold_and_return(depth - 1);
    global = held;
}

MAKES void make_dead_stack(void) {
    hold_and_return(5000);
    global = NULL;
}

/* Deeper than what is overwritten: it lies below the stack's pointer. */
static void run_dead_stack(void) {
    truth_make(make_dead_stack);
    truth_rest();
}

/* ---- other stacks ---- */

static void stay_in_handler(int number) {
    void *volatile held = keep_block(40);
    (void)number;
    truth_rest();
    (void)held;
}

__attribute__((noinline)) static void raise_on(void *stack, size_t size) {
    stack_t other = {.ss_sp = stack, .ss_size = size};
    struct sigaction action = {.sa_handler = stay_in_handler, .sa_flags = SA_ONSTACK};
    if (sigaltstack(&other, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0)
        truth_die("sigaltstack");
    memset(&other, 0, sizeof other);
    raise(SIGUSR1);
}

static void run_signal_stack(void) {
    void *volatile below = keep_other(48);
    map();
    raise_on(truth_unhide(region), REGION);
    (void)below;
}

SITE(keep_stack, calloc(1, size))

static void run_signal_stack_in_block(void) {
    void *volatile below = keep_other(48);
    global = keep_stack(REGION);
    raise_on(global, REGION);
    (void)below;
}

static ucontext_t first, second;

static void stay_in_coroutine(void) {
    void *volatile held = keep_block(40);
    truth_point((void *)&held, 0, held);
    truth_rest();
}

static void leave_coroutine(void) {
    void *volatile held = keep_block(40);
    truth_point(held, 1, keep_behind(32));
    swapcontext(&second, &first);
    global = held;
}

__attribute__((noinline)) static void prepare(void *stack, void (*entry)(void)) {
    getcontext(&second);
    second.uc_stack.ss_sp = stack;
    second.uc_stack.ss_size = REGION;
    second.uc_link = &first;
    makecontext(&second, entry, 0);
}

/* The program runs on it, and holds what is on its first stack, too. */
static void run_coroutine(void) {
    void *volatile below = keep_other(48);
    global = keep_stack(REGION);
    prepare(global, stay_in_coroutine);
    swapcontext(&first, &second);
    (void)below;
}

static void run_coroutine_mapped(void) {
    void *volatile below = keep_other(48);
    map();
    prepare(truth_unhide(region), stay_in_coroutine);
    swapcontext(&first, &second);
    (void)below;
}

/* Only the stack's pointer leads to the block that it points into. */
static void stay_and_forget(void) {
    void *volatile held = keep_block(40);
    memset(&second, 0, sizeof second);
    global = NULL;
    truth_point((void *)&held, 0, held);
    truth_rest();
}

static void run_coroutine_alone(void) {
    void *volatile below = keep_other(48);
    global = keep_stack(REGION);
    prepare(global, stay_and_forget);
    swapcontext(&first, &second);
    (void)below;
}

static void run_coroutine_waits(void) {
    global = keep_stack(REGION);
    prepare(global, leave_coroutine);
    swapcontext(&first, &second);
    truth_rest();
}

/* Nobody will go on with it. What lies on its stack is lost with it. */
SITE(lost_stack, calloc(1, size))

static void leave_for_ever(void) {
    void *volatile held = lost_behind_block(40);
    swapcontext(&second, &first);
    global = held;
}

MAKES void make_coroutine_lost(void) {
    prepare(lost_stack(REGION), leave_for_ever);
    swapcontext(&first, &second);
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
}

static void run_coroutine_lost(void) {
    truth_make(make_coroutine_lost);
    truth_rest();
}

/* A block that was held only by frames of a coroutine that have returned; it still runs. */
MAKES void make_dead_frame(void) {
    void *volatile held = lost_other(64);
    (void)held;
}

static void return_and_stay(void) {
    void *volatile held = keep_block(40);
    truth_make(make_dead_frame);
    truth_point((void *)&held, 0, held);
    truth_rest();
}

static void run_coroutine_dead_frame(void) {
    global = keep_stack(REGION);
    prepare(global, return_and_stay);
    swapcontext(&first, &second);
}

static void *run_coroutine_in_thread(void *unused) {
    ucontext_t here, there;
    void *stack = keep_stack(REGION);
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = REGION;
    there.uc_link = NULL;
    makecontext(&there, (void (*)(void))unused, 0);
    swapcontext(&here, &there);
    return NULL;
}

static void block_in_coroutine(void) {
    void *volatile held = keep_block(40);
    truth_started();
    truth_block();
    (void)held;
}

static void run_coroutines_in_threads(void) {
    for (unsigned i = 0; i < 8; i++)
        truth_thread(run_coroutine_in_thread, (void *)block_in_coroutine);
    truth_await(8);
    truth_rest();
}

/* ---- threads' stacks that the program has made ---- */

static void *hold_on_stack(void *unused) {
    void *volatile held = keep_block(40);
    truth_started();
    truth_block();
    (void)held;
    return unused;
}

__attribute__((noinline)) static void thread_on(void *stack) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, stack, REGION) != 0 ||
        pthread_create(&thread, &attributes, hold_on_stack, NULL) != 0)
        truth_die("pthread_attr_setstack");
    pthread_attr_destroy(&attributes);
    truth_await(1);
}

static void run_own_stack_mapped(void) {
    map();
    thread_on(truth_unhide(region));
    truth_rest();
}

static void run_own_stack_in_block(void) {
    global = aligned_alloc(4096, REGION);
    thread_on(global);
    truth_rest();
}

static void run_own_stack_static(void) {
    static char stack[REGION] __attribute__((aligned(4096)));
    thread_on(stack);
    truth_rest();
}

static const struct truth_case cases[] = {
    {"main-stack", "frames of the first thread hold what they point to", run_main_stack},
    {"deep-stack", "5,000 frames hold a block each", run_deep_stack},
    {"dead-stack", "frames that have returned hold nothing", run_dead_stack},
    {"signal-stack",
     "a signal handler's own stack holds what it points to, and so does the one below",
     run_signal_stack},
    {"signal-stack-in-block", "a signal handler's stack in a block holds what it points to",
     run_signal_stack_in_block},
    {"coroutine", "a coroutine that runs holds what it points to", run_coroutine},
    {"coroutine-mapped", "a coroutine that runs on a mapping holds what it points to",
     run_coroutine_mapped},
    {"coroutine-alone", "a coroutine that runs holds its stack, to which nobody else points",
     run_coroutine_alone},
    {"coroutine-waits", "a coroutine that waits holds what it points to", run_coroutine_waits},
    {"coroutine-lost", "what is on the stack of a lost coroutine is leaked", run_coroutine_lost},
    {"coroutine-dead-frame", "frames of a coroutine that have returned hold nothing",
     run_coroutine_dead_frame},
    {"coroutines-in-threads", "coroutines that threads run hold what they point to",
     run_coroutines_in_threads},
    {"own-stack-mapped", "a thread's stack in a mapping of the program holds what it points to",
     run_own_stack_mapped},
    {"own-stack-in-block", "a thread's stack in a block holds what it points to",
     run_own_stack_in_block},
    {"own-stack-static", "a thread's stack in a variable holds what it points to",
     run_own_stack_static},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
