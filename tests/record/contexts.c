/*
 * Allocations on stacks that are not the usual one: coroutines, the smallest stack a thread may
 * have, alternate signal stacks; each with a page without access below it, so that whoever needs
 * more room than there is dies of it.
 */
#include "record.h"

#include <ucontext.h>

#define PAGE 4096u

/* Rows of blocks that stay, each of a size of its own, by which the dump's samples are found. */
#define ROWS      7
#define SIZE(row) ((size_t)1820 + (row))
static void *kept[ROWS][R_KEEP];

/* Memory for a stack with a page below that cannot be touched. */
static char *guarded(size_t size) {
    char *memory = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE) != 0)
        t_fail("no memory for a stack");
    return memory + PAGE;
}

/* A cursor and a context of libunwind's are 2 KiB, and its first step takes as much again. */
static bool needs_more_stack(void) {
    return !strcmp(r_option("unwind="), "libunwind");
}

/* ---- coroutines ---- */

#define COROUTINES 1000
#define STACK      ((size_t)16 * KIB)

static struct coroutine {
    ucontext_t context;
    void *block;
    char *stack;
} coroutines[COROUTINES];

static ucontext_t scheduler;
static const void *in_coroutine[2];

SHOWN void coroutine_inner(struct coroutine *me, size_t size) {
    in_coroutine[0] = CALLER;
    me->block = malloc(size);
}

SHOWN void coroutine_outer(struct coroutine *me, size_t size) {
    in_coroutine[1] = CALLER;
    coroutine_inner(me, size);
}

SHOWN void coroutine_main(unsigned number) {
    struct coroutine *me = &coroutines[number];
    for (int round = 0; round < 3; round++) {
        free(me->block);
        coroutine_outer(me, 1800);
        memset(me->block, (int)number, 1800);
        swapcontext(&me->context, &scheduler);
        me->block = realloc(me->block, 1700);
        swapcontext(&me->context, &scheduler);
    }
    free(me->block);
    coroutine_outer(me, 1811);
}

static void run_coroutines(void) {
    for (unsigned i = 0; i < COROUTINES; i++) {
        struct coroutine *one = &coroutines[i];
        one->stack = i % 2 ? malloc(STACK) : guarded(STACK);
        getcontext(&one->context);
        one->context.uc_stack.ss_sp = one->stack;
        one->context.uc_stack.ss_size = STACK;
        one->context.uc_link = &scheduler;
        makecontext(&one->context, (void (*)(void))coroutine_main, 1, i);
    }
    for (int round = 0; round < 7; round++)
        for (unsigned i = 0; i < COROUTINES; i++)
            swapcontext(&scheduler, &coroutines[i].context);
    for (unsigned i = 0; i < COROUTINES; i++) {
        CHECK(malloc_usable_size(coroutines[i].block) >= 1811, "coroutine %u", i);
        if (i % 2)
            free(coroutines[i].stack);
        else
            munmap(coroutines[i].stack - PAGE, STACK + PAGE);
    }
    const char *name = "in 1000 coroutines the frames are those of the coroutine";
    for (int i = 0; i < 2; i++) {
        r_expect("contexts.heap", name, i ? "fp,libunwind" : "cfi", 1811, COROUTINES,
                 i ? "any" : "whole");
        r_in((void *)coroutine_inner);
        r_at(in_coroutine[0]);
        r_at(in_coroutine[1]);
        r_done("*");
    }
}

/* ---- the smallest stack of a thread ---- */

SHOWN void *small_thread(void *row) {
    void *huge = malloc(3000000);
    for (int i = 0; i < R_KEEP; i++) {
        char *block = calloc(1, 500);
        block = realloc(block, 1000);
        block = realloc(block, 40);
        free(block);
        block = aligned_alloc(1024, 5000);
        free(block);
        block = malloc(200000);
        free(block);
        kept[(uintptr_t)row][i] = malloc(SIZE((uintptr_t)row));
    }
    huge = realloc(huge, 6000000);
    free(huge);
    return NULL;
}

static void run_small_thread(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    int error = pthread_attr_setstacksize(&attributes, 16 * KIB);
    if (!error)
        error = pthread_create(&thread, &attributes, small_thread, (void *)0);
    NEED(!error, "error %d", error);
    pthread_join(thread, NULL);
    r_expect("contexts.heap", "on a stack of 16 KiB the frames are the thread's",
             "cfi,fp,libunwind", SIZE(0), R_KEEP, "any");
    r_in((void *)small_thread);
    r_done("*");
}

/* How far down painted memory was written to. */
static unsigned deepest(const unsigned char *low, const unsigned char *high) {
    const unsigned char *at = low;
    while (at < high && *at == 0xa5)
        at++;
    return (unsigned)(high - at);
}

static void *nothing(void *unused) {
    return unused;
}

static unsigned stack_used(void *(*work)(void *)) {
    pthread_attr_t attributes;
    pthread_t thread;
    const size_t size = 64 * KIB;
    unsigned char *memory = (unsigned char *)guarded(size);
    memset(memory, 0xa5, size);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, memory, size);
    int error = pthread_create(&thread, &attributes, work, (void *)1);
    if (error) {
        t_fail("pthread_create: error %d", error);
        return 0;
    }
    pthread_join(thread, NULL);
    return deepest(memory, memory + size);
}

static void measure_stack(void) {
    unsigned without = stack_used(nothing), with = stack_used(small_thread);
    printf("# a sample takes %u bytes of stack\n", with - without);
    CHECK(with - without < (needs_more_stack() ? 9000 : 6000), "it takes %u bytes", with - without);
}

/* ---- signal handlers ---- */

extern const char trap_instruction[];
void interrupt_here(void);

/* An instruction that traps, first in its function: what is in front of it is another function's,
 * and no frame has been made yet. */
#if defined(__x86_64__)
#define TRAP_SIZE 2
#define TRAP      "ud2"
#define PC(c)     ((c)->uc_mcontext.gregs[REG_RIP])
#else
#define TRAP_SIZE 4
#define TRAP      "udf #0"
#define PC(c)     ((c)->uc_mcontext.pc)
#endif
__asm__(".text\n"
        ".globl interrupt_here\n"
        ".type interrupt_here, %function\n"
        "interrupt_here:\n"
        ".cfi_startproc\n"
        "trap_instruction:\n" TRAP "\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size interrupt_here, . - interrupt_here\n");

static unsigned handler_row;
static const void *in_handler, *to_trap, *trap_at;
static char *alternate_low, *alternate_high;
static bool on_alternate;

SHOWN void handler_allocates(void) {
    in_handler = CALLER;
    for (int i = 0; i < R_KEEP; i++)
        kept[handler_row][i] = realloc(malloc(60), SIZE(handler_row));
}

SHOWN void on_trap(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *interrupted = context;
    char *here = __builtin_frame_address(0);
    on_alternate = here >= alternate_low && here < alternate_high;
    trap_at = (const void *)(uintptr_t)PC(interrupted);
    handler_allocates();
    PC(interrupted) += TRAP_SIZE;
}

SHOWN void runs_into_trap(void) {
    to_trap = CALLER;
    interrupt_here();
}

static void expect_through(const char *name) {
    for (int i = 0; i < 2; i++) {
        r_expect("contexts.heap", name, i ? "libunwind" : "cfi", SIZE(handler_row), R_KEEP,
                 i ? "any" : "whole");
        r_in((void *)handler_allocates);
        r_at(in_handler);
        r_any(); /* libc's return from a handler */
        r_interrupted(trap_at);
        r_in((void *)runs_into_trap);
        r_at(to_trap);
        r_done("*");
    }
    /* Frame pointers skip a function that has not set its own up yet. */
    r_expect("contexts.heap", name, "fp", SIZE(handler_row), R_KEEP, "any");
    r_in((void *)handler_allocates);
    r_at(in_handler);
    r_any();
    r_done("*");
}

static void interrupt_with(size_t stack_size) {
    stack_t alternate = {.ss_sp = guarded(stack_size), .ss_size = stack_size}, before;
    struct sigaction action, old;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | (stack_size ? SA_ONSTACK : 0);
    if (stack_size)
        NEED(sigaltstack(&alternate, &before) == 0, "sigaltstack: %s", strerror(errno));
    alternate_low = alternate.ss_sp;
    alternate_high = alternate_low + stack_size;
    NEED(sigaction(SIGILL, &action, &old) == 0, "sigaction: %s", strerror(errno));
    runs_into_trap();
    sigaction(SIGILL, &old, NULL);
    if (stack_size)
        sigaltstack(&before, NULL);
    CHECK(trap_at == trap_instruction, "the trap was at %p", trap_at);
    CHECK(on_alternate == (stack_size != 0), "the handler ran on the other stack");
}

static void *interrupt_on(void *size) {
    interrupt_with((size_t)(uintptr_t)size);
    return NULL;
}

static void handler_on_usual_stack(void) {
    handler_row = 2;
    interrupt_with(0);
    expect_through("a handler's stack goes on through what it interrupted");
}

static void handler_on_least(void) {
    handler_row = 3;
    interrupt_with((size_t)sysconf(_SC_SIGSTKSZ));
    expect_through("from an alternate stack of the size that libc recommends too");
}

static void handler_on_8_kib(void) {
    handler_row = 4;
    interrupt_with(8 * KIB);
    expect_through("from an alternate stack of 8 KiB too");
}

/* What the kernel needs at least, and a page for the handler. */
static void handler_on_minimum(void) {
    handler_row = 5;
    interrupt_with((((size_t)sysconf(_SC_MINSIGSTKSZ) + 15) & ~(size_t)15) + PAGE);
    expect_through("from an alternate stack with a page of room too");
}

static void handler_on_thread(void) {
    handler_row = 6;
    t_in_thread(interrupt_on, (void *)(needs_more_stack() ? 16 * KIB : 8 * KIB));
    expect_through("on a thread whose first sample is a handler's too");
}

int main(void) {
    t_init();
    r_watchdog(60);
    RUN("1000 coroutines allocate", run_coroutines);
    RUN("a thread with a stack of 16 KiB allocates", run_small_thread);
    RUN("a sample needs little stack", measure_stack);
    RUN("a handler allocates", handler_on_usual_stack);
    RUN("a handler allocates on an alternate stack of libc's size", handler_on_least);
    if (needs_more_stack()) {
        printf("skip a handler allocates on a smaller alternate stack: libunwind needs more\n");
    } else {
        RUN("a handler allocates on an alternate stack of 8 KiB", handler_on_8_kib);
        RUN("a handler allocates on an alternate stack with a page of room", handler_on_minimum);
    }
    RUN("a handler allocates on a thread", handler_on_thread);
    r_dump("contexts.heap");
    return t_done();
}
