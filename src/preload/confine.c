/* The program is about to give up what it may do: a filter of system calls, another root. What the
 * profiler would do later by calls that may then be forbidden, or lead elsewhere, it does now: it
 * makes its black box. After a filter that may end it for a call it keeps to the few of sys.h.
 * Before a limit of addresses it gives those back that the black box might grow into. And whom the
 * program lets trace it is noted, for searches for leaks say that for a while, too. Who makes
 * these system calls by other means than libc's functions is not noticed.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "platform/arch.h"
#include "platform/lock.h"
#include "platform/sys.h"
#include "platform/trace.h"
#include "preload/preload.h"
#include "profile/about.h"
#include "profile/mirror.h"
#include "profile/sampler.h"
#include "record/box.h"

long mp_confine_filter(long n, long a, long b, long c, long d, long e);
MP_EXPORT int prctl(int option, ...);
MP_EXPORT int chroot(const char *path);
MP_EXPORT int mlockall(int flags);
MP_EXPORT int mp_confine_setrlimit(int resource, const struct rlimit *limit) __asm__("setrlimit");
MP_EXPORT int mp_confine_setrlimit64(int resource,
                                     const struct rlimit *limit) __asm__("setrlimit64");
MP_EXPORT int mp_confine_prlimit(int pid, int resource, const struct rlimit *limit,
                                 struct rlimit *old) __asm__("prlimit");
MP_EXPORT int mp_confine_prlimit64(int pid, int resource, const struct rlimit *limit,
                                   struct rlimit *old) __asm__("prlimit64");

/* A child of vfork has its parent's memory, and is not meant by it. */
static bool is_this_process(void) {
    return mp_active && mp_sys_getpid() == mp_about_pid();
}

static void prepare(void) {
    if (is_this_process() && mp_sampler_rate() && !mp_sampler_is_inside_sigsafe() && !mp_lock_held)
        mp_mirror_make();
}

static long result_of(long result) {
    if (result < 0 && result >= -4095) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static bool can_read(const void *start, size_t size) {
    uintptr_t word = (uintptr_t)start & ~(uintptr_t)3, end = (uintptr_t)start + size;
    for (; word < end; word = (word | 4095) + 1) {
        if (!mp_sys_can_read((const void *)word))
            return false;
    }
    return true;
}

/* Does a call that the filter does not like end the program? One that fails is no harm. */
static bool may_kill(const struct sock_fprog *program) {
    if (!can_read(program, sizeof *program) ||
        !can_read(program->filter, program->len * sizeof *program->filter))
        return true;
    for (unsigned i = 0; i < program->len; i++) {
        const struct sock_filter *code = &program->filter[i];
        uint32_t action = code->k & SECCOMP_RET_ACTION_FULL;
        if (BPF_CLASS(code->code) == BPF_RET &&
            (BPF_RVAL(code->code) != BPF_K ||
             (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_ERRNO &&
              action != SECCOMP_RET_LOG && action != SECCOMP_RET_TRACE)))
            return true;
    }
    return false;
}

static bool is_harmless(long n, long a, long b, long c) {
    return (n == SYS_prctl ? b == SECCOMP_MODE_FILTER : a == SECCOMP_SET_MODE_FILTER) &&
           !may_kill((const struct sock_fprog *)c);
}

static bool is_filter(long n, long a) {
    return (n == SYS_seccomp && (a == SECCOMP_SET_MODE_STRICT || a == SECCOMP_SET_MODE_FILTER)) ||
           (n == SYS_prctl && a == PR_SET_SECCOMP);
}

/* Before the filter is there: other threads are under it at once, perhaps. */
MP_COLD long mp_confine_filter(long n, long a, long b, long c, long d, long e) {
    bool before = mp_sys_confined, ours = is_filter(n, a) && is_this_process();
    if (ours) {
        prepare();
        mp_sys_confined = before || !is_harmless(n, a, b, c);
    }
    long result = mp_arch_syscall(n, a, b, c, d, e, 0);
    if (ours && result < 0)
        mp_sys_confined = before;
    return result_of(result);
}

MP_ARCH_SYSCALL_FUNCTION("syscall", "mp_confine_filter");

int prctl(int option, ...) {
    long arguments[4];
    va_list list;
    va_start(list, option);
    for (int i = 0; i < 4; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (option == PR_SET_SECCOMP)
        return (int)mp_confine_filter(SYS_prctl, option, arguments[0], arguments[1], arguments[2],
                                      arguments[3]);
    long result = mp_arch_syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2],
                                  arguments[3], 0);
    if (option == PR_SET_PTRACER && result == 0 && is_this_process())
        mp_trace_note_allowed(arguments[0]);
    return (int)result_of(result);
}

int chroot(const char *path) {
    prepare();
    return (int)result_of(mp_arch_syscall(SYS_chroot, (long)path, 0, 0, 0, 0, 0));
}

static void give_back(bool leaves_room) {
    if (is_this_process() && mp_box_standing() == MP_BOX_OPEN && !mp_lock_held)
        mp_box_give_back(leaves_room);
}

/* Addresses count as if they were memory then. */
int mlockall(int flags) {
    give_back(false);
    return (int)result_of(mp_arch_syscall(SYS_mlockall, flags, 0, 0, 0, 0, 0));
}

int mp_confine_prlimit(int pid, int resource, const struct rlimit *limit, struct rlimit *old) {
    if (limit && resource == RLIMIT_AS && limit->rlim_cur != RLIM_INFINITY &&
        (pid == 0 || pid == mp_sys_getpid()))
        give_back(true);
    return (int)result_of(
        mp_arch_syscall(SYS_prlimit64, pid, resource, (long)limit, (long)old, 0, 0));
}

int mp_confine_prlimit64(int pid, int resource, const struct rlimit *limit, struct rlimit *old) {
    return mp_confine_prlimit(pid, resource, limit, old);
}

int mp_confine_setrlimit(int resource, const struct rlimit *limit) {
    return mp_confine_prlimit(0, resource, limit, NULL);
}

int mp_confine_setrlimit64(int resource, const struct rlimit *limit) {
    return mp_confine_prlimit(0, resource, limit, NULL);
}
