/* Does what its arguments say, one after the other, for test-box:
 *
 *   take:N:SIZE     allocates N blocks in hold_on_to, and keeps them
 *   touch:N:SIZE    the same, and writes to all of each
 *   give:N          frees the N that it took last
 *   churn:N         allocates and frees N blocks
 *   crowd:K:N:SIZE  K threads take N blocks each, and stay
 *   say:WORD        writes it      wait      for a line      sleep:MS
 *   kill abort _exit crash stop    how it ends, or stands still; without: with status 0
 *   filter:kill, filter:prctl, filter:errno   forbids all calls but some, see below
 *   chroot:DIR setuid:UID close fsize:BYTES   what services do after their start
 *   fork _fork clone   the child goes on; its parent ends with its status
 *   daemon          the child goes on, alone; its parent ends at once
 *   exec            begins anew with the rest
 *   many:N          starts itself N times, with the rest, one after the other */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "filter.h"

static void **taken;
static size_t count, room;

__attribute__((noinline)) void *hold_on_to(size_t size) {
    void *block = malloc(size);
    if (!block)
        abort();
    memset(block, 1, size < 64 ? size : 64);
    return block;
}

static void take(long n, long size) {
    for (; n > 0; n--) {
        if (count == room) {
            room = room ? room * 2 : 1024;
            taken = realloc(taken, room * sizeof *taken);
        }
        taken[count++] = hold_on_to((size_t)size);
    }
}

static void touch(long n, long size) {
    for (; n > 0; n--)
        memset(hold_on_to((size_t)size), 1, (size_t)size);
}

static long crowd_n, crowd_size;
static pthread_barrier_t crowd_is_there;

static void *be_in_crowd(void *unused) {
    (void)unused;
    for (long i = 0; i < crowd_n; i++)
        hold_on_to((size_t)crowd_size);
    pthread_barrier_wait(&crowd_is_there);
    for (;;)
        pause();
    return NULL;
}

static void crowd(long threads, long n, long size) {
    crowd_n = n;
    crowd_size = size;
    pthread_barrier_init(&crowd_is_there, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, be_in_crowd, NULL) != 0)
            abort();
    }
    pthread_barrier_wait(&crowd_is_there);
}

/* Under it the calls of an allocator go on, and what it takes to say a word and to end. */
static void forbid_the_rest(unsigned action, bool by_prctl) {
    static const int allowed[] = {SYS_mmap,    SYS_munmap,         SYS_mremap,
                                  SYS_madvise, SYS_mprotect,       SYS_futex,
                                  SYS_write,   SYS_exit_group,     SYS_exit,
                                  SYS_clone3,  SYS_rt_sigprocmask, SYS_rt_sigaction,
                                  SYS_pause,   SYS_getrandom,      SYS_sched_getaffinity,
                                  SYS_prctl,   SYS_rt_sigreturn,   SYS_set_robust_list,
                                  SYS_rseq};
    enum { ALLOWED = sizeof allowed / sizeof *allowed };
    struct sock_filter code[ALLOWED * 2 + 2];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             (unsigned)offsetof(struct seccomp_data, nr));
    for (int i = 0; i < ALLOWED; i++) {
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
    struct sock_fprog program = {.len = n, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        (by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                  : (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) != 0) {
        perror("filter");
        exit(77);
    }
}

static void end_as(pid_t child) {
    int status;
    if (child < 0)
        abort();
    while (waitpid(child, &status, __WALL) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void go_on_in(pid_t child) {
    if (child != 0)
        end_as(child);
}

static void start_many(long n, char **argv) {
    extern char **environ;
    for (; n > 0; n--) {
        pid_t child;
        int status;
        if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ) != 0 ||
            waitpid(child, &status, 0) != child || status != 0)
            exit(1);
    }
    exit(0);
}

static void check(bool good, const char *what) {
    if (!good) {
        perror(what);
        exit(77);
    }
}

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

static bool is(const char *word, const char *name) {
    size_t length = strcspn(word, ":");
    return strlen(name) == length && strncmp(word, name, length) == 0;
}

static void act(const char *word, char **argv) {
    const char *text = strchr(word, ':') ? strchr(word, ':') + 1 : "";
    long a = atol(text), b = 0, c = 0;
    sscanf(text, "%ld:%ld:%ld", &a, &b, &c);
    if (is(word, "take"))
        take(a, b);
    else if (is(word, "touch"))
        touch(a, b);
    else if (is(word, "give"))
        for (; a > 0 && count > 0; a--)
            free(taken[--count]);
    else if (is(word, "churn"))
        for (; a > 0; a--)
            free(hold_on_to(1000));
    else if (is(word, "crowd"))
        crowd(a, b, c);
    else if (is(word, "say"))
        check(write(1, text, strlen(text)) >= 0 && write(1, "\n", 1) == 1, word);
    else if (is(word, "wait"))
        while (getchar() != '\n' && !feof(stdin))
            ;
    else if (is(word, "sleep"))
        sleep_ms(a);
    else if (is(word, "kill"))
        raise(SIGKILL);
    else if (is(word, "stop"))
        raise(SIGSTOP);
    else if (is(word, "abort"))
        abort();
    else if (is(word, "_exit"))
        _exit(0);
    else if (is(word, "crash"))
        *(volatile int *)8 = 0;
    else if (is(word, "filter"))
        forbid_the_rest(strcmp(text, "errno") == 0 ? SECCOMP_RET_ERRNO | EPERM
                                                   : SECCOMP_RET_KILL_PROCESS,
                        strcmp(text, "prctl") == 0);
    else if (is(word, "chroot"))
        check(chroot(text) == 0 && chdir("/") == 0, word);
    else if (is(word, "setuid"))
        check(setgid((gid_t)a) == 0 && setuid((uid_t)a) == 0, word);
    else if (is(word, "close"))
        closefrom(3);
    else if (is(word, "fsize"))
        check(setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)a, RLIM_INFINITY}) == 0, word);
    else if (is(word, "fork"))
        go_on_in(fork());
    else if (is(word, "_fork"))
        go_on_in(_Fork());
    else if (is(word, "clone"))
        go_on_in((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    else if (is(word, "daemon"))
        check(daemon(1, 1) == 0, word);
    else if (is(word, "exec"))
        check(execv("/proc/self/exe", argv) == 0, word);
    else if (is(word, "many"))
        start_many(a, argv);
    else
        exit(2);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        act(argv[i], argv + i);
    return 0;
}
