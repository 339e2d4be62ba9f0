/* Suite: stopping all threads: they stand still, their registers are there, they go on as if
 * nothing had been, and where it cannot be done nothing is. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leak/stop.h"
#include "platform/sys.h"
#include "unit.h"

#define THREADS 8

static _Atomic(bool) over;
static _Atomic(uint64_t) counters[THREADS];

static void *count_on(void *counter) {
    while (!over)
        atomic_fetch_add((_Atomic(uint64_t) *)counter, 1);
    return NULL;
}

static uint64_t sum_of_counters(void) {
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += counters[i];
    return sum;
}

static pthread_t threads[THREADS];

/* Returns when each is at work. Where a test waits for something, it waits until that has happened,
 * and the case's time limit is what tells that it did not: machines may be slow. */
static void start_threads(void *(*work)(void *context)) {
    over = false;
    for (int i = 0; i < THREADS; i++) {
        counters[i] = 0;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &counters[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        while (!counters[i])
            sched_yield();
    }
}

static void wait_for_more(uint64_t (*sum)(void), uint64_t than) {
    while (sum() <= than)
        sched_yield();
}

static void end_threads(void) {
    over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* Nothing that a thread may be in the midst of: no libc here. */
static long stand_still(struct mp_stopped *stopped, void *context) {
    uint64_t *sums = context;
    (void)stopped;
    sums[0] = sum_of_counters();
    mp_trace_sleep_us(30000);
    sums[1] = sum_of_counters();
    return 0;
}

START_TEST(all_threads_stand_still_and_go_on) {
    struct mp_stopped stopped;
    uint64_t sums[2] = {0, 1};
    long worked = 1;
    int status = 0;
    start_threads(count_on);
    for (int round = 0; round < 10; round++) {
        ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, sums, &worked), 0);
        ck_assert_uint_eq(sums[0], sums[1]);
        ck_assert_uint_eq(stopped.count, THREADS + 1);
        ck_assert_uint_eq(stopped.missed, 0);
        ck_assert_uint_ge(*stopped.pause_ns, 30000000);
        for (uint32_t i = 0; i < stopped.count; i++)
            ck_assert(stopped.threads[i].register_count > 0 && stopped.threads[i].sp);
        mp_threads_end(&stopped);
        ck_assert(mp_stop_helper_ended(&status, true));
        wait_for_more(sum_of_counters, sums[1]);
    }
    end_threads();
}
END_TEST

/* ---- registers ---- */

#define SENTINEL        0x5ca1ab1e0ddba11u
#define VECTOR_SENTINEL 0x5ca1ab1e0ddu

static _Atomic(long) holder;
static uintptr_t holder_stack;
static _Atomic(bool) held;

/* In a register alone, and one that the compiler keeps nothing else in meanwhile. */
static void *hold(void *unused) {
    int here;
    holder_stack = (uintptr_t)&here;
    holder = syscall(SYS_gettid);
#if defined(__x86_64__)
    __asm__ volatile("movq %0, %%r12\n\tmovq %3, %%xmm15\n\tmovb $1, (%2)\n"
                     "1:\tcmpb $0, (%1)\n\tpause\n\tje 1b"
                     :
                     : "i"(SENTINEL), "r"(&over), "r"(&held), "r"(VECTOR_SENTINEL)
                     : "r12", "xmm15", "cc", "memory");
#else
    while (!over)
        ;
#endif
    return unused;
}

static long note_holder(struct mp_stopped *stopped, void *context) {
    bool *found = context; /* the one, and the one in a vector register */
    for (uint32_t i = 0; i < stopped->count; i++) {
        const struct mp_stopped_thread *thread = &stopped->threads[i];
        bool is_holder = thread->id == holder && thread->sp <= holder_stack + 64 &&
                         thread->sp + 65536 > holder_stack;
        for (uint32_t r = 0; r < thread->register_count && is_holder; r++) {
            found[0] |= thread->registers[r] == SENTINEL;
            found[1] |= thread->registers[r] == VECTOR_SENTINEL;
        }
    }
    return 0;
}

START_TEST(registers_are_those_of_each_thread) {
#if defined(__x86_64__)
    struct mp_stopped stopped;
    pthread_t thread;
    bool found[2] = {false, false};
    long worked;
    int status;
    over = false;
    ck_assert_int_eq(pthread_create(&thread, NULL, hold, NULL), 0);
    while (!held)
        sched_yield();
    ck_assert_int_eq(mp_stop_all(&stopped, -1, note_holder, found, &worked), 0);
    ck_assert(found[0] && found[1]);
    mp_threads_end(&stopped);
    ck_assert(mp_stop_helper_ended(&status, true));
    over = true;
    pthread_join(thread, NULL);
#endif
}
END_TEST

/* ---- a copy ---- */

/* One right after the other, so that they differ by one at most at any instruction. */
static _Atomic(uint64_t) pairs[THREADS][2];
static _Atomic(bool) *copy_may_end; /* shared with it */

static void *count_pairs(void *counter) {
    size_t i = (size_t)((_Atomic(uint64_t) *)counter - counters);
    while (!over) {
        atomic_fetch_add_explicit(&pairs[i][0], 1, memory_order_seq_cst);
        atomic_fetch_add_explicit(&pairs[i][1], 1, memory_order_seq_cst);
        counters[i] = 1;
    }
    return NULL;
}

static uint64_t sum_of_pairs(void) {
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += pairs[i][0];
    return sum;
}

static long copy_and_check(struct mp_stopped *stopped, void *context) {
    (void)context;
    long copy = mp_sys_copy();
    if (copy)
        return copy;
    while (!*copy_may_end) /* the others go on: not here */
        mp_trace_sleep_us(1000);
    for (int i = 0; i < THREADS; i++) {
        uint64_t apart = pairs[i][0] - pairs[i][1];
        if (apart > 1 || !pairs[i][0])
            mp_sys_exit(40 + i);
    }
    mp_sys_exit(stopped->count == THREADS + 1 ? 7 : 9);
}

START_TEST(a_copy_is_of_one_moment_and_the_threads_do_not_wait_for_it) {
    struct mp_stopped stopped;
    long worked = 0;
    int status = 0;
    copy_may_end = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne((void *)copy_may_end, MAP_FAILED);
    start_threads(count_pairs);
    for (int round = 0; round < 10; round++) {
        *copy_may_end = false;
        ck_assert_int_eq(mp_stop_all(&stopped, -1, copy_and_check, NULL, &worked), 0);
        ck_assert_int_gt(worked, 0);
        uint64_t before = sum_of_pairs();
        ck_assert(!mp_stop_helper_ended(&status, false));
        ck_assert_int_eq(mp_stop_all(&stopped, -1, copy_and_check, NULL, &worked), -EBUSY);
        wait_for_more(sum_of_pairs, before);
        *copy_may_end = true;
        ck_assert(mp_stop_helper_ended(&status, true));
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 7);
        mp_threads_end(&stopped);
    }
    end_threads();
    ck_assert_int_eq(waitpid(-1, &status, WNOHANG | __WALL), -1);
    ck_assert_int_eq(errno, ECHILD);
}
END_TEST

/* ---- threads that do something else ---- */

static void *nothing(void *unused) {
    return unused;
}

static void *start_others(void *counter) {
    while (!over) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) == 0)
            pthread_join(thread, NULL);
        atomic_fetch_add((_Atomic(uint64_t) *)counter, 1);
    }
    return NULL;
}

START_TEST(threads_may_come_and_go_meanwhile) {
    struct mp_stopped stopped;
    uint64_t sums[2];
    long worked;
    int status, good = 0;
    start_threads(start_others);
    for (int round = 0; round < (unit_full() ? 300 : 50); round++) {
        int result = mp_stop_all(&stopped, -1, stand_still, sums, &worked);
        must(result == 0 || result == -EAGAIN);
        good += result == 0;
        must(result || sums[0] == sums[1]);
        must(result || stopped.missed == 0);
        mp_threads_end(&stopped);
        must(mp_stop_helper_ended(&status, true));
    }
    ck_assert_int_gt(good, 0);
    end_threads();
}
END_TEST

static int child_ends[2];
static _Atomic(long) waits;

/* As the kernel says it of a thread that waits for what no signal ends. */
static bool cannot_stop(long thread) {
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", thread);
    FILE *file = fopen(path, "r");
    bool read = file && fgets(line, sizeof line, file);
    if (file)
        fclose(file);
    const char *end = strrchr(line, ')');
    return read && end && end[2] == 'D';
}

static void *wait_for_child(void *unused) {
    char byte;
    waits = syscall(SYS_gettid);
    pid_t child = vfork();
    if (child == 0)
        _exit(syscall(SYS_read, child_ends[0], &byte, 1) == 1 ? 5 : 6);
    int status;
    must(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 5);
    return unused;
}

START_TEST(a_thread_that_cannot_stop_is_missed_and_goes_on) {
    struct mp_stopped stopped;
    uint64_t sums[2];
    pthread_t thread;
    long worked;
    int status;
    start_threads(count_on);
    ck_assert_int_eq(pipe(child_ends), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_child, NULL), 0);
    while (!waits || !cannot_stop(waits))
        sched_yield();
    ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, sums, &worked), 0);
    ck_assert_uint_eq(sums[0], sums[1]);
    ck_assert_uint_eq(stopped.missed, 1);
    mp_threads_end(&stopped);
    ck_assert_int_eq(write(child_ends[1], "", 1), 1);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert(mp_stop_helper_ended(&status, true));
    end_threads();
}
END_TEST

static _Atomic(unsigned) handled;

static void on_signal(int number) {
    (void)number;
    atomic_fetch_add(&handled, 1);
}

START_TEST(no_signal_is_lost_and_none_is_made) {
    struct mp_stopped stopped;
    uint64_t sums[2];
    long worked;
    int status;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    start_threads(count_on);
    unsigned sent = 0;
    for (int round = 0; round < 100; round++) {
        /* Each thread has one at a time, so that none falls into another. */
        for (int i = 0; i < THREADS; i++, sent++)
            pthread_kill(threads[i], SIGUSR1);
        ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, sums, &worked), 0);
        ck_assert_uint_eq(sums[0], sums[1]);
        mp_threads_end(&stopped);
        ck_assert(mp_stop_helper_ended(&status, true));
        while (handled < sent)
            sched_yield();
    }
    ck_assert_uint_eq(handled, sent);
    end_threads();
}
END_TEST

/* ---- where it cannot be done ---- */

static void answer(int call, uint32_t action) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof code / sizeof *code, code};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void forbid(int call, int error) {
    answer(call, SECCOMP_RET_ERRNO | (uint32_t)error);
}

static void refused(int error) {
    struct mp_stopped stopped;
    uint64_t sums[2] = {3, 4};
    long worked;
    int status;
    start_threads(count_on);
    ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, sums, &worked), -error);
    ck_assert_uint_eq(sums[0], 3);
    mp_threads_end(&stopped);
    ck_assert(mp_stop_helper_ended(&status, true));
    uint64_t sum = sum_of_counters();
    wait_for_more(sum_of_counters, sum);
    end_threads();
}

START_TEST(where_ptrace_is_refused_nothing_is_done) {
    forbid(SYS_ptrace, EPERM);
    refused(EPERM);
}
END_TEST

static long end_here(struct mp_stopped *stopped, void *context) {
    (void)stopped;
    (void)context;
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    return 0;
}

START_TEST(a_helper_that_is_killed_stops_nobody_for_good) {
    struct mp_stopped stopped;
    long worked = 1;
    start_threads(count_on);
    ck_assert_int_eq(mp_stop_all(&stopped, -1, end_here, NULL, &worked), -EAGAIN);
    ck_assert_int_eq(worked, 0);
    mp_threads_end(&stopped);
    uint64_t sum = sum_of_counters();
    wait_for_more(sum_of_counters, sum);
    ck_assert_int_eq(mp_sys_wait_copy(-1, &(int){0}, WNOHANG), -ECHILD);
    end_threads();
}
END_TEST

/* A process that traces a thread of this one, until it is killed. */
static pid_t start_debugger(long thread) {
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    pid_t debugger = fork();
    if (debugger == 0) {
        byte = (char)(mp_trace_seize(thread) == 0);
        _exit(write(ready[1], &byte, 1) == 1 && pause() ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    close(ready[0]);
    close(ready[1]);
    return debugger;
}

static void end_debugger(pid_t debugger) {
    int status;
    kill(debugger, SIGKILL);
    ck_assert_int_eq(waitpid(debugger, &status, 0), debugger);
}

START_TEST(a_copy_s_end_is_seen_without_a_descriptor) {
    int gate[2], status;
    ck_assert_int_eq(pipe(gate), 0);
    long copy = mp_sys_copy();
    if (copy == 0) {
        char byte;
        close(gate[1]);
        mp_sys_exit((int)read(gate[0], &byte, 1));
    }
    ck_assert_int_gt(copy, 0);
    while (dup(gate[0]) >= 0)
        ;
    ck_assert_int_eq(errno, EMFILE);
    ck_assert(!mp_sys_copy_has_ended(copy));
    close(gate[1]);
    while (!mp_sys_copy_has_ended(copy))
        sched_yield();
    ck_assert(mp_sys_copy_has_ended(copy));
    ck_assert_int_eq(mp_sys_wait_copy(copy, &status, 0), copy);
    ck_assert(mp_sys_copy_has_ended(copy));
}
END_TEST

static void *be_traced_alone(void *tid) {
    *(_Atomic(long) *)tid = syscall(SYS_gettid);
    while (!over)
        sched_yield();
    return NULL;
}

START_TEST(where_one_thread_has_a_debugger_nothing_is_done_at_once) {
    static _Atomic(long) tid;
    struct mp_stopped stopped;
    pthread_t thread;
    long worked;
    over = false;
    ck_assert_int_eq(pthread_create(&thread, NULL, be_traced_alone, &tid), 0);
    while (!tid)
        sched_yield();
    pid_t debugger = start_debugger(tid);
    uint64_t before_ns = mp_sys_precise_ns();
    ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, NULL, &worked), -EPERM);
    ck_assert_uint_lt(mp_sys_precise_ns() - before_ns, 2000000000);
    mp_threads_end(&stopped);
    end_debugger(debugger);
    over = true;
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(a_filter_that_refuses_to_trace_is_not_deadly) {
    forbid(SYS_ptrace, EPERM);
    ck_assert(!mp_trace_is_deadly());
}
END_TEST

START_TEST(a_filter_that_ends_who_traces_is_deadly) {
    answer(SYS_ptrace, SECCOMP_RET_KILL_PROCESS);
    ck_assert(mp_trace_is_deadly());
    ck_assert(mp_trace_is_deadly());
}
END_TEST

START_TEST(where_no_process_can_be_made_nothing_is_done) {
    struct mp_stopped stopped;
    long worked;
    forbid(SYS_clone, EAGAIN);
    ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, NULL, &worked), -EAGAIN);
    ck_assert_ptr_null(stopped.threads);
}
END_TEST

START_TEST(where_a_debugger_is_attached_nothing_is_done) {
    struct mp_stopped stopped;
    uint64_t sums[2] = {3, 4};
    int status;
    long worked;
    pid_t debugger = start_debugger(getpid());
    ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, sums, &worked), -EPERM);
    ck_assert_uint_eq(sums[0], 3);
    mp_threads_end(&stopped);
    ck_assert(mp_stop_helper_ended(&status, true));
    end_debugger(debugger);
}
END_TEST

/* Notes whom a process says may trace it. Itself it has a tracer by this, which refuses all others.
 */
struct said {
    _Atomic(long) count, last;
};

static void listen_to(pid_t process, int ready, struct said *said) {
    const char byte =
        ptrace(PTRACE_SEIZE, process, NULL, (void *)(uintptr_t)PTRACE_O_TRACESECCOMP) == 0;
    int status;
    if (write(ready, &byte, 1) != 1)
        return;
    while (waitpid(process, &status, __WALL) == process && WIFSTOPPED(status)) {
        struct __ptrace_syscall_info call;
        if (status >> 16 == PTRACE_EVENT_SECCOMP &&
            ptrace(PTRACE_GET_SYSCALL_INFO, process, (void *)sizeof call, &call) > 0 &&
            call.seccomp.args[0] == PR_SET_PTRACER) {
            said->last = (long)call.seccomp.args[1];
            said->count++;
        }
        ptrace(PTRACE_CONT, process, NULL,
               (void *)(uintptr_t)(status >> 16 ? 0 : WSTOPSIG(status)));
    }
}

START_TEST(whom_the_program_lets_trace_it_may_do_so_again) {
    struct mp_stopped stopped;
    int ready[2], status;
    long worked;
    char byte = 0;
    pid_t self = getpid();
    struct said *said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(said, MAP_FAILED);
    ck_assert_int_eq(pipe(ready), 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    pid_t listener = fork();
    if (listener == 0) {
        listen_to(self, ready[1], said);
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    answer(SYS_prctl, SECCOMP_RET_TRACE);
    mp_trace_note_allowed(listener);
    ck_assert_int_eq(mp_stop_all(&stopped, -1, stand_still, NULL, &worked), -EPERM);
    ck_assert_int_eq(said->count, 2);
    ck_assert_int_eq(said->last, listener);
    mp_threads_end(&stopped);
    ck_assert_int_eq(kill(listener, SIGKILL), 0);
    ck_assert_int_eq(waitpid(listener, &status, 0), listener);
}
END_TEST

#define STOP_CASE(tcase, test)                                                                     \
    UNIT_CASE_IF(tcase, test, !UNIT_TSAN, "the thread sanitizer has a clone of its own")
#define FILTER_CASE(tcase, test)                                                                   \
    UNIT_CASE_IF(tcase, test, !UNIT_TSAN && !UNIT_ASAN, "the sanitizer's own check is refused, too")

int main(void) {
    Suite *suite = suite_create("stop");
    TCase *stops = tcase_create("stops");
    tcase_set_timeout(stops, 100);
    STOP_CASE(stops, all_threads_stand_still_and_go_on);
    STOP_CASE(stops, registers_are_those_of_each_thread);
    STOP_CASE(stops, a_copy_is_of_one_moment_and_the_threads_do_not_wait_for_it);
    STOP_CASE(stops, threads_may_come_and_go_meanwhile);
    STOP_CASE(stops, a_thread_that_cannot_stop_is_missed_and_goes_on);
    STOP_CASE(stops, no_signal_is_lost_and_none_is_made);
    suite_add_tcase(suite, stops);
    TCase *refusals = tcase_create("refusals");
    FILTER_CASE(refusals, where_ptrace_is_refused_nothing_is_done);
    FILTER_CASE(refusals, a_filter_that_refuses_to_trace_is_not_deadly);
    FILTER_CASE(refusals, a_filter_that_ends_who_traces_is_deadly);
    STOP_CASE(refusals, a_helper_that_is_killed_stops_nobody_for_good);
    STOP_CASE(refusals, a_copy_s_end_is_seen_without_a_descriptor);
    STOP_CASE(refusals, where_one_thread_has_a_debugger_nothing_is_done_at_once);
    FILTER_CASE(refusals, where_no_process_can_be_made_nothing_is_done);
    STOP_CASE(refusals, where_a_debugger_is_attached_nothing_is_done);
    FILTER_CASE(refusals, whom_the_program_lets_trace_it_may_do_so_again);
    suite_add_tcase(suite, refusals);
    return unit_main(suite);
}
