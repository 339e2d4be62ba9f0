#include "control/snapshot.h"

#include <errno.h>
#include <sys/wait.h>

#include "control/request.h"
#include "heap/census.h"
#include "heap/thread.h"
#include "leak/park.h"
#include "leak/stop.h"
#include "leak/told.h"
#include "platform/arch.h"
#include "platform/sys.h"
#include "profile/sampler.h"

#define STOOD_WAIT_MS 1000u
#define APART_US      20000u /* between two copies: longer than a pointer is on its way */

struct making {
    struct mp_snapshot *snapshot;
    void (*be)(void *context);
    void *context;
};

static uint64_t last_pause_ns;

static void close_gate(void) {
    mp_told_before_fork();
    mp_sampler_before_fork();
    mp_gate_close();
}

static void open_gate(void) {
    mp_gate_open(false);
    mp_sampler_after_fork(false);
    mp_told_after_fork(false);
}

static long copy_now(struct mp_stopped *stopped, void *context) {
    struct making *making = context;
    (void)stopped;
    making->snapshot->real_ns = mp_sys_real_ns();
    making->snapshot->now_ns = mp_sys_precise_ns();
    long copy = mp_sys_copy();
    if (copy == 0)
        making->be(making->context);
    return copy;
}

/* The helper's pid, which waits for the copy. */
static long copy_stopped(struct making *making) {
    struct mp_snapshot *snapshot = making->snapshot;
    long copy;
    snapshot->world = MEMPROF_WORLD_PTRACE;
    int error = mp_stop_all(&snapshot->stopped, snapshot->keep, copy_now, making, &copy);
    if (!error && copy < 0)
        error = (int)copy;
    mp_threads_end(&snapshot->stopped);
    return error ? error : mp_stop_helper();
}

static long copy_parked(struct making *making) {
    struct mp_snapshot *snapshot = making->snapshot;
    long copy;
    snapshot->world = MEMPROF_WORLD_SIGNAL;
    int error = mp_park_all(&snapshot->stopped, copy_now, making, &copy);
    mp_threads_end(&snapshot->stopped);
    return error ? error : copy;
}

/* ---- two copies ---- */

static int count_one(long id, void *unused) {
    (void)id;
    (void)unused;
    return 1;
}

/* The calling thread is the only one of which anything is known. */
static bool note_caller(struct mp_snapshot *snapshot) {
    struct mp_stopped *stopped = &snapshot->stopped;
    int count = mp_threads_each(mp_sys_getpid(), count_one, NULL);
    if (count <= 0 || !mp_threads_begin(stopped, mp_sys_getpid()))
        return false;
    stopped->threads[0] = (struct mp_stopped_thread){
        .id = snapshot->caller.thread,
        .sp = snapshot->caller.frame,
        .tp = mp_arch_thread_pointer(),
        .register_count = 1, /* it has its own on its stack */
    };
    stopped->count = 1;
    stopped->missed = (uint32_t)count - 1;
    *stopped->pause_ns = 1;
    return true;
}

static _Noreturn void be_the_first(const struct mp_snapshot *snapshot) {
    static struct mp_leaks leaks;
    const struct mp_leaks_way way = {&snapshot->stopped, snapshot->caller, snapshot->twice, 0};
    mp_sys_become_copy(-1, false);
    mp_sys_survive_faults();
    mp_leaks_find_first(&leaks, &way);
    mp_sys_exit(0);
}

/* The first is its own parent's only when nobody waits for it: both are waited for as one, by the
 * second's pid. */
static long first_copy, second_copy;

static long copy_twice(struct making *making) {
    struct mp_snapshot *snapshot = making->snapshot;
    int status;
    if (first_copy > 0 && mp_sys_wait_copy(first_copy, &status, WNOHANG) == 0)
        return -EBUSY;
    snapshot->world = MEMPROF_WORLD_TWO_SCAN;
    snapshot->twice = mp_twice_begin();
    if (!snapshot->twice)
        return -ENOMEM;
    long copy = note_caller(snapshot) ? mp_sys_copy() : -ENOMEM;
    if (copy == 0)
        be_the_first(snapshot);
    if (copy > 0) {
        first_copy = snapshot->first = copy;
        open_gate();
        mp_trace_sleep_us(APART_US);
        close_gate();
        copy = copy_now(NULL, making);
        second_copy = copy > 0 ? copy : 0;
        if (copy < 0) {
            mp_sys_end_copy(first_copy);
            first_copy = 0;
        }
    }
    mp_twice_end(snapshot->twice);
    mp_threads_end(&snapshot->stopped);
    return copy;
}

/* ---- all ---- */

static bool is_refused(long copy) {
    return copy == -EPERM || copy == -EACCES || copy == -ENOSYS || copy == -ENOTSUP;
}

static long copy_for_leaks(struct making *making) {
    mp_told_forget(mp_census_is_in_live);
    struct mp_thread_status status = {0};
    mp_threads_status(mp_sys_getpid(), mp_sys_gettid(), &status);
    if (status.filtered && mp_trace_is_deadly())
        return copy_twice(making);
    long copy = copy_stopped(making);
    if (is_refused(copy) && mp_request_by_signal())
        copy = copy_parked(making);
    return is_refused(copy) ? copy_twice(making) : copy;
}

long mp_snapshot_make(struct mp_snapshot *snapshot, void (*be)(void *context), void *context) {
    struct making making = {snapshot, be, context};
    uint64_t before_ns = mp_sys_precise_ns();
    close_gate();
    long copy = snapshot->leaks ? copy_for_leaks(&making) : copy_now(NULL, &making);
    open_gate();
    last_pause_ns = mp_sys_precise_ns() - before_ns;
    return copy;
}

long mp_snapshot_wait(long copy, int *status, int flags) {
    int unused;
    if (copy == mp_stop_helper())
        return mp_stop_helper_ended(status, flags == 0) ? copy : flags == 0 ? -EINTR : 0;
    if (first_copy > 0 && copy == second_copy) {
        long got = mp_sys_wait_copy(first_copy, &unused, flags);
        if (got == 0 || got == -EINTR)
            return got;
        first_copy = 0;
    }
    return mp_sys_wait_copy(copy, status, flags);
}

uint64_t mp_snapshot_pause_ns(void) {
    return last_pause_ns;
}

void mp_snapshot_forget(void) {
    last_pause_ns = 0;
    first_copy = second_copy = 0;
    mp_park_forget();
    mp_trace_note_allowed(0);
}

/* ---- in the copy ---- */

int mp_snapshot_find_leaks(const struct mp_snapshot *snapshot, struct mp_leaks *leaks) {
    const struct mp_leaks_way way = {&snapshot->stopped, snapshot->caller, snapshot->twice,
                                     snapshot->first};
    mp_sys_survive_faults();
    return mp_leaks_find(leaks, &way);
}

uint64_t mp_snapshot_stood_ns(const struct mp_snapshot *snapshot) {
    if (snapshot->twice)
        return 0;
    for (unsigned ms = 0; ms < STOOD_WAIT_MS && !*snapshot->stopped.pause_ns; ms++)
        mp_trace_sleep_us(1000);
    return *snapshot->stopped.pause_ns;
}

long mp_snapshot_asked_for(const struct mp_snapshot *snapshot) {
    return snapshot->world == MEMPROF_WORLD_PTRACE ? mp_sys_getppid() : mp_sys_getpid();
}
