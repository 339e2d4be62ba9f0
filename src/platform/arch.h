/* Everything that depends on the instruction set: the thread pointer, system calls, the pause in a
 * spin, and the merge of a 16-bit link. A port adds a branch here and nowhere else.
 * Any context. */
#ifndef MP_PLATFORM_ARCH_H
#define MP_PLATFORM_ARCH_H

#include <stdint.h>

#define MP_LIKELY(x)   __builtin_expect(!!(x), 1)
#define MP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define MP_NOINLINE    __attribute__((noinline))
#define MP_COLD        __attribute__((noinline, cold))
#define MP_INLINE      static inline __attribute__((always_inline))
#define MP_HIDDEN      __attribute__((visibility("hidden"))) /* on data: one instruction less */
#define MP_CACHE_LINE  64

#if defined(__SANITIZE_THREAD__)
#define MP_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MP_TSAN 1
#endif
#endif

/* A function that reads what others may write, on purpose; its comment says why that is right. */
#ifdef MP_TSAN
#define MP_RACY        __attribute__((no_sanitize("thread"), noinline, unused))
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

/* The thread pointer, plus one if a < b: the compare's carry is added, which the compilers do not
 * do by themselves. */
MP_INLINE uintptr_t mp_arch_thread_pointer_plus_below(uint64_t a, uint64_t b) {
    uintptr_t tp;
    __asm__("cmpq %2, %1\n\tmovq %%fs:0, %0\n\tadcq $0, %0" : "=&r"(tp) : "r"(a), "er"(b) : "cc");
    return tp;
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

MP_INLINE void mp_arch_pause(void) {
    __builtin_ia32_pause();
}

/* Replaces the low 16 bits of `address` by *link: one instruction here, three when spelled in C. */
MP_INLINE uintptr_t mp_arch_merge16(uintptr_t address, const uint16_t *link) {
    __asm__("movw %1, %w0" : "+r"(address) : "m"(*link));
    return address;
}

#elif defined(__aarch64__)

MP_INLINE uintptr_t mp_arch_thread_pointer(void) {
    uintptr_t tp;
    __asm__("mrs %0, tpidr_el0" : "=r"(tp));
    return tp;
}

MP_INLINE uintptr_t mp_arch_thread_pointer_plus_below(uint64_t a, uint64_t b) {
    return mp_arch_thread_pointer() + (a < b);
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

MP_INLINE void mp_arch_pause(void) {
    __asm__ volatile("yield");
}

MP_INLINE uintptr_t mp_arch_merge16(uintptr_t address, const uint16_t *link) {
    return (address & ~(uintptr_t)0xffff) | *link;
}

#else
#error "memprof runs on x86-64 and aarch64 Linux"
#endif

#endif
