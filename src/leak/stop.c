#include "leak/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "platform/sys.h"
#include "record/memory.h"

#define STACK_SIZE  ((size_t)64 << 10)
#define STOP_MS     200u  /* for a thread that waits in the kernel to stop */
#define TURN_MS     2000u /* for one that can, as soon as a busy machine gives it a turn */
#define PASSES_MOST 64u   /* over the list of threads: some start others while they are stopped */

#define ASKING_US 100u /* between looks at whether the caller has answered */
#define LOOK_MS   100u /* ... and at whether the helper is still there */

/* The helper's; from WANTS_PERMISSION the caller goes on, or the helper by itself if it takes too
 * long. */
enum phase {
    AT_WORK,
    WANTS_PERMISSION, /* the caller is to allow being traced, where Yama asks for that */
    MAY_TRY_AGAIN,
    LET_GO,
    DIED /* it has not said so itself */
};

/* One helper at a time; what it needs beyond the caller's stay. */
static struct {
    _Atomic(uint32_t) phase;
    long process, caller;
    _Atomic(long) helper; /* 0: there is none */
    struct mp_stopped *stopped;
    long (*work)(struct mp_stopped *stopped, void *context);
    void *context;
    long worked;
    int keep; /* a descriptor */
    int error;
    uint64_t began_ns;
    char *stack;
    bool asked;    /* for permission */
    bool waits;    /* for what it has started */
    bool replaced; /* by another program: execve */
} stop;

static void go_to(enum phase phase) {
    atomic_store_explicit(&stop.phase, phase, memory_order_release);
    mp_sys_futex_wake(&stop.phase, 1);
}

static bool go_from_to(uint32_t from, enum phase phase) {
    bool gone = atomic_compare_exchange_strong(&stop.phase, &from, phase);
    mp_sys_futex_wake(&stop.phase, 1);
    return gone;
}

/* A helper that is killed says nothing more: it is looked for, and then at the phase once more. */
static enum phase wait_while(enum phase phase) {
    bool gone = false;
    for (;;) {
        enum phase now = atomic_load_explicit(&stop.phase, memory_order_acquire);
        if (now != phase)
            return now;
        if (gone)
            return DIED;
        gone = mp_sys_futex_wait_ms(&stop.phase, phase, LOOK_MS) == -ETIMEDOUT &&
               mp_sys_copy_has_ended(stop.helper);
    }
}

/* ---- stopping ---- */

static void forget(long id) {
    struct mp_stopped_thread *thread = mp_threads_find(stop.stopped, id);
    if (thread)
        *thread = stop.stopped->threads[--stop.stopped->count];
}

/* A number as wait4 gives it, with what has become of the thread. */
static void note_stop(long id, int status) {
    struct mp_stopped_thread *thread = mp_threads_find(stop.stopped, id);
    if (!WIFSTOPPED(status)) {
        forget(id);
    } else if (status >> 16 == PTRACE_EVENT_EXEC) {
        stop.replaced = true;
        mp_trace_detach(id, 0);
        forget(id);
    } else if (thread) {
        thread->stopped = true;
        thread->signal = status >> 16 ? 0 : WSTOPSIG(status);
    }
}

/* Whatever of those that were seized has stopped by now, or ended. */
static bool note_one(void) {
    int status;
    long id = mp_trace_wait(&status, false);
    if (id <= 0)
        return false;
    note_stop(id, status);
    return true;
}

static void on_child(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    while (note_one())
        ;
}

/* A thread in execve has the others end, waits until those that are traced have been waited for,
 * and has the lock meanwhile that seizing takes: so they are, by the handler. */
static int seize_once(long thread) {
    uint64_t mask;
    mp_sys_unblock_one(SIGCHLD);
    int result = mp_trace_seize(thread);
    mp_sys_block_all(&mask);
    return result;
}

static bool thread_has_ended(long thread) {
    struct mp_thread_status status;
    return !mp_threads_status(stop.process, thread, &status) || status.state == 'Z' ||
           status.state == 'X';
}

/* The caller can only give permission while it has not been seized itself: the first thread tells.
 */
static int seize(long thread) {
    int result = seize_once(thread);
    if (result == -EPERM && thread_has_ended(thread))
        return -ESRCH;
    if (result != -EPERM || stop.asked || stop.stopped->count > 1)
        return result;
    stop.asked = true;
    go_to(WANTS_PERMISSION);
    for (unsigned waited_us = 0; stop.phase == WANTS_PERMISSION; waited_us += ASKING_US) {
        if (waited_us > TURN_MS * 1000 && go_from_to(WANTS_PERMISSION, AT_WORK))
            return -EAGAIN; /* nobody may be there to answer: after execve another program is */
        mp_trace_sleep_us(ASKING_US);
    }
    result = seize_once(thread);
    return result == -EPERM && thread_has_ended(thread) ? -ESRCH : result;
}

/* 1: one that was not known; 0; -errno. It is in the list before it is seized: its stop, or its
 * end, may be noted at once. */
static int take_thread(long id, void *unused) {
    struct mp_stopped *stopped = stop.stopped;
    (void)unused;
    if (mp_threads_find(stopped, id))
        return 0;
    if (stopped->count == stopped->room)
        return -ENOBUFS;
    stopped->threads[stopped->count++] = (struct mp_stopped_thread){.id = id};
    int result = seize(id);
    if (result < 0) {
        forget(id);
        return result == -ESRCH ? 0 : result; /* has ended meanwhile */
    }
    if (mp_trace_interrupt(id) == -ESRCH && mp_threads_find(stopped, id))
        stop.replaced = true; /* it has the number of the first thread now */
    return 1;
}

static uint32_t count_running(void) {
    uint32_t running = 0;
    for (uint32_t i = 0; i < stop.stopped->count; i++)
        running += !stop.stopped->threads[i].stopped;
    return running;
}

static bool one_waits_for_its_turn(void) {
    struct mp_thread_status status;
    bool waits = false;
    for (uint32_t i = 0; i < stop.stopped->count && !waits; i++) {
        const struct mp_stopped_thread *thread = &stop.stopped->threads[i];
        waits = !thread->stopped && mp_threads_status(stop.process, thread->id, &status) &&
                status.state == 'R';
    }
    return waits;
}

/* Until all have stopped, or the time is over. */
static void wait_for_stops(uint64_t began_ms) {
    uint64_t pause_us = 10;
    while (count_running() && !stop.replaced) {
        if (note_one()) {
            pause_us = 10;
            continue;
        }
        uint64_t waited_ms = mp_sys_now_ms() - began_ms;
        if (waited_ms > TURN_MS || (waited_ms > STOP_MS && !one_waits_for_its_turn()))
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

/* After execve the caller is no more; its number may be that of the new program's only thread,
 * whose memory is another. */
static bool is_the_same_program(void) {
    const struct mp_stopped_thread *caller = mp_threads_find(stop.stopped, stop.caller);
    uint64_t began_ns;
    return !stop.replaced && caller && caller->stopped &&
           mp_trace_read_word(stop.caller, &stop.began_ns, &began_ns) && began_ns == stop.began_ns;
}

static int stop_threads(void) {
    uint64_t began_ms = mp_sys_now_ms();
    int fresh = 1;
    for (unsigned pass = 0; fresh > 0 && !stop.replaced; pass++) {
        if (pass == PASSES_MOST)
            return -EAGAIN;
        fresh = mp_threads_each(stop.process, take_thread, NULL);
        if (fresh < 0)
            return fresh;
        wait_for_stops(began_ms);
    }
    if (!is_the_same_program())
        return -EAGAIN;
    read_registers();
    return 0;
}

static void let_go(void) {
    for (uint32_t i = 0; i < stop.stopped->count; i++) {
        const struct mp_stopped_thread *thread = &stop.stopped->threads[i];
        if (thread->stopped)
            mp_trace_detach(thread->id, thread->signal);
    }
}

/* By then the caller's thread may have ended, and with it what compilers guard stacks by. */
#define NO_CANARY __attribute__((no_stack_protector))

/* The copy's end is what is told. Of threads that were missed, those that stop meanwhile are let go
 * of; of the rest the kernel lets go when the helper ends. From here on nothing of the caller's is
 * used. */
NO_CANARY static int wait_for_copy(long copy) {
    int status;
    for (;;) {
        long id = mp_trace_wait(&status, true);
        if (id == copy)
            return WIFEXITED(status) ? WEXITSTATUS(status) : ECANCELED;
        if (id < 0 && id != -EINTR)
            return EIO;
        if (id > 0 && WIFSTOPPED(status))
            mp_trace_detach(id, status >> 16 ? 0 : WSTOPSIG(status)); /* events are no signals */
    }
}

NO_CANARY static int help(void *unused) {
    (void)unused;
    mp_sys_close_all_but(stop.keep);
    mp_sys_handle(SIGCHLD, on_child, SA_RESTART);
    stop.began_ns = mp_sys_precise_ns();
    stop.error = stop_threads();
    stop.worked = stop.error ? 0 : stop.work(stop.stopped, stop.context);
    long copy = stop.worked;
    let_go();
    stop.waits = copy > 0;
    *stop.stopped->pause_ns = mp_sys_precise_ns() - stop.began_ns;
    go_to(LET_GO);
    mp_sys_exit(copy > 0 ? wait_for_copy(copy) : 0);
}

/* ---- the caller ---- */

int mp_stop_all(struct mp_stopped *stopped, int keep,
                long (*work)(struct mp_stopped *stopped, void *context), void *context,
                long *worked) {
    int status;
    if (!mp_stop_helper_ended(&status, false))
        return -EBUSY;
    stop.process = mp_sys_getpid();
    stop.caller = mp_sys_gettid();
    stop.stopped = stopped;
    stop.keep = keep;
    stop.work = work;
    stop.context = context;
    stop.worked = 0;
    stop.asked = stop.replaced = false;
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
    enum phase now = AT_WORK;
    while ((now = wait_while(now)) != LET_GO && now != DIED) {
        if (now == WANTS_PERMISSION) {
            mp_trace_allow(stop.helper);
            go_from_to(WANTS_PERMISSION, MAY_TRY_AGAIN);
        }
    }
    if (now == DIED) {
        stop.error = -EAGAIN;
        stop.waits = false;
    }
    if (stop.asked)
        mp_trace_allow_as_before();
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
