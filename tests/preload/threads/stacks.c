/*
 * Malloc on stacks that are not the thread's own: coroutines made with makecontext on stacks from
 * the heap, signal handlers on an alternative stack, a thread whose stack is a block of the heap.
 * Nothing may be concluded from where the stack pointer is.
 */
#include "probe.h"

#include <pthread.h>
#include <ucontext.h>

enum { COROUTINES = 24, TURNS = 200, STACK = 64 * 1024 };

static ucontext_t scheduler, contexts[COROUTINES];
static struct probe_block *passed[COROUTINES];
static int finished;

static void coroutine(int index) {
    uint64_t state = (uint64_t)index;
    for (int turn = 0; turn < TURNS; turn++) {
        enum probe_kind kind = (enum probe_kind)(turn % 50 == 49 ? PROBE_LARGE : turn % 2);
        struct probe_block *block = probe_block_new(probe_kind_size(kind, &state));
        probe_check(block != NULL, "malloc in a coroutine");
        struct probe_block **to = &passed[probe_random(&state) % COROUTINES];
        struct probe_block *other = *to;
        *to = block;
        swapcontext(&contexts[index], &scheduler);
        if (other != NULL)
            probe_block_free(other);
    }
    finished++;
}

static void run_coroutines(void) {
    void *stacks[COROUTINES];
    finished = 0;
    for (int i = 0; i < COROUTINES; i++) {
        getcontext(&contexts[i]);
        stacks[i] = malloc(STACK);
        contexts[i].uc_stack.ss_sp = stacks[i];
        contexts[i].uc_stack.ss_size = STACK;
        contexts[i].uc_link = &scheduler;
        /* makecontext takes a function without a prototype. */
        makecontext(&contexts[i], (void (*)(void))(void *)coroutine, 1, i);
    }
    /* One further turn each, in which the coroutine returns. */
    for (int turn = 0; turn <= TURNS; turn++)
        for (int i = 0; i < COROUTINES; i++)
            swapcontext(&scheduler, &contexts[i]);
    probe_check(finished == COROUTINES, "%d of %d coroutines ended", finished, COROUTINES);
    for (int i = 0; i < COROUTINES; i++) {
        free(stacks[i]);
        if (passed[i] != NULL)
            probe_block_free(passed[i]);
        passed[i] = NULL;
    }
}

static struct probe_block *from_handler;

/* Raised by the thread itself, outside malloc: so the handler may call it. */
static void handler(int number) {
    if (from_handler != NULL)
        probe_block_free(from_handler);
    uint64_t state = (uint64_t)number;
    from_handler = probe_block_new(probe_kind_size(PROBE_SMALL, &state));
    probe_exercise((uint64_t)number, "on an alternative stack");
}

static void run_handlers(void) {
    stack_t stack = {.ss_sp = malloc(STACK), .ss_size = STACK}, old;
    probe_check(stack.ss_sp != NULL && sigaltstack(&stack, &old) == 0, "sigaltstack");
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 50; i++) {
        raise(SIGUSR1);
        probe_block_free(from_handler);
        from_handler = NULL;
        raise(SIGUSR1);
    }
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    free(stack.ss_sp);
}

static void *in_thread(void *argument) {
    (void)argument;
    run_handlers();
    probe_exercise(1, "in a thread with a stack from the heap");
    return NULL;
}

int main(void) {
    probe_begin(60);
    run_coroutines();
    run_handlers();
    for (int round = 0; round < 20; round++) {
        void *stack;
        probe_check(posix_memalign(&stack, 4096, 256 * PROBE_KIB) == 0, "posix_memalign");
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstack(&attr, stack, 256 * PROBE_KIB);
        pthread_t thread;
        probe_check(pthread_create(&thread, &attr, in_thread, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attr);
        free(stack);
    }
    run_coroutines();
    return 0;
}
