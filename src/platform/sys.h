/* The system calls that memprof makes, each a raw call that returns -errno and leaves errno alone,
 * is no cancellation point, and never goes through a symbol that a program could interpose.
 * One place, so that a test build (-DMP_FAULTS) can make any of them fail, in turn or at random.
 * Any context, signal handlers included. */
#ifndef MP_PLATFORM_SYS_H
#define MP_PLATFORM_SYS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Addresses or -errno: callers test with mp_sys_failed. */
uintptr_t mp_sys_mmap(uintptr_t hint, size_t size, int prot, int flags, int fd, int64_t offset);
uintptr_t mp_sys_mremap(uintptr_t old, size_t old_size, size_t new_size, int flags, uintptr_t to);
static inline int mp_sys_failed(uintptr_t result) {
    return result > (uintptr_t)-4096;
}

int mp_sys_munmap(uintptr_t start, size_t size);
int mp_sys_madvise(uintptr_t start, size_t size, int advice);
int mp_sys_mprotect(uintptr_t start, size_t size, int prot);
int mp_sys_munlock(uintptr_t start, size_t size);

/* The program's own calls, passed on: fault injection leaves them alone. */
uintptr_t mp_sys_host_mmap(uintptr_t hint, size_t size, int prot, int flags, int fd,
                           int64_t offset);
uintptr_t mp_sys_host_mremap(uintptr_t old, size_t old_size, size_t new_size, int flags,
                             uintptr_t to);
int mp_sys_host_munmap(uintptr_t start, size_t size);
int mp_sys_host_set_mempolicy(int policy, const unsigned long *nodes, unsigned long bits);

/* Sleeps while *word == expected; woken by mp_sys_futex_wake, by signals, or for no reason. */
int mp_sys_futex_wait(const void *word, uint32_t expected);
/* -ETIMEDOUT after so long. */
int mp_sys_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms);
int mp_sys_futex_wake(const void *word, int count);
/* The same for a word that other processes map, too. */
int mp_sys_futex_wait_shared(const void *word, uint32_t expected);
/* Would reading this aligned word raise no signal? */
int mp_sys_can_read(const void *word);

/* These are called at start-up, in answer to a call of the program's, or on the way to abort. */
long mp_sys_open(const char *path, int flags, int mode);
long mp_sys_read(int fd, void *buffer, size_t size);
long mp_sys_write(int fd, const void *buffer, size_t size);
int mp_sys_close(int fd);
long mp_sys_readlink(const char *path, char *buffer, size_t size);
/* This process's number as /proc has it, which may be that of another namespace; 0: it has none. */
long mp_sys_listed_pid(void);
long mp_sys_getrandom(void *buffer, size_t size);
long mp_sys_getpid(void);
long mp_sys_gettid(void);
/* A node's or several nodes' memory for these addresses; this thread's policy. -errno. */
int mp_sys_mbind(uintptr_t start, size_t size, int policy, const uint64_t *nodes, size_t bits);
int mp_sys_get_mempolicy(int *policy);
/* On which node each page of this process is, or -errno; it stays there. */
int mp_sys_where(size_t count, const uintptr_t *pages, int *nodes);
uint32_t mp_sys_getuid(void);
uint32_t mp_sys_geteuid(void);
void mp_sys_yield(void);
void mp_sys_name_thread(const char *name);

/* The program has told the kernel, after the start, to filter its system calls, and may be ended
 * for one (preload/confine.c): from then on only mmap, munmap, mremap, madvise, mprotect and futex
 * are called. */
extern _Atomic(bool) mp_sys_confined;

/* For dumps and black boxes; for dumps at the program's or an operator's request; the later ones in
 * the copy alone. */

/* A copy of the process with this thread alone, whose end nobody is told: no signal, and only
 * wait4 with __WCLONE sees it. No fork handler runs. 0 in the copy. */
long mp_sys_copy(void);
long mp_sys_wait_copy(long pid, int *status, int flags);
/* Without waiting for it: that is still to be done. */
bool mp_sys_copy_has_ended(long pid);
void mp_sys_end_copy(long pid);
/* A real-time signal, with a value, to a thread of this process. 0 or -errno. */
int mp_sys_signal_thread(long thread, int signal, int value);
typedef void mp_sys_handler(int number, siginfo_t *info, void *context);
#define MP_SYS_IGNORE ((mp_sys_handler *)(uintptr_t)SIG_IGN)
/* Is this function what the process does at that signal? */
bool mp_sys_handles(int signal, mp_sys_handler *handler);
/* What the process does at a signal, as the kernel has it. */
struct mp_sys_action {
    mp_sys_handler *handler;
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

/* Another handler for a signal that has none and does nothing; false: it has one, which stays. */
bool mp_sys_borrow_signal(int signal, mp_sys_handler *handler, struct mp_sys_action *before);
/* Unless the program has set its own meanwhile. */
void mp_sys_return_signal(int signal, mp_sys_handler *handler, const struct mp_sys_action *before);
/* Without libc. `flags`: of sigaction. */
void mp_sys_handle(int signal, mp_sys_handler *handler, int flags);
/* Where it is this one, with three arguments, it is that one from now on, and nothing else changes.
 */
void mp_sys_swap_handler(int signal, mp_sys_handler *from, mp_sys_handler *to);
/* Blocks every signal; the mask before is for mp_sys_unblock. */
void mp_sys_block_all(uint64_t *before);
void mp_sys_unblock_one(int signal);
void mp_sys_unblock(const uint64_t *before);
long mp_sys_pread(int fd, void *buffer, size_t size, int64_t offset);
long mp_sys_pwrite(int fd, const void *buffer, size_t size, int64_t offset);
int mp_sys_rename(const char *from, const char *to);
int mp_sys_unlink(const char *path);
long mp_sys_getcwd(char *buffer, size_t size);
long mp_sys_getppid(void);
/* What an open file is. */
struct mp_file {
    uint32_t uid, mode, device_major, device_minor;
    uint64_t inode, size;
};
int mp_sys_look(int fd, struct mp_file *file);
/* Owner of an open file, if it is a regular one; -EISDIR, -EINVAL if it is not; -errno. */
int mp_sys_owner(int fd, uint32_t *uid);
int mp_sys_mkdir(const char *path, int mode);
int mp_sys_ftruncate(int fd, uint64_t size);
/* Bytes of the file system that the file is on, or 0; and is that in memory alone? */
uint64_t mp_sys_space(int fd, bool *is_tmpfs);
/* The limit that holds now (RLIMIT_*); UINT64_MAX: none. */
uint64_t mp_sys_limit(int resource);
/* A byte for each page: is it in memory, be it mapped or not? */
int mp_sys_mincore(uintptr_t start, size_t size, unsigned char *pages);
/* Entries of an open directory, as getdents64 gives them. */
long mp_sys_entries(int fd, void *buffer, size_t size);
/* Is there a process of that number? */
int mp_sys_has_process(long pid);
/* Closes all descriptors but one; -1: none stays. */
void mp_sys_close_all_but(int fd);
/* From here on the copy holds nothing that matters to others: descriptors but one, a core file,
 * time that the program wants, unless somebody waits for it. Its files have the mode that they are
 * made with, whatever the program's umask. */
void mp_sys_become_copy(int keep, bool waited_for);
/* The copy runs another program, with `out` as its standard output and error, if it is not
 * negative, no signal blocked, and the descriptors that there are. Returns when it cannot. */
void mp_sys_become(const char *path, const char *const *arguments, const char *const *environment,
                   int out);
/* A file without a name; a descriptor above those that have a meaning, or -errno. */
long mp_sys_memory_file(const char *name);
/* The copy reads memory wherever the program may have any. What it has protected is made readable;
 * what cannot be read (a file that has become shorter) reads zero. In the copy alone. */
void mp_sys_survive_faults(void);
_Noreturn void mp_sys_exit(int status);
/* Nanoseconds since 1970, and of the clock that mp_sys_now_ms reads. */
uint64_t mp_sys_real_ns(void);
uint64_t mp_sys_now_ns(void);
uint64_t mp_sys_precise_ns(void);

/* Monotonic milliseconds since an arbitrary start, of 1-4 ms grain: a read of the vDSO's page. */
uint64_t mp_sys_now_ms(void);

/* From then until `now`. Who has read the clock and then waited may come with a `now` that is
 * earlier: 0. */
static inline uint64_t mp_sys_ms_since(uint64_t then, uint64_t now) {
    return now > then ? now - then : 0;
}

#ifdef MP_FAULTS
/* The test build's switch: a call for which this answers non-zero fails with that errno. The name
 * is the system call's. NULL: nothing fails. */
extern int (*mp_sys_fault)(const char *name);
#endif

#endif
