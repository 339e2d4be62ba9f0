#include "platform/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "platform/arch.h"

_Atomic(bool) mp_sys_confined;

#ifdef MP_FAULTS

int (*mp_sys_fault)(const char *name);

#define MP_FAULT(name)                                                                             \
    do {                                                                                           \
        int fault = mp_sys_fault ? mp_sys_fault(name) : 0;                                         \
        if (fault)                                                                                 \
            return (uintptr_t)0 - (uintptr_t)fault;                                                \
    } while (0)

#else
#define MP_FAULT(name)                                                                             \
    do {                                                                                           \
    } while (0)
#endif

uintptr_t mp_sys_host_mmap(uintptr_t hint, size_t size, int prot, int flags, int fd,
                           int64_t offset) {
    return (uintptr_t)mp_arch_syscall(SYS_mmap, (long)hint, (long)size, prot, flags, fd, offset);
}

uintptr_t mp_sys_host_mremap(uintptr_t old, size_t old_size, size_t new_size, int flags,
                             uintptr_t to) {
    return (uintptr_t)mp_arch_syscall(SYS_mremap, (long)old, (long)old_size, (long)new_size, flags,
                                      (long)to, 0);
}

int mp_sys_host_munmap(uintptr_t start, size_t size) {
    return (int)mp_arch_syscall(SYS_munmap, (long)start, (long)size, 0, 0, 0, 0);
}

int mp_sys_host_set_mempolicy(int policy, const unsigned long *nodes, unsigned long bits) {
    return (int)mp_arch_syscall(SYS_set_mempolicy, policy, (long)nodes, (long)bits, 0, 0, 0);
}

uintptr_t mp_sys_mmap(uintptr_t hint, size_t size, int prot, int flags, int fd, int64_t offset) {
    MP_FAULT("mmap");
    return mp_sys_host_mmap(hint, size, prot, flags, fd, offset);
}

uintptr_t mp_sys_mremap(uintptr_t old, size_t old_size, size_t new_size, int flags, uintptr_t to) {
    MP_FAULT("mremap");
    return mp_sys_host_mremap(old, old_size, new_size, flags, to);
}

int mp_sys_munmap(uintptr_t start, size_t size) {
    MP_FAULT("munmap");
    return mp_sys_host_munmap(start, size);
}

int mp_sys_madvise(uintptr_t start, size_t size, int advice) {
    MP_FAULT("madvise");
    return (int)mp_arch_syscall(SYS_madvise, (long)start, (long)size, advice, 0, 0, 0);
}

int mp_sys_mprotect(uintptr_t start, size_t size, int prot) {
    MP_FAULT("mprotect");
    return (int)mp_arch_syscall(SYS_mprotect, (long)start, (long)size, prot, 0, 0, 0);
}

int mp_sys_munlock(uintptr_t start, size_t size) {
    return (int)mp_arch_syscall(SYS_munlock, (long)start, (long)size, 0, 0, 0, 0);
}

int mp_sys_mbind(uintptr_t start, size_t size, int policy, const uint64_t *nodes, size_t bits) {
    MP_FAULT("mbind");
    return (int)mp_arch_syscall(SYS_mbind, (long)start, (long)size, policy, (long)nodes, (long)bits,
                                0);
}

int mp_sys_get_mempolicy(int *policy) {
    MP_FAULT("get_mempolicy");
    return (int)mp_arch_syscall(SYS_get_mempolicy, (long)policy, 0, 0, 0, 0, 0);
}

int mp_sys_where(size_t count, const uintptr_t *pages, int *nodes) {
    MP_FAULT("move_pages");
    return (int)mp_arch_syscall(SYS_move_pages, 0, (long)count, (long)pages, 0, (long)nodes, 0);
}

uint32_t mp_sys_getuid(void) {
    return (uint32_t)mp_arch_syscall(SYS_getuid, 0, 0, 0, 0, 0, 0);
}

uint32_t mp_sys_geteuid(void) {
    return (uint32_t)mp_arch_syscall(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

long mp_sys_copy(void) {
    MP_FAULT("clone");
    return mp_arch_syscall(SYS_clone, 0, 0, 0, 0, 0, 0);
}

long mp_sys_wait_copy(long pid, int *status, int flags) {
    return mp_arch_syscall(SYS_wait4, pid, (long)status, flags | __WCLONE, 0, 0, 0);
}

bool mp_sys_copy_has_ended(long pid) {
    siginfo_t info;
    info.si_pid = 0;
    long result = mp_arch_syscall(SYS_waitid, P_PID, pid, (long)&info,
                                  WEXITED | WNOHANG | WNOWAIT | __WCLONE, 0, 0);
    return result == -ECHILD || info.si_pid != 0;
}

void mp_sys_end_copy(long pid) {
    int status;
    mp_arch_syscall(SYS_kill, pid, SIGKILL, 0, 0, 0, 0);
    mp_sys_wait_copy(pid, &status, 0);
}

/* The kernel's signal sets are of 64 bits. */
void mp_sys_block_all(uint64_t *before) {
    uint64_t all = UINT64_MAX;
    *before = 0;
    mp_arch_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)before, sizeof all, 0, 0);
}

void mp_sys_unblock_one(int signal) {
    const uint64_t one = (uint64_t)1 << (signal - 1);
    mp_arch_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&one, 0, sizeof one, 0, 0);
}

void mp_sys_unblock(const uint64_t *before) {
    mp_arch_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)before, 0, sizeof *before, 0, 0);
}

long mp_sys_pread(int fd, void *buffer, size_t size, int64_t offset) {
    MP_FAULT("pread");
    return mp_arch_syscall(SYS_pread64, fd, (long)buffer, (long)size, offset, 0, 0);
}

long mp_sys_pwrite(int fd, const void *buffer, size_t size, int64_t offset) {
    MP_FAULT("pwrite");
    return mp_arch_syscall(SYS_pwrite64, fd, (long)buffer, (long)size, offset, 0, 0);
}

int mp_sys_rename(const char *from, const char *to) {
    MP_FAULT("rename");
    return (int)mp_arch_syscall(SYS_renameat2, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0, 0);
}

int mp_sys_unlink(const char *path) {
    MP_FAULT("unlink");
    return (int)mp_arch_syscall(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0);
}

long mp_sys_getcwd(char *buffer, size_t size) {
    MP_FAULT("getcwd");
    return mp_arch_syscall(SYS_getcwd, (long)buffer, (long)size, 0, 0, 0, 0);
}

long mp_sys_getppid(void) {
    return mp_arch_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

int mp_sys_look(int fd, struct mp_file *file) {
    struct statx info;
    MP_FAULT("statx");
    long error =
        mp_arch_syscall(SYS_statx, fd, (long)"", AT_EMPTY_PATH, STATX_BASIC_STATS, (long)&info, 0);
    if (error)
        return (int)error;
    *file = (struct mp_file){
        .uid = info.stx_uid,
        .mode = info.stx_mode,
        .device_major = info.stx_dev_major,
        .device_minor = info.stx_dev_minor,
        .inode = info.stx_ino,
        .size = info.stx_size,
    };
    return 0;
}

int mp_sys_owner(int fd, uint32_t *uid) {
    struct mp_file file = {0};
    int error = mp_sys_look(fd, &file);
    if (error)
        return error;
    *uid = file.uid;
    return S_ISREG(file.mode) ? 0 : S_ISDIR(file.mode) ? -EISDIR : -EINVAL;
}

int mp_sys_mkdir(const char *path, int mode) {
    MP_FAULT("mkdir");
    return (int)mp_arch_syscall(SYS_mkdirat, AT_FDCWD, (long)path, mode, 0, 0, 0);
}

int mp_sys_ftruncate(int fd, uint64_t size) {
    MP_FAULT("ftruncate");
    return (int)mp_arch_syscall(SYS_ftruncate, fd, (long)size, 0, 0, 0, 0);
}

uint64_t mp_sys_space(int fd, bool *is_tmpfs) {
    struct statfs info;
    long error = mp_arch_syscall(SYS_fstatfs, fd, (long)&info, 0, 0, 0, 0);
    *is_tmpfs = !error && info.f_type == TMPFS_MAGIC;
    return error ? 0 : (uint64_t)info.f_blocks * (uint64_t)info.f_bsize;
}

uint64_t mp_sys_limit(int resource) {
    struct {
        uint64_t soft, hard;
    } limit;
    long error = mp_arch_syscall(SYS_prlimit64, 0, resource, 0, (long)&limit, 0, 0);
    return error ? UINT64_MAX : limit.soft;
}

long mp_sys_entries(int fd, void *buffer, size_t size) {
    MP_FAULT("getdents64");
    return mp_arch_syscall(SYS_getdents64, fd, (long)buffer, (long)size, 0, 0, 0);
}

int mp_sys_mincore(uintptr_t start, size_t size, unsigned char *pages) {
    MP_FAULT("mincore");
    return (int)mp_arch_syscall(SYS_mincore, (long)start, (long)size, (long)pages, 0, 0, 0);
}

int mp_sys_has_process(long pid) {
    return mp_arch_syscall(SYS_kill, pid, 0, 0, 0, 0, 0) != -ESRCH;
}

void mp_sys_close_all_but(int fd) {
    long below = 0, above = UINT32_MAX;
    if (fd > 0)
        below = mp_arch_syscall(SYS_close_range, 0, fd - 1, 0, 0, 0, 0);
    if (below == 0)
        below = mp_arch_syscall(SYS_close_range, fd + 1, above, 0, 0, 0, 0);
    for (int other = 0; below != 0 && other < 65536; other++) { /* before Linux 5.9 */
        if (other != fd)
            mp_sys_close(other);
    }
}

static long umask_before;

void mp_sys_become_copy(int keep, bool waited_for) {
    static const struct rlimit none = {0, 0};
    static const struct sched_param idle = {0};
    mp_sys_close_all_but(keep);
    umask_before = mp_arch_syscall(SYS_umask, 0, 0, 0, 0, 0, 0);
    mp_arch_syscall(SYS_prlimit64, 0, RLIMIT_CORE, (long)&none, 0, 0, 0);
    if (!waited_for)
        mp_arch_syscall(SYS_sched_setscheduler, 0, SCHED_IDLE, (long)&idle, 0, 0, 0);
    /* Whoever runs out of memory now, it is not the program that shall pay. */
    long fd = mp_sys_open("/proc/self/oom_score_adj", O_WRONLY, 0);
    if (fd >= 0) {
        mp_sys_write((int)fd, "1000", 4);
        mp_sys_close((int)fd);
    }
}

void mp_sys_become(const char *path, const char *const *arguments, const char *const *environment,
                   int out) {
    const uint64_t nothing = 0;
    for (int fd = 1; fd <= 2 && out >= 0; fd++) {
        if (fd != out)
            mp_arch_syscall(SYS_dup3, out, fd, 0, 0, 0, 0);
        else
            mp_arch_syscall(SYS_fcntl, fd, F_SETFD, 0, 0, 0, 0); /* it stays */
    }
    mp_arch_syscall(SYS_umask, umask_before, 0, 0, 0, 0, 0);
    mp_arch_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&nothing, 0, sizeof nothing, 0, 0);
    mp_arch_syscall(SYS_execve, (long)path, (long)arguments, (long)environment, 0, 0, 0);
}

long mp_sys_memory_file(const char *name) {
    MP_FAULT("memfd_create");
    long fd = mp_arch_syscall(SYS_memfd_create, (long)name, 0, 0, 0, 0, 0);
    if (fd < 0 || fd > 2)
        return fd;
    long above = mp_arch_syscall(SYS_fcntl, fd, F_DUPFD, 3, 0, 0, 0);
    mp_sys_close((int)fd);
    return above;
}

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

#ifdef __x86_64__ /* elsewhere the kernel brings one */
void mp_sys_return_from_handler(void);
__asm__(".text\n.type mp_sys_return_from_handler, @function\n"
        "mp_sys_return_from_handler:\n\tmovl $15, %eax\n\tsyscall\n"); /* rt_sigreturn */
#define RESTORER      mp_sys_return_from_handler
#define RESTORER_FLAG SA_RESTORER
#else
#define RESTORER      NULL
#define RESTORER_FLAG 0
#endif

/* The instruction that read there is done again. */
static void survive(int number, siginfo_t *info, void *context) {
    static uintptr_t last;
    uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)4095;
    bool again = page == last;
    (void)context;
    last = page;
    if (number == SIGSEGV && !again && mp_sys_mprotect(page, 4096, PROT_READ) == 0)
        return;
    if (page == 0 || mp_sys_failed(mp_sys_mmap(page, 4096, PROT_READ,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)))
        mp_sys_exit(EFAULT);
}

bool mp_sys_handles(int signal, mp_sys_handler *handler) {
    struct mp_sys_action action;
    return mp_arch_syscall(SYS_rt_sigaction, signal, 0, (long)&action, sizeof action.mask, 0, 0) ==
               0 &&
           action.handler == handler;
}

int mp_sys_signal_thread(long thread, int signal, int value) {
    siginfo_t info = {.si_code = SI_QUEUE};
    MP_FAULT("rt_tgsigqueueinfo");
    info.si_signo = signal;
    info.si_pid = (pid_t)mp_sys_getpid();
    info.si_uid = mp_sys_getuid();
    info.si_value.sival_int = value;
    return (int)mp_arch_syscall(SYS_rt_tgsigqueueinfo, info.si_pid, thread, signal, (long)&info, 0,
                                0);
}

static void set_action(int signal, const struct mp_sys_action *action,
                       struct mp_sys_action *before) {
    mp_arch_syscall(SYS_rt_sigaction, signal, (long)action, (long)before, sizeof action->mask, 0,
                    0);
}

void mp_sys_swap_handler(int signal, mp_sys_handler *from, mp_sys_handler *to) {
    struct mp_sys_action action = {0};
    mp_arch_syscall(SYS_rt_sigaction, signal, 0, (long)&action, sizeof action.mask, 0, 0);
    if (action.handler != from || !(action.flags & SA_SIGINFO))
        return;
    action.handler = to;
    set_action(signal, &action, NULL);
}

void mp_sys_handle(int signal, mp_sys_handler *handler, int flags) {
    const struct mp_sys_action action = {
        .handler = handler,
        .flags = SA_SIGINFO | (unsigned)flags | RESTORER_FLAG,
        .restorer = RESTORER,
    };
    set_action(signal, &action, NULL);
}

bool mp_sys_borrow_signal(int signal, mp_sys_handler *handler, struct mp_sys_action *before) {
    const struct mp_sys_action action = {
        .handler = handler,
        .flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | RESTORER_FLAG,
        .restorer = RESTORER,
    };
    set_action(signal, &action, before);
    if (before->handler)
        set_action(signal, before, NULL);
    return !before->handler;
}

void mp_sys_return_signal(int signal, mp_sys_handler *handler, const struct mp_sys_action *before) {
    if (mp_sys_handles(signal, handler))
        set_action(signal, before, NULL);
}

void mp_sys_survive_faults(void) {
    mp_sys_handle(SIGSEGV, survive, SA_NODEFER);
    mp_sys_handle(SIGBUS, survive, SA_NODEFER);
    mp_sys_unblock_one(SIGSEGV);
    mp_sys_unblock_one(SIGBUS);
}

void mp_sys_exit(int status) {
    for (;;)
        mp_arch_syscall(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t mp_sys_real_ns(void) {
    return clock_ns(CLOCK_REALTIME);
}

uint64_t mp_sys_now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t mp_sys_precise_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

/* The futex calls cannot be made to fail: a lock whose wait fails merely spins. */
int mp_sys_futex_wait(const void *word, uint32_t expected) {
    return (int)mp_arch_syscall(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)expected, 0, 0, 0);
}

int mp_sys_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms) {
    const struct timespec most = {ms / 1000, (long)(ms % 1000) * 1000000};
    return (int)mp_arch_syscall(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)expected,
                                (long)&most, 0, 0);
}

int mp_sys_futex_wait_shared(const void *word, uint32_t expected) {
    return (int)mp_arch_syscall(SYS_futex, (long)word, FUTEX_WAIT, (long)expected, 0, 0, 0);
}

/* The kernel reads and compares the word, and then moves none of those who wait there elsewhere. Of
 * the calls that would do, this is one that we make anyway: no filter of system calls forbids it.
 */
int mp_sys_can_read(const void *word) {
    static const uint32_t elsewhere;
    return mp_arch_syscall(SYS_futex, (long)word, FUTEX_CMP_REQUEUE_PRIVATE, 0, 0, (long)&elsewhere,
                           0) != -EFAULT;
}

int mp_sys_futex_wake(const void *word, int count) {
    return (int)mp_arch_syscall(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}

long mp_sys_open(const char *path, int flags, int mode) {
    MP_FAULT("open");
    return mp_arch_syscall(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, mode, 0, 0);
}

long mp_sys_read(int fd, void *buffer, size_t size) {
    MP_FAULT("read");
    return mp_arch_syscall(SYS_read, fd, (long)buffer, (long)size, 0, 0, 0);
}

long mp_sys_write(int fd, const void *buffer, size_t size) {
    MP_FAULT("write");
    return mp_arch_syscall(SYS_write, fd, (long)buffer, (long)size, 0, 0, 0);
}

int mp_sys_close(int fd) {
    return (int)mp_arch_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

long mp_sys_readlink(const char *path, char *buffer, size_t size) {
    MP_FAULT("readlink");
    return mp_arch_syscall(SYS_readlinkat, AT_FDCWD, (long)path, (long)buffer, (long)size, 0, 0);
}

long mp_sys_listed_pid(void) {
    char text[16];
    long n = mp_sys_readlink("/proc/self", text, sizeof text), number = 0;
    for (long i = 0; i < n; i++)
        number = number * 10 + (text[i] - '0');
    return number;
}

long mp_sys_getrandom(void *buffer, size_t size) {
    MP_FAULT("getrandom");
    return mp_arch_syscall(SYS_getrandom, (long)buffer, (long)size, 1 /* GRND_NONBLOCK */, 0, 0, 0);
}

long mp_sys_gettid(void) {
    return mp_arch_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

long mp_sys_getpid(void) {
    return mp_arch_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

void mp_sys_name_thread(const char *name) {
    mp_arch_syscall(SYS_prctl, PR_SET_NAME, (long)name, 0, 0, 0, 0);
}

void mp_sys_yield(void) {
    mp_arch_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

uint64_t mp_sys_now_ms(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
