/* Suite: stacks of every shape, captured by our own unwinder and held against libunwind's, frame by
 * frame; and what it does where there is nothing to be compared with. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "memprof/dump.h"
#include "platform/arch.h"
#include "platform/sys.h"
#include "profile/unwind.h"
#include "unit.h"
#include "unwind_module.h"

#ifdef MP_HAVE_LIBUNWIND
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#define UNIT_REFERENCE 1
#else
#define UNIT_REFERENCE 0
#endif

#ifdef __OPTIMIZE__
#define OPTIMIZED 1
#else
#define OPTIMIZED 0
#endif

#define MOST 400

static uint64_t ours[MOST], theirs[MOST];
static struct mp_unwound result;
static unsigned their_depth, max_frames = MOST;
static unsigned compared; /* captures that were held against the reference */

/* Keeps a call from being a jump. */
#define STAY() __asm__ volatile("" ::: "memory")

#if UNIT_REFERENCE
static MP_NOINLINE void ask_reference(uint64_t caller) {
    unw_context_t context;
    unw_cursor_t cursor;
    bool met = false;
    their_depth = 0;
    unw_getcontext(&context);
    must(unw_init_local(&cursor, &context) == 0);
    for (;;) {
        unw_word_t address = 0;
        if (unw_step(&cursor) <= 0 || unw_get_reg(&cursor, UNW_REG_IP, &address) != 0 || !address)
            break;
        met |= address == caller;
        if (met && their_depth < max_frames)
            theirs[their_depth++] =
                address | (unw_is_signal_frame(&cursor) > 0 ? MP_UNWIND_EXACT : 0);
    }
}
#else
static void ask_reference(uint64_t caller) {
    (void)caller;
}
#endif

static void must_be_equal(void) {
#if UNIT_REFERENCE
    must(result.depth == their_depth);
    for (unsigned i = 0; i < their_depth; i++)
        must(ours[i] == theirs[i]);
    compared++;
#endif
}

/* Captures its caller's stack both ways. */
static MP_NOINLINE void compare(void) {
    const void *caller = __builtin_return_address(0);
    result = mp_unwind(ours, max_frames, caller);
    must(result.depth >= 1 && ours[0] == (uintptr_t)caller);
    ask_reference((uintptr_t)caller);
    must_be_equal();
}

static unsigned exact_frames(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < result.depth; i++)
        count += ours[i] >> 63;
    return count;
}

static bool ours_has(const void *start, size_t size) {
    for (unsigned i = 0; i < result.depth; i++)
        if ((ours[i] & ~MP_UNWIND_EXACT) - (uintptr_t)start < size)
            return true;
    return false;
}

static void start(void) {
    mp_unwind_start(MP_UNWIND_AUTO);
    must(mp_unwind_backend() == MEMPROF_UNWIND_CFI);
}

/* ---- shapes ---- */

static MP_NOINLINE void recurse(unsigned depth, void (*then)(void));

static MP_NOINLINE void recurse_wide(unsigned depth, void (*then)(void)) {
    char buffer[3000];
    __asm__ volatile("" : : "r"(buffer) : "memory");
    recurse(depth, then);
    STAY();
}

static void recurse(unsigned depth, void (*then)(void)) {
    if (depth == 0)
        then();
    else if (depth % 7 == 0)
        recurse_wide(depth - 1, then);
    else
        recurse(depth - 1, then);
    STAY();
}

START_TEST(recursion_of_every_depth_is_the_same) {
    start();
    for (unsigned depth = 1; depth <= 300; depth++) {
        recurse(depth, compare);
        ck_assert_uint_eq(result.flags, 0);
    }
    for (unsigned depth = 1; depth <= 300; depth += 37) /* and from the cache */
        recurse(depth, compare);
}
END_TEST

START_TEST(a_deep_stack_is_cut) {
    start();
    recurse(100, compare);
    unsigned whole = result.depth;
    ck_assert_uint_eq(result.flags, 0);
    for (max_frames = 1; max_frames <= whole; max_frames++) {
        recurse(100, compare);
        ck_assert_uint_eq(result.depth, max_frames);
        ck_assert_uint_eq(result.flags, max_frames < whole ? MP_UNWIND_CUT : 0);
    }
    max_frames = 64;
    recurse(10000, compare);
    ck_assert_uint_eq(result.depth, 64);
    ck_assert_uint_eq(result.flags, MP_UNWIND_CUT);
}
END_TEST

static MP_NOINLINE void with_alloca(size_t size, void (*then)(void)) {
    char *buffer = __builtin_alloca(size);
    memset(buffer, 1, size);
    __asm__ volatile("" : : "r"(buffer) : "memory");
    then();
    STAY();
}

static MP_NOINLINE void with_alignment(size_t size, void (*then)(void)) {
    _Alignas(64) char buffer[128];
    must((uintptr_t)buffer % 64 == 0);
    __asm__ volatile("" : : "r"(buffer) : "memory");
    then();
    STAY();
}

/* Both: the frame has a pointer of its own to what was passed on the stack. */
static MP_NOINLINE void with_both(size_t size, void (*then)(void), ...) {
    _Alignas(128) char buffer[128];
    char *more = __builtin_alloca(size);
    __builtin_va_list list;
    __builtin_va_start(list, then);
    int last = 0;
    for (int i = 0; i < 8; i++)
        last = __builtin_va_arg(list, int);
    __builtin_va_end(list);
    must(last == 8);
    memset(more, 1, size);
    __asm__ volatile("" : : "r"(buffer), "r"(more) : "memory");
    then();
    STAY();
}

START_TEST(frames_of_any_kind_are_the_same) {
    start();
    for (int again = 0; again < 3; again++) {
        for (size_t size = 1; size < 40000; size = size * 3 + 5) {
            with_alloca(size, compare);
            with_alignment(size, compare);
            with_both(size, compare, 1, 2, 3, 4, 5, 6, 7, 8);
            ck_assert_uint_eq(result.flags, 0);
        }
    }
}
END_TEST

static int order(const void *a, const void *b) {
    compare();
    return *(const int *)a - *(const int *)b;
}

START_TEST(a_callback_of_libcs_is_the_same) {
    int numbers[] = {3, 1, 2};
    start();
    for (int again = 0; again < 3; again++)
        qsort(numbers, 3, sizeof *numbers, order);
    ck_assert_uint_eq(result.flags, 0);
    struct dl_find_object libc;
    ck_assert_int_eq(_dl_find_object((void *)(uintptr_t)&qsort, &libc), 0);
    unsigned of_libc = 0;
    for (unsigned i = 0; i < result.depth; i++)
        of_libc += ours[i] - (uintptr_t)libc.dlfo_map_start <
                   (uintptr_t)libc.dlfo_map_end - (uintptr_t)libc.dlfo_map_start;
    ck_assert_uint_gt(of_libc, UNIT_ASAN ? 0 : 2); /* those that call main, too */
}
END_TEST

static jmp_buf back;

static MP_NOINLINE __attribute__((noreturn)) void compare_and_leave(void) {
    compare();
    longjmp(back, 1);
}

/* The call is its last instruction: the return address is the next function's. */
static MP_NOINLINE __attribute__((noreturn)) void last_call(void) {
    STAY();
    compare_and_leave();
}

START_TEST(a_call_at_the_very_end_is_the_same) {
    start();
    for (int again = 0; again < 3; again++)
        if (setjmp(back) == 0)
            last_call();
    ck_assert_uint_eq(result.flags, 0);
}
END_TEST

static MP_NOINLINE void tail(unsigned depth) {
    volatile unsigned keep = depth;
    if (keep)
        compare();
    STAY();
}

static MP_NOINLINE void tail_caller(unsigned depth) {
    tail(depth + 1);
}

START_TEST(a_tail_call_is_the_same) {
    start();
    for (unsigned again = 0; again < 3; again++)
        tail_caller(again);
    ck_assert_uint_eq(result.flags, 0);
}
END_TEST

/* Linked far from all other code in unit-unwind-pieces. There the program's segments leave a hole,
 * and the loader has each of them as an object of its own, without the unwind data of the others.
 */
static MP_NOINLINE __attribute__((section(".apart"))) void apart(void (*then)(void)) {
    then();
    STAY();
}

START_TEST(a_program_in_pieces_is_the_same) {
    struct dl_find_object near, far;
    start();
    for (unsigned again = 0; again < 3; again++)
        apart(compare);
    ck_assert_uint_eq(result.flags, 0);
    ck_assert_int_eq(_dl_find_object((void *)(uintptr_t)&compare, &near), 0);
    ck_assert_int_eq(_dl_find_object((void *)(uintptr_t)&apart, &far), 0);
    ck_assert_int_eq(near.dlfo_map_start != far.dlfo_map_start, UNIT_PIECES);
}
END_TEST

START_TEST(without_its_caller_everything_is_kept) {
    start();
    result = mp_unwind(ours, MOST, &start);
    ck_assert_uint_gt(result.depth, 3);
    ck_assert_uint_eq(result.flags, 0);
    uint64_t all[MOST];
    struct mp_unwound same = mp_unwind(all, MOST, NULL);
    /* How many frames are the unwinder's own is the compiler's choice (a tail call has none), and
     * this one's is at another call. Those of the callers are the same. */
    unsigned callers = 0;
    while (callers < same.depth && callers < result.depth &&
           all[same.depth - 1 - callers] == ours[result.depth - 1 - callers])
        callers++;
    ck_assert_uint_gt(callers, 2);
    ck_assert_uint_le(same.depth - callers, 3);
    ck_assert_uint_le(result.depth - callers, 3);
}
END_TEST

/* ---- signals ---- */

static uint64_t interrupted;

static void on_signal(int number, siginfo_t *info, void *context) {
    const ucontext_t *at = context;
#if defined(__x86_64__)
    interrupted = (uint64_t)at->uc_mcontext.gregs[REG_RIP];
#else
    interrupted = at->uc_mcontext.pc;
#endif
    compare();
}

static void handle(int number, int flags) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
    must(sigaction(number, &action, NULL) == 0);
}

static void use_other_stack(void) {
    stack_t stack = {.ss_size = 1 << 17};
    stack.ss_sp =
        mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(stack.ss_sp != MAP_FAILED && sigaltstack(&stack, NULL) == 0);
}

static void send(void) {
    must(raise(SIGUSR1) == 0);
}

static void must_show_signal(void) {
    ck_assert_uint_eq(result.flags, 0);
    ck_assert_uint_eq(exact_frames(), 1);
    bool found = false;
    for (unsigned i = 0; i < result.depth; i++)
        found |= ours[i] == (interrupted | MP_UNWIND_EXACT);
    ck_assert(found);
}

START_TEST(a_signal_is_shown_where_it_came) {
    start();
    handle(SIGUSR1, 0);
    for (unsigned depth = 0; depth < 5; depth++) {
        recurse(depth, send);
        must_show_signal();
    }
}
END_TEST

START_TEST(a_signal_on_another_stack_is_shown_too) {
    start();
    use_other_stack();
    handle(SIGUSR1, SA_ONSTACK);
    for (unsigned depth = 0; depth < 20; depth += 4) {
        recurse(depth, send);
        must_show_signal();
    }
}
END_TEST

#if defined(__x86_64__)

/* A trap after every instruction from here on: prologues, epilogues, stubs and all. */
static void trap(bool on) {
    if (on)
        __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
    else
        __asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

static MP_NOINLINE int by_reference(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static MP_NOINLINE void nothing(void) {
    STAY();
}

START_TEST(every_instruction_can_be_interrupted) {
    int numbers[] = {3, 1, 2};
    volatile size_t length = 0;
    start();
    handle(SIGTRAP, 0);
    trap(true);
    recurse(9, nothing);
    with_alloca(30, nothing);
    with_alignment(30, nothing);
    with_both(30, nothing, 1, 2, 3, 4, 5, 6, 7, 8);
    qsort(numbers, 3, sizeof *numbers, by_reference);
    length = strcspn("first call, bound on the way", "w");
    trap(false);
    (void)length;
    if (UNIT_REFERENCE)
        ck_assert_uint_gt(compared, 300);
    ck_assert_uint_eq(result.flags, 0);
}
END_TEST

#endif

/* ---- other stacks ---- */

static ucontext_t outside, inside;
static void (*coroutine_work)(void);

static void coroutine(void) {
    recurse(29, coroutine_work); /* several pages */
}

static char *a_mapping(size_t size) {
    /* Guards on both sides, as coroutine libraries have them: reads beyond the end are fatal. */
    char *at = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(at != MAP_FAILED && mprotect(at + 4096, size, PROT_READ | PROT_WRITE) == 0);
    return at + 4096;
}

static void run_coroutine(void (*work)(void)) {
    size_t size = 1 << 18;
    coroutine_work = work;
    must(getcontext(&inside) == 0);
    inside.uc_stack.ss_sp = a_mapping(size);
    inside.uc_stack.ss_size = size;
    inside.uc_link = &outside;
    makecontext(&inside, coroutine, 0);
    must(swapcontext(&outside, &inside) == 0);
    munmap(inside.uc_stack.ss_sp, size);
}

START_TEST(a_coroutine_is_the_same) {
    start();
    for (int again = 0; again < 3; again++) {
        run_coroutine(compare);
        ck_assert_uint_eq(result.flags, 0);
        ck_assert_uint_gt(result.depth, 9);
        recurse(3, compare); /* and the thread's own stack after it */
        ck_assert_uint_eq(result.flags, 0);
    }
}
END_TEST

static void *thread_work(void *context) {
    void (**work)(void) = context;
    for (unsigned depth = 0; depth < 5; depth++) {
        recurse(depth, *work);
        must(result.flags == 0);
    }
    return NULL;
}

static void in_thread(size_t stack, void (*work)(void)) {
    pthread_attr_t attributes;
    pthread_t thread;
    must(pthread_attr_init(&attributes) == 0);
    must(stack == 0 || pthread_attr_setstacksize(&attributes, stack) == 0);
    must(pthread_create(&thread, &attributes, thread_work, &work) == 0);
    must(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
}

static void capture_alone(void) {
    result = mp_unwind(ours, MOST, NULL);
}

START_TEST(a_small_thread_is_enough) {
    start();
    in_thread(16384, capture_alone); /* the reference itself needs more */
    in_thread(0, compare);
}
END_TEST

static void coroutine_of_thread(void) {
    run_coroutine(compare);
}

START_TEST(a_threads_coroutine_is_the_same) {
    start();
    in_thread(0, coroutine_of_thread);
}
END_TEST

/* How much of the stack a capture touches, seen from this function's frame. */
static MP_NOINLINE size_t depth_of_capture(void) {
    size_t most = 8192;
    unsigned char *top = __builtin_frame_address(0);
    for (size_t i = 512; i < most; i++)
        *(volatile unsigned char *)(top - i) = 0xa5;
    result = mp_unwind(ours, MOST, NULL);
    for (size_t i = most; i-- > 512;)
        if (*(volatile unsigned char *)(top - i) != 0xa5)
            return i;
    return 0;
}

START_TEST(a_capture_needs_little_stack) {
    start();
    size_t needed[2];
    volatile int rounds = 2; /* of one call, so that its rows are found again */
    for (int i = 0; i < rounds; i++)
        needed[i] = depth_of_capture();
    size_t first = needed[0], again = needed[1];
    ck_assert_uint_gt(first, again); /* the tables' programs were run */
    ck_assert_uint_lt(first, 1536);
}
END_TEST

/* ---- trouble ---- */

static int no_madvise(const char *name) {
    return strcmp(name, "madvise") == 0 ? EINVAL : 0;
}

START_TEST(an_old_kernel_has_all_but_foreign_stacks) {
    mp_sys_fault = no_madvise;
    start();
    recurse(5, compare);
    ck_assert_uint_eq(result.flags, 0);
    in_thread(0, compare);
    run_coroutine(capture_alone);
    ck_assert_uint_eq(result.flags, MP_UNWIND_BROKEN);
    mp_sys_fault = NULL;
}
END_TEST

START_TEST(nothing_is_asked_of_the_kernel_on_a_known_stack) {
    start();
    recurse(20, compare);
    mp_sys_fault = no_madvise;
    recurse(9, compare);
    ck_assert_uint_eq(result.flags, 0);
    mp_sys_fault = NULL;
}
END_TEST

#if defined(__x86_64__)

/* A frame whose caller's frame pointer leads nowhere, and that says so in its unwind data. */
__asm__(".pushsection .text\n\t.globl unit_lead_astray\n\t.hidden unit_lead_astray\n"
        "unit_lead_astray:\n\t.cfi_startproc\n\tpushq %rbp\n\t.cfi_def_cfa_offset 16\n\t"
        "movq %rsi, %rbp\n\t.cfi_def_cfa rbp, 16\n\tcall *%rdi\n\tpopq %rbp\n\t"
        ".cfi_def_cfa rsp, 8\n\tret\n\t.cfi_endproc\n\t.popsection");
void unit_lead_astray(void (*work)(void), uintptr_t fp);

START_TEST(a_wild_frame_pointer_ends_the_stack) {
    static const int backends[] = {MP_UNWIND_CFI, MP_UNWIND_FP};
    char *hole = a_mapping(4096);
    uintptr_t top = (uintptr_t)__builtin_frame_address(0);
    const uintptr_t wild[] = {0,
                              8,
                              4096,
                              (uintptr_t)hole - 4096,
                              (uintptr_t)hole + 4096,
                              (uintptr_t)hole + 4088,
                              top + 1,
                              top + (64 << 20),
                              top - (1 << 20),
                              (uintptr_t)1 << 47,
                              ~(uintptr_t)7,
                              (uintptr_t)1 << 63};
    for (size_t b = 0; b < 2; b++) {
        mp_unwind_start(backends[b]);
        for (int known = 0; known < 2; known++) {
            for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
                unit_lead_astray(capture_alone, wild[i]);
                ck_assert_uint_ge(result.depth, 1);
                /* frame pointers: zero is an end */
                ck_assert_uint_eq(result.flags, b == 1 && wild[i] == 0 ? 0 : MP_UNWIND_BROKEN);
            }
            start();
            recurse(1, compare);
            mp_unwind_start(backends[b]);
        }
    }
}
END_TEST

#endif

/* ---- modules that go and come ---- */

static void *load(const char *name, void (**call)(void (*)(void))) {
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    must(handle);
    *(void **)call = dlsym(handle, "unwind_module_call");
    must(*call);
    return handle;
}

START_TEST(a_module_in_anothers_place_has_its_own_rows) {
    void (*call)(void (*)(void)), (*first)(void (*)(void));
    start();
    for (int round = 0; round < 6; round++) {
        void *handle = load(round % 2 ? UNIT_MODULE_B : UNIT_MODULE_A, &call);
        if (round == 0)
            first = call;
        if (call != first) { /* a sanitizer's memory may come in between */
            ck_assert_msg(UNIT_ASAN, "the other module came to another address");
            dlclose(handle);
            continue;
        }
#if UNIT_REFERENCE
        unw_flush_cache(unw_local_addr_space, 0, 0);
#endif
        for (int again = 0; again < 3; again++) {
            call(compare);
            ck_assert_uint_eq(result.flags, 0);
            ck_assert(ours_has((const void *)(uintptr_t)call, 256));
        }
        dlclose(handle);
    }
}
END_TEST

static _Atomic bool over;

static void *capture_on(void *context) {
    (void)context;
    while (!over) {
        uint64_t frames[64];
        struct mp_unwound unwound = mp_unwind(frames, 64, NULL);
        must(unwound.flags == 0 && unwound.depth >= 3);
    }
    return NULL;
}

START_TEST(threads_share_the_cache) {
    pthread_t threads[3];
    start();
    over = false;
    for (int i = 0; i < 3; i++)
        must(pthread_create(&threads[i], NULL, capture_on, NULL) == 0);
    for (int round = 0; round < 30; round++) {
        void (*call)(void (*)(void));
        void *handle = load(round % 2 ? UNIT_MODULE_B : UNIT_MODULE_A, &call);
        for (unsigned depth = 0; depth < 40; depth++)
            recurse(depth, capture_alone);
        call(capture_alone);
        ck_assert_uint_eq(result.flags, 0);
        dlclose(handle);
    }
    over = true;
    for (int i = 0; i < 3; i++)
        must(pthread_join(threads[i], NULL) == 0);
}
END_TEST

/* ---- the other backends ---- */

START_TEST(libunwind_as_a_backend_gives_the_same) {
    mp_unwind_start(MP_UNWIND_LIBUNWIND);
    ck_assert_int_eq(mp_unwind_backend(), MEMPROF_UNWIND_LIBUNWIND);
    handle(SIGUSR1, 0);
    for (unsigned depth = 1; depth < 30; depth++)
        recurse(depth, compare);
    recurse(2, send);
    must_show_signal();
    max_frames = 5;
    recurse(9, compare);
    ck_assert_uint_eq(result.flags, MP_UNWIND_CUT);
}
END_TEST

/* This file is compiled with frame pointers; libc is not: the frames up to it are the same. */
START_TEST(frame_pointers_give_the_same_up_to_libc) {
    uint64_t by_fp[MOST];
    start();
    recurse(30, capture_alone);
    struct mp_unwound whole = result;
    memcpy(by_fp, ours, sizeof by_fp);
    mp_unwind_start(MP_UNWIND_FP);
    ck_assert_int_eq(mp_unwind_backend(), MEMPROF_UNWIND_FP);
    recurse(30, capture_alone);
    ck_assert_uint_ge(result.depth, 30);
    ck_assert_uint_le(result.depth, whole.depth);
    ck_assert_mem_eq(by_fp + 1, ours + 1, 29 * sizeof *ours);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("unwind");
    TCase *shapes = tcase_create("shapes");
    tcase_set_timeout(shapes, 60);
    UNIT_CASE(shapes, recursion_of_every_depth_is_the_same);
    UNIT_CASE(shapes, a_deep_stack_is_cut);
    UNIT_CASE(shapes, frames_of_any_kind_are_the_same);
    UNIT_CASE(shapes, a_callback_of_libcs_is_the_same);
    UNIT_CASE(shapes, a_call_at_the_very_end_is_the_same);
    UNIT_CASE(shapes, a_tail_call_is_the_same);
    UNIT_CASE(shapes, a_program_in_pieces_is_the_same);
    UNIT_CASE(shapes, without_its_caller_everything_is_kept);
    suite_add_tcase(suite, shapes);
    TCase *signals = tcase_create("signals");
    tcase_set_timeout(signals, 60);
    UNIT_CASE(signals, a_signal_is_shown_where_it_came);
    UNIT_CASE(signals, a_signal_on_another_stack_is_shown_too);
#if defined(__x86_64__)
    UNIT_CASE_IF(signals, every_instruction_can_be_interrupted, !UNIT_TSAN && !UNIT_ASAN,
                 "it takes a sanitizer's own code apart instruction by instruction");
#endif
    suite_add_tcase(suite, signals);
    TCase *stacks = tcase_create("stacks");
    tcase_set_timeout(stacks, 60);
    UNIT_CASE(stacks, a_coroutine_is_the_same);
    UNIT_CASE_IF(stacks, a_small_thread_is_enough, !UNIT_TSAN && !UNIT_ASAN,
                 "a sanitizer's own needs are larger");
    UNIT_CASE(stacks, a_threads_coroutine_is_the_same);
    UNIT_CASE_IF(stacks, a_capture_needs_little_stack,
                 OPTIMIZED && unit_forks() && !UNIT_TSAN && !UNIT_ASAN,
                 "frames are larger without optimization, and the cache has to be cold");
    suite_add_tcase(suite, stacks);
    TCase *trouble = tcase_create("trouble");
    UNIT_CASE(trouble, an_old_kernel_has_all_but_foreign_stacks);
    UNIT_CASE(trouble, nothing_is_asked_of_the_kernel_on_a_known_stack);
#if defined(__x86_64__)
    UNIT_CASE(trouble, a_wild_frame_pointer_ends_the_stack);
#endif
    suite_add_tcase(suite, trouble);
    TCase *modules = tcase_create("modules");
    tcase_set_timeout(modules, 60);
    UNIT_CASE(modules, a_module_in_anothers_place_has_its_own_rows);
    UNIT_CASE(modules, threads_share_the_cache);
    suite_add_tcase(suite, modules);
    TCase *others = tcase_create("others");
    UNIT_CASE_IF(others, libunwind_as_a_backend_gives_the_same, UNIT_REFERENCE,
                 "libunwind-dev is not installed");
    UNIT_CASE(others, frame_pointers_give_the_same_up_to_libc);
    suite_add_tcase(suite, others);
    return unit_main(suite);
}
