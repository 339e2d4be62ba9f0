#include "platform/trace.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "platform/arch.h"
#include "platform/sys.h"

/* Where in the kernel's set of registers the stack pointer is, and the thread's. */
#if defined(__x86_64__)
#define SP_WORD 19
#define TP_WORD 21
#elif defined(__aarch64__)
#define SP_WORD 31
#endif

/* libc's clone: a child that shares memory needs a stack, and a few instructions, of its own. */
long mp_trace_start(int (*work)(void *context), void *stack_end, void *context) {
    uint64_t mask;
    int kept = errno;
    mp_sys_block_all(&mask);
    long pid = clone(work, stack_end, CLONE_VM, context);
    long result = pid < 0 ? -errno : pid;
    mp_sys_unblock(&mask);
    errno = kept;
    return result;
}

static int trace(int request, long thread, uintptr_t address, uintptr_t data) {
    return (int)mp_arch_syscall(SYS_ptrace, request, thread, (long)address, (long)data, 0, 0);
}

int mp_trace_seize(long thread) {
    return trace(PTRACE_SEIZE, thread, 0, PTRACE_O_TRACEEXEC);
}

int mp_trace_interrupt(long thread) {
    return trace(PTRACE_INTERRUPT, thread, 0, 0);
}

int mp_trace_detach(long thread, int signal) {
    return trace(PTRACE_DETACH, thread, 0, (uintptr_t)signal);
}

bool mp_trace_read_word(long thread, const uint64_t *address, uint64_t *word) {
    return trace(PTRACE_PEEKDATA, thread, (uintptr_t)address, (uintptr_t)word) >= 0;
}

int mp_trace_registers(long thread, uint64_t registers[MP_TRACE_REGISTERS], uint64_t *sp,
                       uint64_t *tp) {
    struct iovec all = {registers, MP_TRACE_REGISTERS * sizeof *registers};
    int result = trace(PTRACE_GETREGSET, thread, NT_PRSTATUS, (uintptr_t)&all);
    if (result < 0)
        return result;
    size_t count = all.iov_len / sizeof *registers;
    *sp = registers[SP_WORD];
#ifdef TP_WORD
    *tp = registers[TP_WORD];
#else
    struct iovec tls = {tp, sizeof *tp};
    if (count < MP_TRACE_REGISTERS &&
        trace(PTRACE_GETREGSET, thread, NT_ARM_TLS, (uintptr_t)&tls) == 0)
        registers[count++] = *tp;
#endif
    return (int)count;
}

/* User space's addresses, but for the first page. */
uint32_t mp_trace_pick(const void *bytes, size_t size, uint64_t *words, uint32_t room) {
    const uint64_t *from = bytes;
    uint32_t count = 0;
    for (size_t i = 0; i < size / sizeof *from && count < room; i++) {
        if (from[i] >= 4096 && from[i] < (uint64_t)1 << 47)
            words[count++] = from[i];
    }
    return count;
}

#ifdef __x86_64__
#define VECTOR_SET NT_X86_XSTATE
#else
#define VECTOR_SET NT_PRFPREG
#endif

int mp_trace_vectors(long thread, uint64_t *words, uint32_t room) {
    static uint64_t set[2048]; /* by one helper at a time; of what is longer, the first part */
    struct iovec all = {set, sizeof set};
    if (trace(PTRACE_GETREGSET, thread, VECTOR_SET, (uintptr_t)&all) < 0)
        return 0;
    return (int)mp_trace_pick(set, all.iov_len, words, room);
}

long mp_trace_wait(int *status, bool hang) {
    return mp_arch_syscall(SYS_wait4, -1, (long)status, __WALL | (hang ? 0 : WNOHANG), 0, 0, 0);
}

bool mp_trace_is_deadly(void) {
    static _Atomic(int) known; /* 1: no; 2: yes */
    if (!known) {
        uint64_t mask;
        int status = 0;
        mp_sys_block_all(&mask);
        long copy = mp_sys_copy();
        if (copy == 0) {
            mp_arch_syscall(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0); /* no core */
            trace(PTRACE_DETACH, 0, 0, 0);
            mp_sys_signal_thread(mp_sys_gettid(), 0, 0);
            mp_sys_exit(0);
        }
        if (copy > 0 && mp_sys_wait_copy(copy, &status, 0) == copy)
            known = WIFSIGNALED(status) ? 2 : 1;
        mp_sys_unblock(&mask);
    }
    return known != 1;
}

static _Atomic(long) allowed; /* by the program */

void mp_trace_allow(long process) {
    mp_arch_syscall(SYS_prctl, PR_SET_PTRACER, process, 0, 0, 0, 0);
}

void mp_trace_note_allowed(long process) {
    allowed = process;
}

void mp_trace_allow_as_before(void) {
    mp_trace_allow(allowed);
}

void mp_trace_sleep_us(uint64_t us) {
    const struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    mp_arch_syscall(SYS_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}
