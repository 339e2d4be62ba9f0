/* What a search for leaks is to the program that it is made in: its exit status, its output, its
 * calls, its threads; and LeakSanitizer's interface.
 *
 *     checked exit STATUS    loses three blocks, and ends so, with words that wait to be written
 *     checked calls          LeakSanitizer's functions and ours, and prints what they say
 *     checked serve [MIB]    eight threads at work until the input ends; then what was interrupted;
 *                            so much is in a list
 *     checked storm          processes and threads come and go until the input ends
 *     checked again N        searches all the time, and becomes itself so many times meanwhile
 *     checked renew 0        becomes itself again and again until the input ends
 *     checked leave          becomes a program without the library when the input ends
 *     checked traced PID     is the debugger of a process, all its threads, until the input ends
 *     checked confined       may be ended for most system calls from now on; loses a block; exits
 */
#include <memprof/lsan.h>
#include <memprof/memprof.h>

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *volatile sink;

static void use(void *pointer) {
    sink = pointer;
    sink = NULL;
}

/* Where old frames had pointers. */
__attribute__((noinline)) static void scrub(void) {
    volatile char bytes[8192];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = 0;
}

__attribute__((noinline)) static void leak_here(int count) {
    for (int i = 0; i < count; i++)
        use(malloc(100));
}

static int wait_for_end(void) {
    char byte;
    puts("ready");
    fflush(stdout);
    while (read(0, &byte, 1) < 0 && errno == EINTR)
        ;
    return 0;
}

/* ---- calls ---- */

__attribute__((noinline)) static void quietly(void) {
    __lsan_disable();
    for (int i = 0; i < 50; i++)
        use(malloc(40));
    use(calloc(3, 50));
    use(realloc(NULL, 200));
    use(malloc(100000));
    use(malloc((size_t)100 << 20));
    __lsan_enable();
}

__attribute__((noinline)) static void ignored(void) {
    void **block = malloc(40);
    *block = malloc(30);
    __lsan_ignore_object((char *)block + 8);
    block = malloc(48);
    memprof_ignore(block);
    use(block);
}

/* Where nobody looks by himself: behind a pointer that is hidden. */
static uintptr_t hidden;

__attribute__((noinline)) static void hide(void) {
    void **region = malloc(700); /* stdio has blocks of 4096, whose ends are the next one's start */
    memset(region, 0, 700);
    region[7] = malloc(77);
    hidden = ~(uintptr_t)region;
}

/* Well below where others' frames will be, which do not write to all of theirs. */
__attribute__((noinline)) static void hide_below(void) {
    volatile char bytes[2048];
    bytes[0] = 0;
    hide();
    bytes[1] = bytes[0];
}

static void count(const char *what) {
    struct memprof_leaks leaks;
    scrub();
    if (memprof_leaks(&leaks) != 0)
        perror(what);
    else
        printf("%s: %llu %llu, world %u, threads %u, missed %u\n", what,
               (unsigned long long)leaks.leaked_objects, (unsigned long long)leaks.indirect_objects,
               leaks.world, leaks.threads, leaks.threads_missed);
}

static int call_all(void) {
    quietly();
    ignored();
    count("quiet");
    hide_below();
    count("hidden");
    memprof_root((const void *)~hidden, 700);
    count("root");
    memprof_unroot((const void *)~hidden);
    count("unroot");
    __lsan_register_root_region((const void *)~hidden, 700);
    scrub();
    printf("recoverable: %d\n", __lsan_do_recoverable_leak_check());
    leak_here(1);
    scrub();
    printf("recoverable: %d\n", __lsan_do_recoverable_leak_check());
    fflush(stdout);
    __lsan_do_leak_check();
    puts("not ended");
    return 0;
}

/* ---- serve ---- */

static _Atomic(bool) over;
static _Atomic(unsigned) interrupted, wrong;

static void *serve(void *unused) {
    struct timespec left = {0, 1000000};
    struct pollfd none = {.fd = -1};
    while (!over) {
        void **block = malloc(64);
        block[0] = block;
        interrupted += nanosleep(&left, NULL) != 0 && errno == EINTR;
        interrupted += poll(&none, 1, 1) < 0 && errno == EINTR;
        wrong += block[0] != block;
        free(block);
    }
    return unused;
}

static void **listed;

static int serve_all(const char *mib) {
    pthread_t threads[8];
    for (size_t left = (size_t)atoi(mib) << 14; left > 0; left--) {
        void **block = malloc(64);
        *block = (void *)listed;
        listed = block;
    }
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, serve, NULL);
    leak_here(100);
    scrub();
    wait_for_end();
    over = true;
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    int status;
    bool zombies = waitpid(-1, &status, WNOHANG | __WALL) > 0;
    printf("interrupted %u, wrong %u, zombies %d\n", interrupted, wrong, zombies);
    return 0;
}

/* ---- storm ---- */

static void *nothing(void *unused) {
    free(malloc(100));
    return unused;
}

static void *start_others(void *unused) {
    while (!over) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) == 0)
            pthread_join(thread, NULL);
        pid_t child = fork();
        if (child == 0) {
            free(malloc(1000));
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        wrong += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    return unused;
}

static int storm(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, start_others, NULL);
    leak_here(100);
    scrub();
    wait_for_end();
    over = true;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    printf("wrong %u\n", wrong);
    return 0;
}

/* ---- again ---- */

/* Two scans cannot tell three blocks from what registers hold: that is how it is searched while the
 * last program's helper lets go. */
static void *search_on(void *unused) {
    struct memprof_leaks leaks;
    for (;;) {
        if (memprof_leaks(&leaks) == 0)
            wrong += leaks.leaked_objects != (leaks.world == 3 ? 0 : 3);
    }
    return unused;
}

static int become(char **argv, int count) {
    char number[16];
    snprintf(number, sizeof number, "%d", count);
    execl("/proc/self/exe", argv[0], argv[1], number, (char *)NULL);
    return 1;
}

static int renew(char **argv) {
    int count = atoi(argv[2]);
    struct pollfd input = {.events = POLLIN};
    leak_here(1);
    if (count == 0)
        puts("ready");
    fflush(stdout);
    if (poll(&input, 1, 0) == 0)
        return become(argv, count + 1);
    puts("end");
    return 0;
}

static int leave(void) {
    free(malloc(100));
    wait_for_end();
    execle("/bin/sleep", "sleep", "60", (char *)NULL, (char *[]){NULL});
    return 1;
}

static int begin_again(char **argv) {
    pthread_t searcher, others[4];
    int count = atoi(argv[2]);
    leak_here(3);
    scrub();
    if (count == 0) {
        puts("end");
        return 0;
    }
    for (int i = 0; i < 4; i++)
        pthread_create(&others[i], NULL, serve, NULL);
    pthread_create(&searcher, NULL, search_on, NULL);
    struct timespec while_it_searches = {0, count % 40 * 1000000l};
    nanosleep(&while_it_searches, NULL);
    if (wrong) {
        puts("wrong");
        return 1;
    }
    return become(argv, count - 1);
}

/* ---- a debugger ---- */

static int trace(const char *pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *list = opendir(path);
    struct dirent *entry;
    while (list && (entry = readdir(list))) {
        if (entry->d_name[0] != '.' && ptrace(PTRACE_SEIZE, atoi(entry->d_name), 0, 0) != 0)
            perror("seize");
    }
    puts("ready");
    fflush(stdout);
    /* What the program's threads receive is passed on, as a debugger does. */
    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL | WNOHANG);
        struct pollfd input = {.fd = 0, .events = POLLIN};
        if (thread > 0 && WIFSTOPPED(status))
            ptrace(PTRACE_CONT, thread, 0, status >> 16 ? 0 : WSTOPSIG(status));
        else if (poll(&input, 1, 1) != 0)
            return 0;
    }
}

/* ---- confined ---- */

static int confine(void) {
    static const int allowed[] = {SYS_mmap,     SYS_munmap, SYS_mremap,     SYS_madvise,
                                  SYS_mprotect, SYS_futex,  SYS_exit_group, SYS_exit,
                                  SYS_brk,      SYS_fstat,  SYS_newfstatat, SYS_write};
    struct sock_filter code[2 * sizeof allowed / sizeof *allowed + 2];
    size_t used = 0;
    code[used++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        code[used++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
        code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    const struct sock_fprog program = {(unsigned short)used, code};
    leak_here(3);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return 9;
    for (int i = 0; i < 100000; i++)
        free(malloc(100));
    return 5;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "exit") == 0 && argc > 2) {
        leak_here(3);
        scrub();
        printf("unwritten");
        return atoi(argv[2]);
    }
    if (strcmp(what, "calls") == 0)
        return call_all();
    if (strcmp(what, "serve") == 0)
        return serve_all(argc > 2 ? argv[2] : "0");
    if (strcmp(what, "storm") == 0)
        return storm();
    if (strcmp(what, "again") == 0 && argc > 2)
        return begin_again(argv);
    if (strcmp(what, "renew") == 0 && argc > 2)
        return renew(argv);
    if (strcmp(what, "leave") == 0)
        return leave();
    if (strcmp(what, "traced") == 0 && argc > 2)
        return trace(argv[2]);
    if (strcmp(what, "confined") == 0)
        return confine();
    fputs("usage: see the head of checked.c\n", stderr);
    return 2;
}
