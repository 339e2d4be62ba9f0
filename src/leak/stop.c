#include "leak/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "platform/sys.h"
#include "record/memory.h"

#define STACK_SIZE  ((size_t)64 << 10)
#define STOP_MS     200u  /* for a thread that waits in the kernel to stop */
#define TURN_MS     2000u /* for one that can, as soon as a busy machine gives it a turn */
#define PASSES_MOST 64u   /* over the list of threads: some start others while they are stopped */

#define STOPPED_BY_EVENT 128 /* PTRACE_EVENT_STOP: no signal is being delivered */

enum phase {
    AT_WORK,
    WANTS_PERMISSION, /* the caller is to allow being traced, where Yama asks for that */
    MAY_TRY_AGAIN,
    LET_GO
};

/* One helper at a time; what it needs beyond the caller's stay. */
static struct {
    _Atomic(uint32_t) phase;
    long process;
    _Atomic(long) helper; /* 0: there is none */
    struct mp_stopped *stopped;
    long (*work)(struct mp_stopped *stopped, void *context);
    void *context;
    long worked;
    int keep; /* a descriptor */
    int error;
    uint64_t began_ns;
    char *stack;
    long unstopped[64]; /* that were missed, to be let go of later */
    uint32_t unstopped_count;
    bool asked; /* for permission */
    bool waits; /* for what it has started, or for threads that were missed */
} stop;

static void go_to(enum phase phase) {
    atomic_store_explicit(&stop.phase, phase, memory_order_release);
    mp_sys_futex_wake(&stop.phase, 1);
}

static enum phase wait_while(enum phase phase) {
    uint32_t now;
    while ((now = atomic_load_explicit(&stop.phase, memory_order_acquire)) == (uint32_t)phase)
        mp_sys_futex_wait(&stop.phase, phase);
    return (enum phase)now;
}

/* ---- stopping ---- */

static char state_of(long thread) {
    struct mp_thread_status status;
    return mp_threads_status(stop.process, thread, &status) ? status.state : 'Z';
}

static int seize(long thread) {
    int result = mp_trace_seize(thread);
    if (result == -EPERM && state_of(thread) == 'Z')
        return -ESRCH;
    if (result != -EPERM || stop.asked)
        return result;
    stop.asked = true;
    go_to(WANTS_PERMISSION);
    wait_while(WANTS_PERMISSION);
    return mp_trace_seize(thread);
}

/* 1: one that was not known; 0; -errno. */
static int take_thread(long id, void *unused) {
    struct mp_stopped *stopped = stop.stopped;
    (void)unused;
    if (mp_threads_find(stopped, id))
        return 0;
    if (stopped->count == stopped->room)
        return -ENOBUFS;
    int result = seize(id);
    if (result == -ESRCH)
        return 0; /* has ended meanwhile */
    if (result < 0)
        return result;
    stopped->threads[stopped->count++] = (struct mp_stopped_thread){.id = id};
    mp_trace_interrupt(id);
    return 1;
}

/* A number as wait4 gives it, with what has become of the thread. */
static void note_stop(long id, int status) {
    struct mp_stopped_thread *thread = mp_threads_find(stop.stopped, id);
    if (!thread)
        return;
    if (!WIFSTOPPED(status)) { /* it has ended */
        *thread = stop.stopped->threads[--stop.stopped->count];
        return;
    }
    thread->stopped = true;
    thread->signal = status >> 16 == STOPPED_BY_EVENT ? 0 : WSTOPSIG(status);
}

static uint32_t count_running(void) {
    uint32_t running = 0;
    for (uint32_t i = 0; i < stop.stopped->count; i++)
        running += !stop.stopped->threads[i].stopped;
    return running;
}

static bool one_waits_for_its_turn(void) {
    bool waits = false;
    for (uint32_t i = 0; i < stop.stopped->count && !waits; i++)
        waits = !stop.stopped->threads[i].stopped && state_of(stop.stopped->threads[i].id) == 'R';
    return waits;
}

/* Until all have stopped, or the time is over. */
static void wait_for_stops(uint64_t began_ms) {
    uint64_t pause_us = 10;
    int status;
    while (count_running()) {
        long id = mp_trace_wait(&status, false);
        if (id > 0) {
            note_stop(id, status);
            pause_us = 10;
            continue;
        }
        uint64_t waited_ms = mp_sys_now_ms() - began_ms;
        if (id == -ECHILD || waited_ms > TURN_MS ||
            (waited_ms > STOP_MS && !one_waits_for_its_turn()))
            return;
        mp_trace_sleep_us(pause_us);
        pause_us = pause_us < 1000 ? pause_us * 2 : pause_us;
    }
}

static void read_registers(void) {
    for (uint32_t i = 0; i < stop.stopped->count; i++) {
        struct mp_stopped_thread *thread = &stop.stopped->threads[i];
        int count = thread->stopped ? mp_trace_registers(thread->id, thread->registers, &thread->sp,
                                                         &thread->tp)
                                    : 0;
        if (count > 0)
            count += mp_trace_vectors(thread->id, thread->registers + count, MP_TRACE_VECTORS);
        thread->register_count = count > 0 ? (uint32_t)count : 0;
        stop.stopped->missed += thread->register_count == 0;
    }
}

static int stop_threads(void) {
    uint64_t began_ms = mp_sys_now_ms();
    int fresh = 1;
    for (unsigned pass = 0; fresh > 0; pass++) {
        if (pass == PASSES_MOST)
            return -EAGAIN;
        fresh = mp_threads_each(stop.process, take_thread, NULL);
        if (fresh < 0)
            return fresh;
        wait_for_stops(began_ms);
    }
    read_registers();
    return 0;
}

static void let_go(void) {
    stop.unstopped_count = 0;
    for (uint32_t i = 0; i < stop.stopped->count; i++) {
        const struct mp_stopped_thread *thread = &stop.stopped->threads[i];
        if (thread->stopped)
            mp_trace_detach(thread->id, thread->signal);
        else if (stop.unstopped_count < sizeof stop.unstopped / sizeof *stop.unstopped)
            stop.unstopped[stop.unstopped_count++] = thread->id;
    }
}

/* By then the caller's thread may have ended, and with it what compilers guard stacks by. */
#define NO_CANARY __attribute__((no_stack_protector))

/* The threads that were missed go on as soon as they stop; the copy's end is what is told. From
 * here on nothing of the caller's is used. */
NO_CANARY static int wait_for_rest(long copy) {
    int result = 0, status;
    for (long left = copy > 0; left || stop.unstopped_count;) {
        long id = mp_trace_wait(&status, true);
        if (id == -EINTR)
            continue;
        if (id < 0)
            break;
        if (id == copy) {
            left = 0;
            result = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
            continue;
        }
        if (WIFSTOPPED(status))
            mp_trace_detach(id, status >> 16 == STOPPED_BY_EVENT ? 0 : WSTOPSIG(status));
        for (uint32_t i = 0; i < stop.unstopped_count; i++) {
            if (stop.unstopped[i] == id)
                stop.unstopped[i] = stop.unstopped[--stop.unstopped_count];
        }
    }
    return result;
}

NO_CANARY static int help(void *unused) {
    (void)unused;
    mp_sys_close_all_but(stop.keep);
    stop.began_ns = mp_sys_precise_ns();
    stop.error = stop_threads();
    stop.worked = stop.error ? 0 : stop.work(stop.stopped, stop.context);
    long copy = stop.worked;
    let_go();
    stop.waits = copy > 0 || stop.unstopped_count > 0;
    *stop.stopped->pause_ns = mp_sys_precise_ns() - stop.began_ns;
    go_to(LET_GO);
    mp_sys_exit(wait_for_rest(copy));
}

/* ---- the caller ---- */

int mp_stop_all(struct mp_stopped *stopped, int keep,
                long (*work)(struct mp_stopped *stopped, void *context), void *context,
                long *worked) {
    int status;
    if (!mp_stop_helper_ended(&status, false))
        return -EBUSY;
    stop.process = mp_sys_getpid();
    stop.stopped = stopped;
    stop.keep = keep;
    stop.work = work;
    stop.context = context;
    stop.asked = false;
    atomic_store_explicit(&stop.phase, AT_WORK, memory_order_relaxed);
    if (!stop.stack)
        stop.stack = mp_record_alloc(STACK_SIZE);
    if (!stop.stack || !mp_threads_begin(stopped, stop.process)) {
        mp_threads_end(stopped);
        return -ENOMEM;
    }
    stop.helper = mp_trace_start(help, stop.stack + STACK_SIZE, NULL);
    if (stop.helper < 0) {
        int error = (int)stop.helper;
        stop.helper = 0;
        mp_threads_end(stopped);
        return error;
    }
    if (wait_while(AT_WORK) == WANTS_PERMISSION) {
        mp_trace_allow(stop.helper);
        go_to(MAY_TRY_AGAIN);
        wait_while(MAY_TRY_AGAIN);
        mp_trace_allow(0);
    }
    if (!stop.waits)
        mp_stop_helper_ended(&status, true); /* nobody else may come to wait for it */
    *worked = stop.worked;
    return stop.error;
}

long mp_stop_helper(void) {
    return stop.helper;
}

bool mp_stop_helper_ended(int *status, bool hang) {
    long helper = stop.helper;
    if (!helper)
        return true;
    long got = mp_sys_wait_copy(helper, status, hang ? 0 : WNOHANG);
    if (got == 0 || got == -EINTR)
        return false;
    /* Of two threads that ask at once one is told by the kernel that there is none any more; by
     * then there may be another. */
    atomic_compare_exchange_strong(&stop.helper, &helper, 0);
    return true;
}
