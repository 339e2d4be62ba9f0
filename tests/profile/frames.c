/* Stacks of every shape that C makes, for test-frames: every function that ends a branch here
 * allocates, and each allocation is a sample whose stack is captured twice. Built at each level of
 * optimization by each compiler; nothing is checked here. */
#include <alloca.h>
#include <dlfcn.h>
#include <iconv.h>
#include <pthread.h>
#include <regex.h>
#include <search.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* Code that can be linked far from the rest, in a segment of its own with a hole before it. */
#define APART __attribute__((noinline, section(".apart")))

static void *volatile kept;

static APART void allocate(size_t size) {
    free(kept);
    kept = malloc(size);
}

/* ---- frames ---- */

static APART unsigned recurse(unsigned depth, unsigned wide) {
    volatile char room[40 + 8];
    room[wide % sizeof room] = (char)depth;
    if (depth == 0) {
        allocate(wide);
        return 1;
    }
    return recurse(depth - 1, wide * 7 % 1000) + (unsigned)room[wide % sizeof room];
}

static APART double many_arguments(double a, double b, long c, long d, long e, long f, long g,
                                   long h, long i) {
    allocate((size_t)(c + d + e + f + g + h + i));
    return a * b + (double)(c + i);
}

static APART int with_alloca(size_t size, ...) {
    _Alignas(64) char aligned[128];
    char *room = alloca(size);
    va_list list;
    va_start(list, size);
    memset(room, va_arg(list, int), size);
    va_end(list);
    memset(aligned, room[size / 2], sizeof aligned);
    char variable[size + 1];
    variable[size] = aligned[5];
    allocate(size);
    return variable[size] + room[0];
}

/* The last call of each is a jump, if the compiler optimizes. */
static APART int tail_c(int n) {
    allocate((size_t)n);
    return n + 1;
}

static APART int tail_b(int n) {
    return n % 3 ? tail_c(n + 2) : tail_c(n + 1);
}

static APART int tail_a(int n) {
    return tail_b(n * 2);
}

static jmp_buf back;

static APART __attribute__((noreturn)) void leave(void) {
    allocate(100);
    longjmp(back, 1);
}

static APART void never_returns(int n) {
    if (n)
        leave(); /* the call may be the last instruction */
}

static void frames(void) {
    for (unsigned i = 0; i < 200; i++) {
        recurse(i % 60, i);
        with_alloca(i * 37 + 1, 7);
        tail_a((int)i + 1);
        many_arguments(i, 2, i, 2, 3, 4, 5, 6, 7);
        if (setjmp(back) == 0)
            never_returns(1);
    }
}

/* ---- libc calls back, and allocates itself ---- */

static int order(const void *a, const void *b) {
    allocate(64);
    return *(const int *)a - *(const int *)b;
}

static void visit(const void *node, VISIT which, int depth) {
    allocate((size_t)depth + (which == leaf) + (node != NULL));
}

static void at_end(void *of) {
    allocate(of ? 30 : 20);
}

static void by_libc(void) {
    int numbers[50];
    void *tree = NULL;
    regex_t regex;
    char *line = NULL;
    size_t size = 0;
    for (int i = 0; i < 50; i++)
        numbers[i] = i * 17 % 50;
    for (int i = 0; i < 50; i++)
        tsearch(&numbers[i], &tree, order);
    twalk(tree, visit);
    tdestroy(tree, at_end);
    qsort(numbers, 50, sizeof *numbers, order);
    if (regcomp(&regex, "^(a|b)*[[:alpha:]]{2,5}x?$", REG_EXTENDED) == 0) {
        regexec(&regex, "abababxyz", 0, NULL, 0);
        regfree(&regex);
    }
    iconv_t to = iconv_open("UTF-16", "ISO-8859-2"); /* the loader allocates */
    if (to != (iconv_t)-1)
        iconv_close(to);
    void *maths = dlopen("libm.so.6", RTLD_NOW);
    if (maths)
        dlclose(maths);
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && getline(&line, &size, file) > 0)
        allocate(size);
    if (file)
        fclose(file);
    free(line);
    if (asprintf(&line, "%*d %s %.9f", 3000, 1, "text", 1.5) > 0)
        free(line);
}

/* ---- signals ---- */

static void on_signal(int number) {
    allocate((size_t)number * 3);
}

static APART double work(unsigned n) {
    char text[64];
    double sum = 1;
    for (unsigned i = 1; i < n; i++) {
        text[i % 64] = (char)i;
        sum += (double)(i * n % 97) / sum;
    }
    memset(text + 20, (int)sum, 40);
    return n > 1 ? sum + work(n / 2) + text[n % 64] : sum;
}

/* After each instruction from here on there is a signal, in prologues, epilogues and stubs. */
#if defined(__x86_64__)
void step(unsigned long on);
__asm__(".text\n.globl step\n.type step, %function\nstep:\n.cfi_startproc\n"
        "pushfq\n.cfi_adjust_cfa_offset 8\n"
        "andq $-0x101, (%rsp)\nshlq $8, %rdi\norq %rdi, (%rsp)\n"
        "popfq\n.cfi_adjust_cfa_offset -8\n"
        "ret\n.cfi_endproc\n.size step, . - step\n");
#else
static void step(unsigned long on) {
    (void)on;
}
#endif

static int plain_order(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static void signals(int flags) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    int numbers[] = {5, 2, 9, 1, 7};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTRAP, &action, NULL);
    for (int i = 0; i < 20; i++)
        raise(SIGUSR1);
    step(1);
    work(12);
    qsort(numbers, 5, sizeof *numbers, plain_order);
    step(0);
}

/* ---- other stacks ---- */

static ucontext_t outside, inside;

static void coroutine(void) {
    for (unsigned i = 0; i < 5; i++) {
        recurse(i, i);
        swapcontext(&inside, &outside);
    }
}

static void coroutines(void) {
    size_t size = 256 << 10;
    void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || getcontext(&inside) != 0)
        return;
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = size;
    inside.uc_link = &outside;
    makecontext(&inside, coroutine, 0);
    for (unsigned i = 0; i < 6; i++)
        swapcontext(&outside, &inside);
}

static void once(void) {
    allocate(20);
}

static void *thread(void *key) {
    static pthread_once_t only = PTHREAD_ONCE_INIT;
    static _Thread_local char alternate[1 << 17];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    pthread_once(&only, once);
    pthread_setspecific(*(pthread_key_t *)key, key);
    frames();
    sigaltstack(&stack, NULL);
    signals(SA_ONSTACK);
    coroutines();
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    return NULL;
}

__attribute__((constructor)) static void before_main(void) {
    recurse(3, 3);
}

static void after_main(void) {
    recurse(4, 4);
}

int main(void) {
    pthread_t other;
    pthread_key_t key;
    atexit(after_main);
    pthread_key_create(&key, at_end);
    frames();
    by_libc();
    signals(0);
    coroutines();
    if (pthread_create(&other, NULL, thread, &key) == 0)
        pthread_join(other, NULL);
    return 0;
}
