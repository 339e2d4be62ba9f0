/* Everything that depends on the instruction set: the thread pointer, system calls, the pause in a
 * spin, the merge of a 16-bit link, and the registers that unwinding needs. A port adds a branch
 * here and nowhere else. Any context. */
#ifndef MP_PLATFORM_ARCH_H
#define MP_PLATFORM_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#define MP_LIKELY(x)   __builtin_expect(!!(x), 1)
#define MP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define MP_NOINLINE    __attribute__((noinline))
#define MP_COLD        __attribute__((noinline, cold))
#define MP_INLINE      static inline __attribute__((always_inline))
#define MP_HIDDEN      __attribute__((visibility("hidden"))) /* on data: one instruction less */
#define MP_CACHE_LINE  64
/* On data that every start touches: a linker that sorts by alignment puts it together. */
#define MP_FIRST __attribute__((aligned(2 * MP_CACHE_LINE)))

#if defined(__SANITIZE_THREAD__)
#define MP_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MP_TSAN 1
#endif
#endif

/* A function that reads what others may write, on purpose; its comment says why that is right. The
 * attribute is clang's, for atomic operations as well, which no_sanitize does not stop at. */
#ifdef MP_TSAN
#define MP_RACY        __attribute__((disable_sanitizer_instrumentation, noinline, unused))
#define MP_RACY_INLINE MP_RACY static
#else
#define MP_RACY        __attribute__((unused))
#define MP_RACY_INLINE MP_INLINE
#endif

#if defined(__x86_64__)

/* The thread control block's own address, which the ABI keeps at %fs:0: an identity of the thread
 * that costs one load and no relocation. */
MP_INLINE uintptr_t mp_arch_thread_pointer(void) {
    uintptr_t tp;
    __asm__("movq %%fs:0, %0" : "=r"(tp));
    return tp;
}

MP_INLINE uintptr_t mp_arch_stack_pointer(void) {
    uintptr_t sp;
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
    return sp;
}

/* Is this word the thread pointer, plus one if a < b? The compare's carry is subtracted with it,
 * which the compilers do not do by themselves. */
MP_INLINE bool mp_arch_is_thread_plus_below(uintptr_t word, uint64_t a, uint64_t b) {
    bool is;
    __asm__("cmpq %3, %2\n\tsbbq %%fs:0, %1" : "=@cce"(is), "+r"(word) : "r"(a), "er"(b));
    return is;
}

MP_INLINE long mp_arch_syscall(long n, long a, long b, long c, long d, long e, long f) {
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

/* The text of a function `syscall` as libc has it, but that calls `filter` for calls that may set a
 * filter of system calls (seccomp, and prctl with PR_SET_SECCOMP). In assembly, since the caller
 * may have passed no seventh argument: what is in its place is the caller's own, and must not be
 * written to, nor may a frame stand between for a call that comes back twice. */
#define MP_ARCH_SYSCALL_FUNCTION(name, filter)                                                     \
    __asm__(".text\n\t.p2align 4\n\t.globl " name "\n\t.type " name ", @function\n" name ":\n\t"   \
            ".cfi_startproc\n\t"                                                                   \
            "cmpq $317, %rdi\n\tje 1f\n\t"                                                         \
            "cmpq $157, %rdi\n\tjne 2f\n\tcmpq $22, %rsi\n\tje 1f\n"                               \
            "2:\n\tmovq %rdi, %rax\n\tmovq %rsi, %rdi\n\tmovq %rdx, %rsi\n\tmovq %rcx, %rdx\n\t"   \
            "movq %r8, %r10\n\tmovq %r9, %r8\n\tmovq 8(%rsp), %r9\n\tsyscall\n\t"                  \
            "cmpq $-4095, %rax\n\tjae 3f\n\tret\n"                                                 \
            "1:\n\tjmp " filter "\n"                                                               \
            "3:\n\tnegq %rax\n\tpushq %rax\n\t.cfi_adjust_cfa_offset 8\n\t"                        \
            "call __errno_location@PLT\n\tpopq %rdx\n\t.cfi_adjust_cfa_offset -8\n\t"              \
            "movl %edx, (%rax)\n\tmovq $-1, %rax\n\tret\n\t"                                       \
            ".cfi_endproc\n\t.size " name ", . - " name "\n")

MP_INLINE void mp_arch_pause(void) {
    __builtin_ia32_pause();
}

/* Replaces the low 16 bits of `address` by *link: one instruction here, three when spelled in C. */
MP_INLINE uintptr_t mp_arch_merge16(uintptr_t address, const uint16_t *link) {
    __asm__("movw %1, %w0" : "+r"(address) : "m"(*link));
    return address;
}

/* ---- for the unwinder: registers by their numbers in DWARF ---- */

enum {
    MP_ARCH_FP = 6,  /* rbp */
    MP_ARCH_SP = 7,  /* rsp */
    MP_ARCH_RA = 16, /* the column of return addresses */
    MP_ARCH_PC = 16, /* rip */
    MP_ARCH_REGISTERS = 17,
    MP_ARCH_RULES_FIRST = 0, /* registers that unwind data is followed for */
    MP_ARCH_RULES = 17,
    MP_ARCH_SAVED_COUNT = 7,
};
#define MP_ARCH_CALL_PUSHES 1 /* the return address: it is right below the CFA */
/* What a function saves before it changes it, the return address first. */
#define MP_ARCH_SAVED MP_ARCH_RA, MP_ARCH_FP, 3, 12, 13, 14, 15
/* Those that have the caller's values when a function returns. */
#define MP_ARCH_PRESERVED ((1u << 3) | (1u << 6) | (0xfu << 12))

/* Those that mp_arch_registers fills, sp and pc besides: the others do not outlive a call. */
MP_INLINE void mp_arch_registers(uint64_t *r) {
    __asm__ volatile("movq %%rbx, 24(%0)\n\tmovq %%rbp, 48(%0)\n\tmovq %%rsp, 56(%0)\n\t"
                     "movq %%r12, 96(%0)\n\tmovq %%r13, 104(%0)\n\tmovq %%r14, 112(%0)\n\t"
                     "movq %%r15, 120(%0)\n\tleaq 0(%%rip), %%rax\n\tmovq %%rax, 128(%0)"
                     :
                     : "r"(r)
                     : "rax", "memory");
}

/* A return address without what the machine may have signed it with. */
MP_INLINE uint64_t mp_arch_code_address(uint64_t address) {
    return address;
}

/* Signal frames are told by their unwind data, which libc's return from a handler has. */
#define MP_ARCH_SIGNAL_CODE 0
MP_INLINE uintptr_t mp_arch_signal_registers(const uint32_t *code, uintptr_t sp) {
    (void)code;
    (void)sp;
    return 0;
}

#elif defined(__aarch64__)

MP_INLINE uintptr_t mp_arch_thread_pointer(void) {
    uintptr_t tp;
    __asm__("mrs %0, tpidr_el0" : "=r"(tp));
    return tp;
}

MP_INLINE uintptr_t mp_arch_stack_pointer(void) {
    uintptr_t sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

MP_INLINE bool mp_arch_is_thread_plus_below(uintptr_t word, uint64_t a, uint64_t b) {
    return word == mp_arch_thread_pointer() + (a < b);
}

MP_INLINE long mp_arch_syscall(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

/* See above. */
#define MP_ARCH_SYSCALL_FUNCTION(name, filter)                                                     \
    __asm__(".text\n\t.p2align 4\n\t.globl " name "\n\t.type " name ", %function\n" name ":\n\t"   \
            ".cfi_startproc\n\t"                                                                   \
            "cmp x0, #277\n\tb.eq 1f\n\t"                                                          \
            "cmp x0, #167\n\tb.ne 2f\n\tcmp x1, #22\n\tb.eq 1f\n"                                  \
            "2:\n\tmov x8, x0\n\tmov x0, x1\n\tmov x1, x2\n\tmov x2, x3\n\tmov x3, x4\n\t"         \
            "mov x4, x5\n\tmov x5, x6\n\tsvc #0\n\tcmn x0, #4095\n\tb.cs 3f\n\tret\n"              \
            "1:\n\tb " filter "\n"                                                                 \
            "3:\n\tneg x0, x0\n\tstp x29, x30, [sp, #-32]!\n\t.cfi_adjust_cfa_offset 32\n\t"       \
            ".cfi_offset 30, -24\n\tstr x0, [sp, #16]\n\tbl __errno_location\n\t"                  \
            "ldr x1, [sp, #16]\n\tstr w1, [x0]\n\tldp x29, x30, [sp], #32\n\t"                     \
            ".cfi_adjust_cfa_offset -32\n\tmov x0, #-1\n\tret\n\t"                                 \
            ".cfi_endproc\n\t.size " name ", . - " name "\n")

MP_INLINE void mp_arch_pause(void) {
    __asm__ volatile("yield");
}

MP_INLINE uintptr_t mp_arch_merge16(uintptr_t address, const uint16_t *link) {
    return (address & ~(uintptr_t)0xffff) | *link;
}

/* ---- for the unwinder: registers by their numbers in DWARF ---- */

enum {
    MP_ARCH_FP = 29,
    MP_ARCH_SP = 31,
    MP_ARCH_RA = 30, /* the column of return addresses: x30 */
    MP_ARCH_PC = 32,
    MP_ARCH_REGISTERS = 33,
    MP_ARCH_RULES_FIRST = 19, /* registers that unwind data is followed for: x19 .. x30, sp */
    MP_ARCH_RULES = 13,
    MP_ARCH_SAVED_COUNT = 12,
};
#define MP_ARCH_CALL_PUSHES 0
#define MP_ARCH_SAVED       MP_ARCH_RA, MP_ARCH_FP, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
#define MP_ARCH_PRESERVED   (0x7ffu << 19)

MP_INLINE void mp_arch_registers(uint64_t *r) {
    __asm__ volatile("stp x19, x20, [%0, #152]\n\tstp x21, x22, [%0, #168]\n\t"
                     "stp x23, x24, [%0, #184]\n\tstp x25, x26, [%0, #200]\n\t"
                     "stp x27, x28, [%0, #216]\n\tstp x29, x30, [%0, #232]\n\t"
                     "mov x9, sp\n\tadr x10, .\n\tstp x9, x10, [%0, #248]"
                     :
                     : "r"(r)
                     : "x9", "x10", "memory");
}

/* Pointer authentication signs above bit 47, also where the machine can verify nothing. */
MP_INLINE uint64_t mp_arch_code_address(uint64_t address) {
    return address & (((uint64_t)1 << 48) - 1);
}

/* Signal frames are told by the code that is returned to, in the vDSO: mov x8, #139; svc #0. Above
 * sp lie siginfo (128 bytes) and ucontext, whose registers x0 .. x30, sp, pc begin at 184: the
 * order of DWARF. Returns where, or 0. */
#define MP_ARCH_SIGNAL_CODE 1
MP_INLINE uintptr_t mp_arch_signal_registers(const uint32_t *code, uintptr_t sp) {
    return code[0] == 0xd2801168 && code[1] == 0xd4000001 ? sp + 128 + 184 : 0;
}

#else
#error "memprof runs on x86-64 and aarch64 Linux"
#endif

#endif
