/* What crosses the black box's way, for test-box; each prints what went wrong, or nothing:
 *
 *   crossed locals     the caller's own words beside a call of syscall()
 *   crossed making     a handler that allocates while the box is made
 *   crossed forking    a handler that forks while something is written to it
 *   crossed vfork      a child of vfork that filters its system calls, which its parent does not
 *   crossed locking    mlockall, for which there is as much room as without a box; needs root
 *   crossed resizing   a child that resizes a block of its parent's: with children=off, no box */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"

static volatile long *volatile local;
static volatile bool stop;
static volatile long added;

static void *add(void *unused) {
    (void)unused;
    while (!local)
        ;
    while (!stop) {
        __atomic_fetch_add((long *)local, 1, __ATOMIC_SEQ_CST);
        added++;
    }
    return NULL;
}

/* Where a seventh argument would stand, there is none. */
static __attribute__((noinline)) long call_often(pthread_t thread) {
    volatile long words[3] = {0};
    local = words;
    for (long i = 0; i < 500000; i++)
        syscall(SYS_getppid);
    stop = true;
    pthread_join(thread, NULL);
    return words[0];
}

static void try_locals(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, add, NULL);
    long said = call_often(thread);
    if (said != added)
        printf("%ld of %ld additions are lost\n", added - said, added);
}

static void ring(long us) {
    const struct itimerval every = {{0, us}, {0, us}};
    setitimer(ITIMER_REAL, &every, NULL);
}

static void allocate(int number) {
    (void)number;
    void *volatile block = malloc(100);
    free(block);
}

static bool ends(pid_t child) {
    for (int i = 0; i < 2000; i++) {
        if (waitpid(child, NULL, WNOHANG) == child)
            return true;
        usleep(1000);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return false;
}

static void try_making(void) {
    signal(SIGALRM, allocate);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (child == 0) {
            ring(20 + i % 37);
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL); /* turned down, but seen coming */
            ring(0);
            _exit(0);
        }
        if (!ends(child)) {
            printf("a child hangs\n");
            return;
        }
    }
}

static volatile bool is_child;
static volatile int forks, dead;

static void fork_now(int number) {
    (void)number;
    int status;
    if (is_child)
        return;
    pid_t child = fork();
    if (child == 0) {
        is_child = true;
        return;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    forks++;
    dead += WIFSIGNALED(status);
}

static void try_forking(void) {
    signal(SIGALRM, fork_now);
    ring(1000);
    for (long i = 0; forks < 200; i++) {
        void *volatile block = malloc(100 + (size_t)i % 500);
        free(block);
        for (int k = 0; is_child && k < 50; k++)
            allocate(0);
        if (is_child)
            _exit(0);
    }
    ring(0);
    if (dead)
        printf("%d of %d children were ended by a signal\n", dead, forks);
}

static void try_vfork(void) {
    static const int calls[] = {SYS_ptrace};
    pid_t child = vfork();
    if (child == 0) {
        filter_calls(calls, 1, SECCOMP_RET_KILL_PROCESS);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void try_locking(void) {
    if (setgid(65534) != 0 || setuid(65534) != 0 || mlockall(MCL_CURRENT) != 0)
        printf("%s\n", strerror(errno));
}

static void try_resizing(void *large) {
    pid_t child = fork();
    if (child == 0) {
        void *volatile larger = realloc(large, 70 << 20);
        _exit(larger ? 0 : 1);
    }
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv) {
    const char *what = argc == 2 ? argv[1] : "";
    void *large = strcmp(what, "resizing") == 0 ? malloc((size_t)64 << 20) : NULL;
    allocate(0);
    if (strcmp(what, "locals") == 0)
        try_locals();
    else if (strcmp(what, "making") == 0)
        try_making();
    else if (strcmp(what, "forking") == 0)
        try_forking();
    else if (strcmp(what, "vfork") == 0)
        try_vfork();
    else if (strcmp(what, "locking") == 0)
        try_locking();
    else if (strcmp(what, "resizing") == 0)
        try_resizing(large);
    else
        return 2;
    return 0;
}
