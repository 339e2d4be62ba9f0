/* Everything that allocates, counted by hand, for test-exact: with rate=1 a dump must say the same
 * to the block. MODE FOLDER: each dump that is written is announced by a line `dump PATH`, and the
 * lines of the sites (site.h) that follow are what it must hold.
 *
 *   calls   every call there is, in several threads
 *   fork    a child goes on with what it was born with, and so does its parent
 *   churn   dumps while 8 threads allocate, resize, swap and free
 */
#include "site.h"

#include <limits.h>
#include <malloc.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of ledger.c, where that is loaded too. */
extern void ledger_write(const char *path) __attribute__((weak));

#define MOST 20000

static struct block blocks[MOST];
static size_t block_count;

static struct block *next_block(void) {
    if (block_count == MOST)
        site_die("too many blocks");
    return &blocks[block_count++];
}

/* Frees every second of the blocks from `first` on. */
static void free_half(size_t first) {
    for (size_t i = first; i < block_count; i += 2)
        site_free(&blocks[i]);
}

/* ---- calls ---- */

SITE(plain);
IN_SITE(plain) static void do_plain(void) {
    size_t first = block_count;
    for (size_t size = 0; size < 1200; size++)
        site_came(&plain, next_block(), malloc(size), size);
    for (size_t size = 1200; size < 48 * MIB; size += size / 7)
        site_came(&plain, next_block(), malloc(size), size);
    free_half(first);
}

SITE(zeroed);
IN_SITE(zeroed) static void do_zeroed(void) {
    size_t first = block_count;
    for (size_t size = 0; size < 300; size++)
        site_came(&zeroed, next_block(), calloc(3, size), 3 * size);
    for (size_t size = 1000; size < 40 * MIB; size *= 3)
        site_came(&zeroed, next_block(), calloc(size, 1), size);
    free_half(first);
}

SITE(aligned);
IN_SITE(aligned) static void do_aligned(void) {
    size_t first = block_count;
    for (size_t align = 1; align <= 4 * MIB; align *= 2) {
        size_t size = site_between(0, 5000);
        site_came(&aligned, next_block(), memalign(align, size), size);
        site_came(&aligned, next_block(), aligned_alloc(align, 3 * align), 3 * align);
        void *at = NULL;
        size = site_between(0, 100 * KIB);
        if (align >= sizeof(void *) && posix_memalign(&at, align, size) == 0)
            site_came(&aligned, next_block(), at, size);
    }
    site_came(&aligned, next_block(), valloc(100), 100);
    site_came(&aligned, next_block(), pvalloc(5000), 8192); /* which is what pvalloc is for */
    free_half(first);
}

SITE(copies);
IN_SITE(copies) static void do_copies(void) {
    static char text[3000];
    size_t first = block_count;
    memset(text, 'x', sizeof text - 1);
    for (size_t from = 0; from < sizeof text; from += 7)
        site_came(&copies, next_block(), strdup(text + from), sizeof text - from);
    site_came(&copies, next_block(), strndup(text, 10), 11);
    free_half(first);
}

/* Up and down through all kinds of block, in small steps and in large ones: in place, moved,
 * shrunk, with a mapping of its own and back. */
SITE(resized);
IN_SITE(resized) static void do_resized(void) {
    static const size_t steps[] = {
        0 /* as malloc */,
        1,
        16,
        17,
        40,
        33,
        32,
        500,
        510,
        300,
        100,
        8 * KIB,
        9 * KIB,
        8 * KIB + 1,
        64 * KIB,
        40 * KIB,
        30 * KIB,
        70 * KIB,
        69 * KIB,
        200 * KIB,
        100 * KIB,
        900 * KIB,
        5 * MIB,
        3 * MIB,
        30 * MIB,
        33 * MIB,
        70 * MIB,
        60 * MIB,
        40 * MIB,
        34 * MIB,
        20 * MIB,
        MIB / 2,
        MIB,
        40 * MIB,
        100,
        40 * MIB,
        100 * KIB,
        100 * KIB,
        20 * KIB,
        20 * KIB,
        20 * KIB,
        3,
    };
    for (unsigned round = 0; round < 5; round++) {
        struct block *block = next_block();
        site_came(&resized, block, realloc(NULL, steps[0] + round), steps[0] + round);
        for (size_t i = 1; i < COUNT(steps) - round; i++)
            site_resize(block, steps[i]);
    }
    for (unsigned i = 0; i < 3000; i++) {
        struct block *block = i < 100 ? next_block() : &blocks[block_count - 1 - i % 100];
        size_t size = site_between(1, i % 10 ? 2 * KIB : 2 * MIB);
        if (i < 100)
            site_came(&resized, block, reallocarray(NULL, 1, size), size);
        else
            site_resize(block, size);
    }
    for (unsigned i = 0; i < 20; i++) { /* realloc to nothing is a free */
        struct block *block = &blocks[--block_count];
        site_went(block);
        if (realloc(block->at, 0))
            site_die("realloc(_, 0) is a free");
    }
}

/* What fails allocates nothing, and leaves a block as it was. */
SITE(failing);
IN_SITE(failing) static void do_failing(void) {
    static const size_t sizes[] = {100, 20 * KIB, 500 * KIB, 40 * MIB};
    volatile size_t too_much[] = {SIZE_MAX, (size_t)PTRDIFF_MAX, (size_t)1 << 46};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct block *block = next_block();
        site_came(&failing, block, malloc(sizes[i]), sizes[i]);
        for (size_t k = 0; k < COUNT(too_much); k++) {
            if (malloc(too_much[k]) || calloc(too_much[k], 2) || memalign(64, too_much[k]) ||
                realloc(block->at, too_much[k]))
                site_die("that much cannot be had");
        }
    }
}

/* Threads at once, each with small, medium and large blocks; then each frees a third of its
 * neighbour's, and the main thread another. */
#define WORKERS 6 /* two in `fork` */
#define EACH    300

SITE(threads);
static unsigned workers_now;
static struct block theirs[WORKERS][EACH];
static pthread_barrier_t all_there;

IN_SITE(threads) static void *allocating_thread(void *argument) {
    struct block *mine = argument;
    for (unsigned i = 0; i < EACH; i++) {
        size_t size = (size_t)1 << i % 20;
        site_came(&threads, &mine[i], malloc(size), size);
    }
    pthread_barrier_wait(&all_there);
    size_t me = (size_t)(mine - theirs[0]) / EACH;
    struct block *neighbours = theirs[(me + 1) % workers_now];
    for (unsigned i = 0; i < EACH; i += 3)
        site_free(&neighbours[i]);
    return NULL;
}

static void do_threads(void) {
    pthread_t workers[WORKERS];
    workers_now = WORKERS;
    pthread_barrier_init(&all_there, NULL, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        if (pthread_create(&workers[i], NULL, allocating_thread, theirs[i]) != 0)
            site_die("no thread");
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned k = 1; k < EACH; k += 3)
            site_free(&theirs[i][k]);
    }
}

/* At the very end of a thread, when the allocator has said good-bye to it. */
SITE(ending);
static pthread_key_t ending_key;

IN_SITE(ending) static void at_thread_end(void *value) {
    struct block *block = value;
    static unsigned rounds;
    site_free(block);
    site_came(&ending, block, malloc(700), 700);
    if (++rounds % 4)
        pthread_setspecific(ending_key, block); /* so that this is called again, and later */
}

IN_SITE(ending) static void *ending_thread(void *unused) {
    struct block *block = next_block();
    site_came(&ending, block, malloc(70 * KIB), 70 * KIB);
    pthread_setspecific(ending_key, block);
    return unused;
}

static void do_ending(void) {
    pthread_key_create(&ending_key, at_thread_end);
    for (unsigned i = 0; i < 50; i++)
        site_in_thread(ending_thread, NULL);
}

static struct site *const all_sites[] = {&plain,   &zeroed,  &aligned, &copies,
                                         &resized, &failing, &threads, &ending};

static void dump(const char *folder, const char *name) {
    static char path[4096]; /* stdout's buffer is not to be allocated in between */
    snprintf(path, sizeof path, "%s/%s.heap", folder, name);
    site_dump(path);
    printf("dump %s\n", path);
    for (size_t i = 0; i < COUNT(all_sites); i++)
        site_print(stdout, all_sites[i]);
    fflush(stdout);
}

static void calls(const char *folder) {
    static char ledger[4096];
    snprintf(ledger, sizeof ledger, "%s/ledger", folder);
    do_plain();
    do_zeroed();
    do_aligned();
    do_copies();
    do_resized();
    do_failing();
    do_threads();
    do_ending();
    if (ledger_write)
        ledger_write(ledger);
    dump(folder, "calls");
    for (size_t i = 0; i < block_count; i++) {
        if (blocks[i].at)
            site_free(&blocks[i]);
    }
    dump(folder, "freed");
}

/* ---- fork ---- */

static pthread_barrier_t forking, forked;

static void *waiting_thread(void *argument) {
    allocating_thread(argument);
    pthread_barrier_wait(&forking);
    pthread_barrier_wait(&forked);
    return NULL;
}

IN_SITE(threads) static void resize_theirs(void) {
    for (unsigned i = 0; i < EACH; i += 5) {
        if (theirs[1][i].at)
            site_resize(&theirs[1][i], 3000);
    }
}

/* Frees what was there before, the blocks of threads that this process may have lost included. */
static void go_on(void) {
    size_t before = block_count;
    do_plain();
    do_resized();
    for (size_t i = 0; i < before; i += 3) {
        if (blocks[i].at)
            site_free(&blocks[i]);
    }
    for (unsigned i = 0; i < EACH; i += 5) {
        if (theirs[0][i].at)
            site_free(&theirs[0][i]);
    }
    resize_theirs();
}

static void forks(const char *folder) {
    pthread_t threads_waiting[2];
    workers_now = 2;
    pthread_barrier_init(&all_there, NULL, 2);
    pthread_barrier_init(&forking, NULL, 3);
    pthread_key_create(&ending_key, at_thread_end);
    pthread_barrier_init(&forked, NULL, 3);
    do_zeroed();
    do_copies();
    for (unsigned i = 0; i < 2; i++) {
        if (pthread_create(&threads_waiting[i], NULL, waiting_thread, theirs[i]) != 0)
            site_die("no thread");
    }
    pthread_barrier_wait(&forking);
    for (int generation = 0; generation < 3; generation++) {
        char name[20];
        snprintf(name, sizeof name, "child%d", generation);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            go_on();
            site_in_thread(ending_thread, NULL);
            dump(folder, name);
            fflush(stdout);
            _exit(0);
        }
        int status = -1;
        if (waitpid(child, &status, 0) != child || status != 0)
            site_die("the child failed");
        go_on();
    }
    dump(folder, "parent");
    pthread_barrier_wait(&forked);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads_waiting[i], NULL);
}

/* ---- churn ---- */

/* Each thread holds 200 blocks and replaces one after the other; 64 more lie between them, for
 * swapping. So apart from one operation that each thread is in, there are always as many. */
#define CHURNERS 8
#define HELD     200
#define BETWEEN  64

SITE(churned);
static void *between[BETWEEN];
static uint64_t begun;
static int ending_now;

IN_SITE(churned) static void *churning_thread(void *argument) {
    uint64_t random = (uintptr_t)argument;
    void *held[HELD];
    for (unsigned i = 0; i < HELD; i++)
        held[i] = malloc(100);
    pthread_barrier_wait(&all_there);
    while (!__atomic_load_n(&ending_now, __ATOMIC_RELAXED)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        void **mine = &held[(random >> 33) % HELD];
        void **shared = &between[(random >> 45) % BETWEEN];
        size_t size = (size_t)1 << ((random >> 52) % 18); /* to 128 KiB */
        switch (random >> 62) {
        case 0:
            *mine = __atomic_exchange_n(shared, *mine, __ATOMIC_ACQ_REL);
            continue;
        case 1:
            site_add(&begun, 1);
            *mine = realloc(*mine, size);
            break;
        default:
            site_add(&begun, 1);
            void *old = *mine;
            *mine = malloc(size);
            free(old);
        }
        site_add(&churned.allocated_objects, 1);
        site_add(&churned.freed_objects, 1);
    }
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_there); /* the last dump is made in between */
    for (unsigned i = 0; i < HELD; i++)
        free(held[i]);
    return NULL;
}

/* `churn PATH DONE BEGUN`: operations before the dump was asked for, and begun after it was there.
 */
static void churn_dump(const char *folder, unsigned number) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/churn%u.heap", folder, number);
    uint64_t done = __atomic_load_n(&churned.freed_objects, __ATOMIC_SEQ_CST);
    site_dump(path);
    uint64_t started = __atomic_load_n(&begun, __ATOMIC_SEQ_CST);
    printf("churn %s %llu %llu\n", path, (unsigned long long)done, (unsigned long long)started);
}

IN_SITE(churned) static void fill_between(void) {
    for (unsigned i = 0; i < BETWEEN; i++)
        between[i] = malloc(100);
}

static void churn(const char *folder, unsigned dumps) {
    pthread_t workers[CHURNERS];
    pthread_barrier_init(&all_there, NULL, CHURNERS + 1);
    fill_between();
    for (size_t i = 0; i < CHURNERS; i++) {
        if (pthread_create(&workers[i], NULL, churning_thread, (void *)(i + 1)) != 0)
            site_die("no thread");
    }
    pthread_barrier_wait(&all_there);
    for (unsigned i = 0; i < dumps; i++)
        churn_dump(folder, i);
    __atomic_store_n(&ending_now, 1, __ATOMIC_SEQ_CST);
    pthread_barrier_wait(&all_there);
    churn_dump(folder, dumps);
    pthread_barrier_wait(&all_there);
    for (unsigned i = 0; i < CHURNERS; i++)
        pthread_join(workers[i], NULL);
    site_print(stdout, &churned);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "calls") == 0)
        calls(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "fork") == 0)
        forks(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "churn") == 0)
        churn(argv[2], (unsigned)atoi(argv[3]));
    else
        site_die("usage: exact calls|fork FOLDER | exact churn FOLDER DUMPS");
    return 0;
}
