/* Suite: the census at every instruction. The processor's trap flag stops the thread after each one
 * inside the allocator; the handler takes a census and holds it against what the test knows to be
 * live. What test_copies.c finds by luck is found here by going everywhere, with one thread at
 * work while the others stand still. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/elsewhere.h"
#include "heap/hooks.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "unit.h"

#define MIB ((size_t)1 << 20)

/* ---- stepping ---- */

enum { MOST_LIVE = 1200 };

static struct {
    void *blocks[MOST_LIVE]; /* what is live throughout the call under way */
    unsigned count;
    unsigned more; /* blocks that the call may make live or may still have */
} known;

static volatile uint64_t steps;
static uint32_t stride = 1; /* a census each so many instructions */

static void complain(const char *what, uint64_t number, const void *block) {
    char line[160];
    int n =
        snprintf(line, sizeof line, "at instruction %ju: %s (%ju live, %u known, %u more; %p)\n",
                 (uintmax_t)steps, what, (uintmax_t)number, known.count, known.more, block);
    must(write(2, line, (size_t)n) == n);
    must(!"the census is right");
}

static void look(void) {
    struct mp_census census;
    mp_census(&census);
    if (census.live_blocks < known.count || census.live_blocks > known.count + known.more)
        complain("a wrong number of blocks", census.live_blocks, NULL);
    /* All of them now and then, one of them each time. */
    unsigned from = 0, to = known.count;
    if (known.count && steps % 64) {
        from = (unsigned)(steps % known.count);
        to = from + 1;
    }
    for (unsigned i = from; i < to; i++) {
        if (!mp_census_is_live(known.blocks[i]))
            complain("a block is not live", census.live_blocks, known.blocks[i]);
    }
}

static void on_step(int signal) {
    (void)signal;
    if (++steps % stride == 0)
        look();
}

#if defined(__x86_64__)
#define CAN_STEP !UNIT_TSAN
/* Below the red zone, which the compiler may be using. */
#define FLAGS(change)                                                                              \
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\t" change                                \
                     "\n\tpopfq\n\tleaq 128(%%rsp), %%rsp" ::                                      \
                         : "memory", "cc")
static inline __attribute__((always_inline)) void step_on(void) {
    FLAGS("orq $0x100, (%%rsp)");
}
static inline __attribute__((always_inline)) void step_off(void) {
    FLAGS("andq $~0x100, (%%rsp)");
}
#else
#define CAN_STEP false
static inline void step_on(void) {}
static inline void step_off(void) {}
#endif

static void start(void) {
    struct sigaction action = {.sa_handler = on_step};
    must(sigaction(SIGTRAP, &action, NULL) == 0);
    memset(&known, 0, sizeof known);
    steps = 0;
    stride = unit_full() ? 1 : UNIT_ASAN ? 101 : 3;
}

/* A call in which as many blocks as now, and one more at most, are live. */
#define STEPPED(call)                                                                              \
    do {                                                                                           \
        known.more = 1;                                                                            \
        step_on();                                                                                 \
        call;                                                                                      \
        step_off();                                                                                \
        known.more = 0;                                                                            \
    } while (0)

static void add(void *block) {
    must(block != NULL && known.count < MOST_LIVE);
    known.blocks[known.count++] = block;
}

/* Out of what is known: the call that follows may free it at any time. */
static void *take(unsigned i) {
    must(i < known.count);
    void *block = known.blocks[i];
    known.blocks[i] = known.blocks[--known.count];
    return block;
}

static void s_malloc(size_t size) {
    void *block;
    STEPPED(block = t_malloc(size));
    add(block);
    look();
}

static void s_calloc(size_t size) {
    void *block;
    STEPPED(block = t_calloc(1, size));
    add(block);
    look();
}

static void s_free(unsigned i) {
    void *block = take(i);
    STEPPED(t_free(block));
    look();
}

/* The old one or the new one, or both, and a mapping that is between the two. */
static void s_realloc(unsigned i, size_t size) {
    void *block = take(i);
    known.more = 2;
    step_on();
    block = t_realloc(block, size);
    step_off();
    known.more = 0;
    add(block);
    look();
}

static void free_all(void) {
    while (known.count > 0)
        t_free(take(known.count - 1));
    look();
}

/* ---- one thread ---- */

START_TEST(small_blocks_come_and_go) {
    start();
    static const size_t sizes[] = {16, 48, 80, 700, 1024, 5000, 8192};
    for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        unsigned first = known.count;
        for (int i = 0; i < 12; i++)
            s_malloc(sizes[s]);
        for (int i = 0; i < 6; i++)
            s_free(first + (unsigned)i);
        for (int i = 0; i < 8; i++)
            s_malloc(sizes[s]);
    }
    ck_assert_uint_gt(steps, 5000);
    while (known.count > 0)
        s_free(known.count / 2);
    ck_assert_invariants();
}
END_TEST

START_TEST(pages_fill_and_lose_their_owner_and_are_taken_over) {
    start();
    unsigned count = MP_SLICE_SIZE / 1024;
    for (unsigned i = 0; i < 2 * count + 5; i++)
        s_malloc(1024);
    while (known.count > 0)
        s_free((known.count * 7 / 8) % known.count);
    ck_assert_invariants();
}
END_TEST

START_TEST(medium_blocks_come_and_go) {
    start();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20; i++)
            i % 2 ? s_malloc(9000) : s_malloc(60000);
        for (int i = 0; i < 10; i++)
            s_free((unsigned)i);
        for (int i = 0; i < 4; i++)
            s_malloc(9000);
        while (known.count > 0)
            s_free(known.count - 1);
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(large_and_huge_blocks_come_and_go) {
    start();
    mp_options.purge = 0;
    for (int i = 0; i < 6; i++) {
        s_malloc(70000 + (size_t)i * 100000);
        s_malloc(33 * MIB);
    }
    while (known.count > 0)
        s_free(known.count / 2);
    ck_assert_invariants();
}
END_TEST

START_TEST(blocks_are_resized) {
    start();
    static const size_t sizes[] = {100,      1000,     10000,  70000, 140000, 700000, 40 * MIB,
                                   50 * MIB, 35 * MIB, 200000, 90000, 20000,  3000,   50};
    stride *= 7; /* most of it copies */
    s_malloc(10);
    s_malloc(20);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        s_realloc(known.count - 1, sizes[i]);
    }
    free_all();
    ck_assert_invariants();
}
END_TEST

START_TEST(lists_are_trimmed) {
    start();
    for (int i = 0; i < 300; i++)
        add(t_malloc(1 + (size_t)i * 40));
    for (int i = 0; i < 200; i++)
        t_free(take((unsigned)i % known.count));
    step_on();
    mp_trim();
    step_off();
    look();
    for (int i = 0; i < 20; i++)
        s_malloc((size_t)i * 100);
    free_all();
    STEPPED(mp_trim());
    ck_assert_invariants();
}
END_TEST

START_TEST(zeroed_blocks_come_and_go) {
    start();
    static const size_t sizes[] = {100, 2000, 9000, 30000, 100000, 40 * MIB};
    stride *= 7;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        s_calloc(sizes[i]);
        s_calloc(sizes[i]);
    }
    while (known.count > 0)
        s_free(0);
    ck_assert_invariants();
}
END_TEST

/* ---- samples ---- */

static uint32_t every_third(struct mp_heap *heap, unsigned class) {
    (void)heap;
    (void)class;
    return 3;
}

static int each_large(size_t size) {
    (void)size;
    return 1;
}

static void on_sampled(void *block, void *place, size_t size, size_t usable) {
    (void)block, (void)place, (void)size, (void)usable;
}

static void on_freed(void *block) {
    (void)block;
}

static const struct mp_hooks sampling = {
    .countdown = every_third, .toss_large = each_large, .sampled = on_sampled, .freed = on_freed};

START_TEST(a_sample_and_its_twin_are_one_block) {
    start();
    mp_hooks = sampling;
    static const size_t sizes[] = {48, 1000, 8000, 20000, 100000};
    for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int i = 0; i < 15; i++)
            s_malloc(sizes[s]);
        for (int i = 0; i < 7; i++)
            s_free(known.count - 1 - (unsigned)i);
        for (int i = 0; i < 7; i++)
            s_malloc(sizes[s]);
    }
    while (known.count > 0)
        s_free(known.count / 2);
    ck_assert_invariants();
}
END_TEST

/* ---- other threads ---- */

static pthread_barrier_t barrier;
static void *theirs[600];

/* Fills a page and more of each size, and then stands still. */
static void *allocate_and_wait(void *hooks) {
    if (hooks)
        mp_hooks = *(const struct mp_hooks *)hooks;
    for (int i = 0; i < 600; i++) {
        theirs[i] = t_malloc(i < 300 ? 512 : i < 560 ? 2048 : 20000);
        must(theirs[i] != NULL);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void free_theirs_by_steps(const struct mp_hooks *hooks) {
    pthread_t thread;
    start();
    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, allocate_and_wait, (void *)(uintptr_t)hooks), 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 600; i++)
        add(theirs[i]);
    while (known.count > 0)
        s_free((known.count * 5 / 8) % known.count);
    STEPPED(mp_trim());
    ck_assert_invariants();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    ck_assert_invariants();
}

START_TEST(blocks_of_another_thread_are_freed) {
    free_theirs_by_steps(NULL);
}
END_TEST

START_TEST(samples_of_another_thread_are_freed) {
    free_theirs_by_steps(&sampling);
}
END_TEST

static void *allocate_some(void *unused) {
    for (int i = 0; i < 100; i++)
        theirs[i] = t_malloc(512);
    return unused;
}

START_TEST(pages_of_a_thread_that_ended_are_adopted) {
    start();
    unit_in_thread(allocate_some, NULL);
    for (int i = 0; i < 100; i++)
        add(theirs[i]);
    for (int i = 0; i < 60; i++)
        s_malloc(512);
    while (known.count > 0)
        s_free(known.count / 3);
    ck_assert_invariants();
}
END_TEST

/* The heap's own destructor runs between these two: keys are served in the order of their making.
 */
static pthread_key_t before_heap, after_heap;

static void begin_steps(void *unused) {
    (void)unused;
    known.more = 1;
    step_on();
}

static void end_steps(void *unused) {
    (void)unused;
    step_off();
    must(mp_tls.heap == NULL);
}

static void *end_by_steps(void *unused) {
    for (int i = 0; i < 100; i++) {
        theirs[i] = t_malloc((size_t)i * 100);
        t_free(t_malloc((size_t)i * 90));
    }
    for (int i = 0; i < 30; i++)
        t_free(take(known.count - 1)); /* of the main thread's: in batches now */
    for (int i = 0; i < 100; i++)
        add(theirs[i]);
    must(pthread_setspecific(before_heap, &barrier) == 0);
    must(pthread_setspecific(after_heap, &barrier) == 0);
    return unused;
}

START_TEST(a_thread_ends) {
    ck_assert_int_eq(pthread_key_create(&before_heap, begin_steps), 0);
    start();
    for (int i = 0; i < 200; i++)
        add(t_malloc(200));
    ck_assert_int_eq(pthread_key_create(&after_heap, end_steps), 0);
    uint64_t before = steps;
    unit_in_thread(end_by_steps, NULL);
    ck_assert_uint_gt(steps, before + 1000);
    look();
    free_all();
    ck_assert_invariants();
}
END_TEST

/* ---- a handler that forks ---- */

enum { OF_2K = 1100 };
static uint64_t fork_at;

/* What fork does, in the parent, where it may: see preload/start.c. */
static void fork_once(int signal) {
    (void)signal;
    if (++steps != fork_at || mp_lock_held || mp_slow_inside())
        return;
    mp_slow_enter();
    mp_elsewhere_flush(mp_tls.heap);
    mp_slow_leave();
    mp_gate_close();
    mp_gate_open(false);
}

static void *allocate_2k_and_wait(void *blocks) {
    for (int i = 0; i < OF_2K; i++)
        ((void **)blocks)[i] = t_malloc(2048);
    for (int i = 0; i < OF_2K; i++) {
        if (i % 32 < 2) /* its full pages are nobody's until it frees into them */
            t_free(((void **)blocks)[i]);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static int next_of_2k(int i) {
    return (i + 1) % 32 ? i + 1 : i + 3;
}

/* Batches are filled outside slow sections: two blocks of this size are a full one. */
START_TEST(a_handler_forks_while_a_batch_is_begun_or_filled) {
    static void *blocks[OF_2K];
    pthread_t thread;
    start();
    signal(SIGTRAP, fork_once);
    t_free(t_malloc(2048)); /* it has a heap */
    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, allocate_2k_and_wait, blocks), 0);
    pthread_barrier_wait(&barrier);
    int at = 2;
    for (int begun = 0; begun < 2; begun++) {
        fork_at = steps = 0;
        while (fork_at <= steps) { /* until it ends before it comes to that instruction */
            if (at % 32 == 31) {   /* two of one page follow */
                t_free(blocks[at]);
                at = next_of_2k(at);
            }
            mp_slow_enter();
            mp_elsewhere_flush(mp_tls.heap);
            mp_slow_leave();
            ck_assert_int_lt(at, OF_2K - 4);
            if (begun) {
                t_free(blocks[at]);
                at = next_of_2k(at);
            }
            fork_at += UNIT_ASAN ? 5 : 1;
            steps = 0;
            step_on();
            t_free(blocks[at]);
            step_off();
            at = next_of_2k(at);
        }
        ck_assert_uint_gt(fork_at, 40);
    }
    for (; at < OF_2K; at = next_of_2k(at))
        t_free(blocks[at]);
    look();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    t_free(t_malloc(2048));
    look();
}
END_TEST

/* ---- a forked child ---- */

static void free_lost_by_steps(void *unused) {
    (void)unused;
    for (int i = 0; i < 600; i++)
        add(theirs[i]);
    for (int i = 0; i < 40; i++)
        s_malloc(512);
    while (known.count > 0)
        s_free((known.count * 3 / 8) % known.count);
    must_hold_invariants();
}

static void free_lost(const struct mp_hooks *hooks) {
    pthread_t thread;
    start();
    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, allocate_and_wait, (void *)(uintptr_t)hooks), 0);
    pthread_barrier_wait(&barrier);
    mp_gate_close();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(60);
        mp_gate_open(true);
        free_lost_by_steps(NULL);
        _exit(0);
    }
    mp_gate_open(false);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

START_TEST(blocks_of_a_lost_thread_are_freed) {
    free_lost(NULL);
}
END_TEST

START_TEST(samples_of_a_lost_thread_are_freed) {
    free_lost(&sampling);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("steps");
    TCase *steps_case = tcase_create("steps");
    tcase_set_timeout(steps_case, 60);
    const TTest *const tests[] = {
        small_blocks_come_and_go,
        pages_fill_and_lose_their_owner_and_are_taken_over,
        medium_blocks_come_and_go,
        large_and_huge_blocks_come_and_go,
        blocks_are_resized,
        zeroed_blocks_come_and_go,
        lists_are_trimmed,
        a_sample_and_its_twin_are_one_block,
        blocks_of_another_thread_are_freed,
        samples_of_another_thread_are_freed,
        pages_of_a_thread_that_ended_are_adopted,
        a_thread_ends,
        a_handler_forks_while_a_batch_is_begun_or_filled,
        blocks_of_a_lost_thread_are_freed,
        samples_of_a_lost_thread_are_freed,
    };
    for (unsigned i = 0; i < sizeof tests / sizeof *tests; i++)
        UNIT_CASE_IF(steps_case, tests[i], CAN_STEP && unit_forks(),
                     "single steps are to be had on x86-64 without the thread sanitizer");
    suite_add_tcase(suite, steps_case);
    return unit_main(suite);
}
