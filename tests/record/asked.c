/*
 * A process that `memprof dump` asks, in one of many conditions. It says "ready PID", does what its
 * mode says until its input ends, and then prints its cases: what it saw of the requests.
 *
 *     asked MODE
 *     asked signal PID    sends what the command sends, and no request
 */
#include "record.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include "filter.h"

enum { REQUEST = 62, VALUE = 0x6d70 };

static volatile sig_atomic_t children_ended, own_signals;
static _Atomic bool stop;
static void *kept[5000];

static void on_child(int number) {
    (void)number;
    children_ended++;
}

static void on_own(int number) {
    (void)number;
    own_signals++;
}

static void catch_signal(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

static void block(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, REQUEST);
    pthread_sigmask(how, &set, NULL);
}

static void ready(void) {
    printf("ready %d\n", (int)getpid());
}

/* Until the input ends. Its errno, 0 if it went well. */
static int read_on(void) {
    char bytes[64];
    ssize_t n;
    while ((n = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0)
        ;
    return n == 0 ? 0 : errno;
}

/* ---- what it sees ---- */

static char descriptors_before[4096];
static struct sigaction actions_before[65];
static sigset_t mask_before;
static mode_t umask_before;
static int read_error;

static void remember(void) {
    r_descriptors(descriptors_before, sizeof(descriptors_before));
    for (int i = 1; i <= 64; i++)
        sigaction(i, NULL, &actions_before[i]);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    umask_before = umask(027);
    umask(umask_before);
}

static void no_child(void) {
    char state = ' ';
    pid_t child = 0;
    siginfo_t info;
    CHECK(children_ended == 0, "%d times SIGCHLD", (int)children_ended);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "waitpid knows a child");
    CHECK(wait4(-1, NULL, WNOHANG, NULL) == -1 && errno == ECHILD, "wait4 knows a child");
    CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == -1 && errno == ECHILD,
          "waitid knows a child");
    /* The command's second signal is on its way when the command ends. */
    for (int i = 0; i < 100 && (child = r_child_of(getpid(), &state)) != 0; i++)
        r_sleep_ms(10);
    CHECK(child == 0, "process %d is left in state %c", (int)child, state);
}

static void as_before(void) {
    static char descriptors[4096];
    struct sigaction action;
    sigset_t mask;
    r_descriptors(descriptors, sizeof(descriptors));
    CHECK(strcmp(descriptors, descriptors_before) == 0, "descriptors %s, before %s", descriptors,
          descriptors_before);
    for (int i = 1; i <= 64; i++)
        CHECK(sigaction(i, NULL, &action) != 0 ||
                  (action.sa_handler == actions_before[i].sa_handler &&
                   action.sa_flags == actions_before[i].sa_flags),
              "the handler of signal %d is another", i);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i <= 64; i++)
        CHECK(sigismember(&mask, i) == sigismember(&mask_before, i),
              "signal %d is blocked otherwise than before", i);
    mode_t after = umask(umask_before);
    CHECK(after == umask_before, "the umask is %o", (unsigned)after);
}

static void read_goes_on(void) {
    CHECK(read_error == 0, "read: %s", strerror(read_error));
}

static void see(void) {
    RUN("the process sees no child and no SIGCHLD", no_child);
    RUN("its descriptors, handlers, mask and umask stay", as_before);
    RUN("a read that it is in goes on", read_goes_on);
}

static void watch(void (*handler)(int), int flags) {
    catch_signal(SIGCHLD, handler, flags);
    remember();
    ready();
    read_error = read_on();
    see();
}

/* ---- modes ---- */

static void errno_stays(void) {
    errno = 4711;
    for (unsigned long n = 0; !stop; n++)
        CHECK(errno == 4711, "errno became %d", errno);
}

static void *spin(void *unused) {
    RUN("a request leaves errno of the thread that it interrupts", errno_stays);
    return unused;
}

/* Alone in not blocking the signal; where its stack is small. */
static void *read_in_thread(void *own_stack) {
    stack_t stack = {.ss_sp = own_stack, .ss_size = 8192};
    if (own_stack)
        sigaltstack(&stack, NULL);
    ready();
    read_error = read_on();
    return NULL;
}

static void in_thread(void *(*work)(void *), void *argument, size_t stack_size) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (stack_size)
        pthread_attr_setstacksize(&attributes, stack_size);
    if (pthread_create(&thread, &attributes, work, argument) != 0)
        abort();
    block(SIG_BLOCK);
    if (work == spin) {
        ready();
        read_error = read_on();
        stop = true;
    }
    pthread_join(thread, NULL);
    RUN("a read that it is in goes on", read_goes_on);
}

static pid_t own_child, waited;
static int waited_status;

static void got_its_own(void) {
    CHECK(waited == own_child && WIFEXITED(waited_status) && WEXITSTATUS(waited_status) == 7,
          "waitpid gives %d with %#x, not %d", (int)waited, (unsigned)waited_status,
          (int)own_child);
}

static void wait_for_child(void) {
    own_child = fork();
    if (own_child == 0)
        _exit(read_on() ? 8 : 7);
    remember();
    ready();
    waited = waitpid(-1, &waited_status, 0);
    RUN("a wait for any child gets the process's own", got_its_own);
    RUN("its descriptors, handlers, mask and umask stay", as_before);
    RUN("the process sees no child and no SIGCHLD", no_child);
}

static void own_handler_ran(void) {
    CHECK(own_signals >= 1, "%d times", (int)own_signals);
}

static void use_up_descriptors(void) {
    struct rlimit limit = {64, 64};
    int fds[64], n = 0;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (n < 64 && (fds[n] = open("/dev/null", O_RDWR)) >= 0)
        n++;
    ready();
    read_error = read_on();
    while (n > 0)
        close(fds[--n]);
}

/* As soon as there is a copy it is another program, to which the signal is deadly. On a busy
 * machine the copy may come and go unseen: then its dump is there. */
static void become_another(void) {
    char state = ' ';
    char *const nothing[] = {NULL};
    ready();
    while (!r_child_of(getpid(), &state) && access("exec.heap", F_OK) != 0)
        ;
    execle("/bin/cat", "cat", (char *)NULL, nothing);
    abort();
}

static void without(int call) {
    filter_forbid(&call, 1);
    remember();
    ready();
    read_error = read_on();
    see();
}

/* ---- in the middle of this or that ---- */

static void in_fork(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
}

/* The request comes while a fork is under way, and at no other time. Handlers that are there before
 * all constructors run are the last before the fork, behind the library's. */
static bool only_in_fork;

static void let_in(void) {
    if (only_in_fork) {
        block(SIG_UNBLOCK);
        block(SIG_BLOCK);
    }
}

static void register_first(void) {
    pthread_atfork(let_in, NULL, NULL);
}
__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = register_first;

static void inside_fork(void) {
    block(SIG_BLOCK);
    only_in_fork = true;
    in_fork();
}

static void in_vfork(void) {
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
}

static void in_system(void) {
    CHECK(system("exit 3") >> 8 == 3, "system");
}

static char *large;

static void in_usable_size(void) {
    CHECK(malloc_usable_size(large) >= 64 * MIB, "malloc_usable_size");
}

static void in_realloc(void) {
    static size_t more;
    large = realloc(large, 64 * MIB + (more = 8192 - more));
}

static void in_malloc(void) {
    free(malloc(3000 + (size_t)(uintptr_t)large % 7));
    free(malloc(300 * KIB));
}

static void in_mallinfo(void) {
    CHECK(mallinfo2().uordblks > 0, "mallinfo2");
}

static void in_trim(void) {
    malloc_trim(0);
}

static void *do_nothing(void *unused) {
    return unused;
}

static void in_threads(void) {
    t_in_thread(do_nothing, NULL);
}

static const struct {
    const char *name;
    void (*work)(void);
} works[] = {{"fork", in_fork},
             {"fork-alone", inside_fork},
             {"vfork", in_vfork},
             {"system", in_system},
             {"malloc_usable_size", in_usable_size},
             {"realloc", in_realloc},
             {"malloc", in_malloc},
             {"mallinfo2", in_mallinfo},
             {"malloc_trim", in_trim},
             {"pthread_create", in_threads}};

static void (*busy_with)(void);

static void busy(void) {
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    char byte;
    ready();
    while (read(STDIN_FILENO, &byte, 1) != 0) {
        for (double end = r_seconds() + 0.02; r_seconds() < end;)
            busy_with();
    }
}

static void goes_on(void) {
    for (size_t i = 0; i < COUNT(kept); i++)
        free(kept[i]);
    CHECK(read_error == 0, "read: %s", strerror(read_error));
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    t_init();
    r_watchdog(110);
    if (strcmp(mode, "signal") == 0)
        return sigqueue(atoi(argv[2]), REQUEST, (union sigval){.sival_int = VALUE}) != 0;
    for (size_t i = 0; i < COUNT(kept); i++)
        kept[i] = calloc(1, 10 + i % 1000);
    if (strcmp(mode, "handler") == 0) {
        watch(on_child, SA_RESTART);
    } else if (strcmp(mode, "ignore") == 0) {
        watch(SIG_IGN, 0);
    } else if (strcmp(mode, "nocldwait") == 0) {
        watch(on_child, SA_RESTART | SA_NOCLDWAIT);
    } else if (strcmp(mode, "wait") == 0) {
        wait_for_child();
    } else if (strcmp(mode, "spin") == 0) {
        in_thread(spin, NULL, 0);
    } else if (strcmp(mode, "small-stack") == 0) {
        in_thread(read_in_thread, NULL, (size_t)sysconf(_SC_THREAD_STACK_MIN));
    } else if (strcmp(mode, "own-stack") == 0) {
        char *map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(map, 4096, PROT_NONE);
        in_thread(read_in_thread, map + 4096, 0);
    } else if (strcmp(mode, "own-handler") == 0) {
        catch_signal(REQUEST, on_own, SA_RESTART);
        ready();
        read_error = read_on();
        RUN("a handler of the program's own is called", own_handler_ran);
    } else if (strcmp(mode, "default") == 0) {
        catch_signal(REQUEST, SIG_DFL, 0);
        ready();
        read_error = read_on();
    } else if (strcmp(mode, "blocked") == 0) {
        block(SIG_BLOCK);
        ready();
        read_error = read_on();
    } else if (strcmp(mode, "descriptors") == 0) {
        use_up_descriptors();
    } else if (strcmp(mode, "exec") == 0) {
        become_another();
    } else if (strcmp(mode, "no-open") == 0) {
        without(SYS_openat);
    } else if (strcmp(mode, "no-clone") == 0) {
        without(SYS_clone);
    } else if (strcmp(mode, "effective") == 0) {
        if (setresgid((gid_t)-1, 64123, (gid_t)-1) != 0 || setresuid((uid_t)-1, 64123, 0) != 0)
            return 3;
        ready();
        read_error = read_on();
    } else {
        for (size_t i = 0; i < COUNT(works); i++)
            if (strcmp(mode, works[i].name) == 0)
                busy_with = works[i].work;
        if (!busy_with)
            return 2;
        large = malloc(64 * MIB);
        RUN("what it does meanwhile goes well", busy);
        free(large);
    }
    RUN("the process goes on to its end", goes_on);
    return t_done();
}
