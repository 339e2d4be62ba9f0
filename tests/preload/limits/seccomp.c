/*
 * A sandboxed child: a seccomp filter kills the process at the first system call that is not on a
 * short list, as the workers of browsers and servers do. The heap may use mmap, munmap, mremap,
 * madvise, mprotect and futex after the start, and nothing else, at any moment of its life: when
 * it refills, when it purges later, when a block is huge.
 *
 *     seccomp [brk]
 *
 * "brk" allows that call too, which the C library's own heap cannot do without.
 */
#include "../threads/probe.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

static bool allow_brk;

static void install_filter(void) {
    static const int allowed[] = {SYS_mmap,     SYS_munmap, SYS_mremap,      SYS_madvise,
                                  SYS_mprotect, SYS_futex,  SYS_exit,        SYS_exit_group,
                                  SYS_write,    SYS_read,   SYS_rt_sigreturn};
    enum { COUNT = sizeof(allowed) / sizeof(*allowed) };
    struct sock_filter code[2 * COUNT + 8];
    unsigned short n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i <= COUNT; i++) {
        int number = i < COUNT ? allowed[i] : SYS_brk;
        if (i == COUNT && !allow_brk)
            break;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        probe_skip("no seccomp filter can be installed: %s", strerror(errno));
}

/* Waits by the clock, which needs no system call, so that what the heap does later is done here. */
static void spin(double seconds) {
    double end = probe_seconds() + seconds;
    while (probe_seconds() < end)
        ;
}

static void live_on(void) {
    uint64_t state = 1;
    for (int round = 0; round < 4; round++) {
        struct probe_block *list = NULL;
        for (size_t at = 0; at < 48 * PROBE_MIB;) {
            enum probe_kind kind = (enum probe_kind)(probe_random(&state) % PROBE_KINDS);
            struct probe_block *block = probe_block_new(probe_kind_size(kind, &state));
            probe_check(block != NULL, "malloc gave NULL in the sandbox");
            block->next = list;
            list = block;
            at += block->size;
        }
        while (list != NULL) {
            struct probe_block *next = list->next;
            probe_block_free(list);
            list = next;
        }
        spin(0.08);
        probe_exercise(state, "in the sandbox");
    }
    /* A huge block that grows, moves and shrinks; a huge calloc; every alignment. */
    char *block = malloc(8 * PROBE_MIB);
    block[0] = 1;
    for (size_t size = 16; size <= 64; size *= 2) {
        block = realloc(block, size * PROBE_MIB);
        probe_check(block != NULL && block[0] == 1, "realloc in the sandbox");
        block[size * PROBE_MIB - 1] = 2;
    }
    block = realloc(block, 40);
    free(block);
    block = calloc(1, 32 * PROBE_MIB);
    probe_check(block != NULL && block[32 * PROBE_MIB - 1] == 0, "calloc in the sandbox");
    free(block);
    for (size_t alignment = 16; alignment <= 4 * PROBE_MIB; alignment *= 2) {
        void *aligned = aligned_alloc(alignment, alignment);
        probe_check(aligned != NULL && (uintptr_t)aligned % alignment == 0,
                    "aligned_alloc in the sandbox");
        free(aligned);
    }
    errno = 0;
    probe_check(malloc(PTRDIFF_MAX) == NULL && errno == ENOMEM, "a refusal in the sandbox");
}

static int child_status(void (*life)(void)) {
    pid_t child = fork();
    probe_check(child >= 0, "fork");
    if (child == 0) {
        life();
        _exit(0);
    }
    return probe_wait(child);
}

static void sandbox_first(void) {
    install_filter();
    live_on();
}

static void sandbox_later(void) {
    probe_exercise(2, "before the filter");
    install_filter();
    live_on();
}

static void call_what_is_not_listed(void) {
    install_filter();
    syscall(SYS_getppid);
}

static void read_the_clock(void) {
    install_filter();
    spin(0.01);
}

int main(int argc, char **argv) {
    probe_begin(60);
    allow_brk = argc > 1;

    int status = child_status(call_what_is_not_listed);
    if (status == 77)
        return 77;
    probe_check(status == 128 + SIGSYS, "the filter does not kill: %d", status);
    if (child_status(read_the_clock) != 0)
        probe_skip("reading the clock needs a system call on this machine");

    void *volatile held[64];
    for (int i = 0; i < 64; i++)
        held[i] = malloc((size_t)i * 1000);
    status = child_status(sandbox_first);
    probe_check(status == 0, "a child that allocates first in the sandbox ends with %d", status);
    status = child_status(sandbox_later);
    probe_check(status == 0, "a child that allocated before the sandbox ends with %d", status);
    for (int i = 0; i < 64; i++)
        free(held[i]);

    /* The first process, not a fork. Nothing of the C library's exit may run: it is not on the
     * list. */
    install_filter();
    live_on();
    _exit(0);
}
