/*
 * A seccomp filter under which some system calls fail with EPERM, as containers and sandboxes have
 * it: written out in BPF, so that no library is needed.
 */
#ifndef MEMPROF_TESTS_FILTER_H
#define MEMPROF_TESTS_FILTER_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* `action`: SECCOMP_RET_ERRNO | EPERM, or SECCOMP_RET_KILL_PROCESS. For this thread and what it
 * starts, for good. false: the kernel does not do it. */
static inline bool filter_calls(const int *calls, size_t count, unsigned action) {
    struct sock_filter code[40];
    unsigned short n = 0;
    if (2 * count + 2 > sizeof(code) / sizeof(*code))
        return false;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             (unsigned)offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) {
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static inline bool filter_forbid(const int *calls, size_t count) {
    return filter_calls(calls, count, SECCOMP_RET_ERRNO | EPERM);
}

#endif
