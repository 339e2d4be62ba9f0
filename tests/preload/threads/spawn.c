/*
 * All the other ways to make a process, from a program with threads that allocate: posix_spawn,
 * vfork and exec, system, popen, _Fork, a raw clone, a child that shares the memory. None of them
 * runs fork handlers, and those that share memory are the same heap: nothing may be undone or
 * locked for ever in the parent.
 */
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { THREADS = 4, ROUNDS = 40 };

static atomic_bool stop;
static char *own_path;

static void *live(void *argument) {
    uint64_t state = (uint64_t)(uintptr_t)argument;
    while (!atomic_load(&stop))
        probe_exercise(probe_random(&state), "beside new processes");
    return NULL;
}

static void by_posix_spawn(void) {
    char *arguments[] = {own_path, (char *)"child", NULL};
    pid_t pid;
    int error = posix_spawn(&pid, own_path, NULL, NULL, arguments, environ);
    probe_check(error == 0, "posix_spawn: %s", strerror(error));
    probe_check(probe_wait(pid) == 0, "the spawned process failed");
    error = posix_spawnp(&pid, "true", NULL, NULL, arguments, environ);
    probe_check(error == 0, "posix_spawnp: %s", strerror(error));
    probe_check(probe_wait(pid) == 0, "the spawned process failed");
}

static void by_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        execl(own_path, own_path, "child", (char *)NULL);
        _exit(1);
    }
    probe_check(pid > 0 && probe_wait(pid) == 0, "the vforked process failed");
    /* The exec that fails, as shells try one directory after another. */
    pid = vfork();
    if (pid == 0) {
        execl("/nonexistent", "nonexistent", (char *)NULL);
        _exit(9);
    }
    probe_check(pid > 0 && probe_wait(pid) == 9, "the vforked process did not go on");
}

static void by_shell(void) {
    char command[4200];
    snprintf(command, sizeof(command), "'%s' child", own_path);
    probe_check(system(command) == 0, "system");
    snprintf(command, sizeof(command), "'%s' child && echo word", own_path);
    FILE *pipe = popen(command, "r");
    char line[64] = "";
    probe_check(pipe != NULL && fgets(line, sizeof(line), pipe) != NULL, "popen");
    probe_check(pclose(pipe) == 0 && strcmp(line, "word\n") == 0, "popen gave '%s'", line);
}

/* Only calls that are safe in a signal handler are allowed there; malloc is not among them. */
static void by_bare_fork(void) {
    pid_t pid = _Fork();
    if (pid == 0)
        _exit(5);
    probe_check(pid > 0 && probe_wait(pid) == 5, "_Fork");
    pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(6);
    probe_check(pid > 0 && probe_wait(pid) == 6, "a raw clone");
}

/* Shares everything with this thread, which waits: for the heap it is this thread. */
static struct probe_block *made_by_child, *kept_for_child;

static int shares_memory(void *argument) {
    (void)argument;
    uint64_t state = 3;
    probe_block_free(kept_for_child);
    made_by_child = probe_block_new(probe_kind_size(PROBE_MEDIUM, &state));
    probe_exercise(8, "in a child that shares the memory");
    return 0;
}

static void by_shared_memory(void) {
    uint64_t state = 4;
    kept_for_child = probe_block_new(probe_kind_size(PROBE_SMALL, &state));
    char *stack = malloc(256 * PROBE_KIB);
    pid_t pid =
        clone(shares_memory, stack + 256 * PROBE_KIB, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    probe_check(pid > 0 && probe_wait(pid) == 0, "a child that shares the memory failed");
    free(stack);
    probe_block_free(made_by_child);
}

/* Each generation forks the next from a thread, and uses the heap before and after. */
static void *generation(void *argument) {
    int depth = *(int *)argument;
    probe_exercise((uint64_t)depth, "in a generation");
    if (depth == 0)
        return NULL;
    pid_t pid = fork();
    probe_check(pid >= 0, "fork");
    if (pid == 0) {
        probe_watchdog(30);
        int next = depth - 1;
        pthread_t thread;
        probe_check(pthread_create(&thread, NULL, generation, &next) == 0, "pthread_create");
        pthread_join(thread, NULL);
        exit(0);
    }
    probe_check(probe_wait(pid) == 0, "generation %d failed", depth);
    probe_exercise((uint64_t)depth, "after a generation");
    return NULL;
}

int main(int argc, char **argv) {
    probe_begin(90);
    own_path = argv[0];
    probe_exercise(1, "at the start");
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return 0;
    pthread_t ids[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        probe_check(pthread_create(&ids[i], NULL, live, (void *)i) == 0, "pthread_create");
    for (int round = 0; round < ROUNDS; round++) {
        by_posix_spawn();
        by_vfork();
        by_shell();
        by_bare_fork();
        by_shared_memory();
    }
    int depth = 6;
    generation(&depth);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    return 0;
}
