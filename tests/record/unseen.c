/*
 * Dumps by memprof_dump(), and what the program must not notice of them: no child, no signal, no
 * descriptor, no errno. Where a dump cannot be written it says why, nothing is left of it, and the
 * next one works.
 *
 *     unseen              all cases; the dumps stay, for check.py
 *     unseen names        memprof_dump(NULL) from elsewhere, twice, and once in a child
 *     unseen after-exec   what is left of a dump under way for the next program
 */
#include "record.h"

#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "filter.h"

static char *in_child_reason; /* shared with children */
static _Atomic int *handled_elsewhere;
static pid_t mine;
static volatile sig_atomic_t children_ended, files_too_large;
static _Atomic bool looking; /* threads go on */
static _Atomic unsigned handled;

/* A heap whose copy takes a moment. */
static void *ballast[20000];

static void on_child(int number) {
    (void)number;
    children_ended++;
}

static void on_too_large(int number) {
    (void)number;
    files_too_large++;
}

static void on_group(int number) {
    (void)number;
    if (getpid() == mine)
        handled++;
    else
        ++*handled_elsewhere;
}

static void catch_signal(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

/* Runs `work` in a child that may spoil itself; its first failure is the case's. */
static void in_child(void (*work)(void)) {
    int status = 0;
    in_child_reason[0] = '\0';
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        mine = getpid();
        work();
        if (t_case_failed || t_case_skipped)
            snprintf(in_child_reason, sizeof(t_reason), "%s", t_reason);
        _exit(t_case_failed ? 1 : t_case_skipped ? 2 : 0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        SKIP("%s", in_child_reason);
    CHECK(status == 0, "%s (status %#x)", in_child_reason, status);
}

static void (*apart)(void);

static void run_apart(void) {
    in_child(apart);
}

#define RUN_APART(name, test) (apart = (test), t_run(name, run_apart))

/* ---- one dump ---- */

/* Of the descriptors below 128: which are open, on what, at which place. */
static uint64_t descriptors_now(void) {
    uint64_t sum = 0;
    for (int fd = 0; fd < 128; fd++) {
        struct stat info;
        if (fstat(fd, &info) == 0) {
            uint64_t one = (uint64_t)fd * 1000003 + info.st_ino * 31 + info.st_dev * 7 +
                           (uint64_t)fcntl(fd, F_GETFD) + (uint64_t)lseek(fd, 0, SEEK_CUR) * 13;
            sum += t_random(&one);
        }
    }
    return sum;
}

/* Temporaries in a folder; -1: it cannot be read. */
static int temporaries(const char *folder) {
    DIR *list = opendir(folder);
    int found = 0;
    for (struct dirent *entry; list && (entry = readdir(list));)
        found += strstr(entry->d_name, ".tmp") != NULL;
    if (list)
        closedir(list);
    return list ? found : -1;
}

static void no_child_is_seen(const char *what) {
    char state = ' ';
    siginfo_t info;
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "%s: waitpid(-1) knows a child",
          what);
    CHECK(waitpid(0, NULL, WNOHANG) == -1 && errno == ECHILD, "%s: waitpid(0) knows a child", what);
    CHECK(wait4(-1, NULL, WNOHANG | WUNTRACED | WCONTINUED, NULL) == -1 && errno == ECHILD,
          "%s: wait4 knows a child", what);
    CHECK(waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) == -1 && errno == ECHILD,
          "%s: waitid knows a child", what);
    pid_t child = r_child_of(getpid(), &state);
    CHECK(child == 0, "%s: process %d is left in state %c", what, (int)child, state);
}

static void dump_works(const char *path, const char *what) {
    struct stat info;
    uint64_t descriptors = descriptors_now();
    errno = 4711;
    int result = memprof_dump(path);
    int error = errno;
    NEED(result == 0, "%s: memprof_dump gives %d: %s", what, result, strerror(error));
    CHECK(error == 4711, "%s: errno is %d", what, error);
    CHECK(descriptors == descriptors_now(), "%s: descriptors differ", what);
    CHECK(stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 1000,
          "%s: %s is not there", what, path);
    CHECK((info.st_mode & 07777) == 0600, "%s: mode %o", what, (unsigned)info.st_mode & 07777);
}

static void dump_fails(const char *path, int wanted, const char *what) {
    uint64_t descriptors = descriptors_now();
    int before = temporaries(".");
    errno = 0;
    int result = memprof_dump(path);
    int error = errno;
    CHECK(result == -1 && error == wanted, "%s: memprof_dump gives %d with %s, not %s", what,
          result, strerror(error), strerror(wanted));
    CHECK(descriptors == descriptors_now(), "%s: descriptors differ", what);
    CHECK(temporaries(".") == before, "%s: a temporary file is left", what);
}

static void and_the_next_works(void) {
    dump_works("next.heap", "the next dump");
}

/* ---- children and signals ---- */

static void nobody_sees_the_copy(void) {
    const struct {
        void (*handler)(int);
        int flags;
        const char *what;
    } kinds[] = {{on_child, 0, "with a handler"},
                 {on_child, SA_NOCLDWAIT | SA_RESTART, "with a handler and SA_NOCLDWAIT"},
                 {SIG_IGN, 0, "with SIGCHLD ignored"},
                 {SIG_DFL, SA_NOCLDWAIT, "with SA_NOCLDWAIT"},
                 {SIG_DFL, SA_NOCLDSTOP, "with SIGCHLD as it is"}};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        catch_signal(SIGCHLD, kinds[i].handler, kinds[i].flags);
        children_ended = 0;
        dump_works("unseen.heap", kinds[i].what);
        no_child_is_seen(kinds[i].what);
        CHECK(children_ended == 0, "%s: %d times SIGCHLD", kinds[i].what, (int)children_ended);
    }
    catch_signal(SIGCHLD, SIG_DFL, 0);
}

static _Atomic unsigned copies_seen;

static void *look(void *unused) {
    while (looking) {
        char state = ' ';
        siginfo_t info;
        if (r_child_of(mine, &state))
            copies_seen++;
        CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "waitpid knows the copy");
        CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1 && errno == ECHILD,
              "waitid knows the copy");
    }
    return unused;
}

static void nobody_sees_it_while_it_writes(void) {
    pthread_t thread;
    catch_signal(SIGCHLD, on_child, 0);
    children_ended = 0;
    looking = true;
    copies_seen = 0;
    NEED(pthread_create(&thread, NULL, look, NULL) == 0, "no thread");
    for (int i = 0; i < 300 && copies_seen < 3; i++)
        CHECK(memprof_dump("looked-at.heap") == 0, "no dump: %s", strerror(errno));
    looking = false;
    pthread_join(thread, NULL);
    CHECK(copies_seen > 0, "no copy was ever looked at");
    CHECK(children_ended == 0, "%d times SIGCHLD", (int)children_ended);
    catch_signal(SIGCHLD, SIG_DFL, 0);
    no_child_is_seen("at the end");
}

struct waiter {
    int kind;
    _Atomic pid_t got;
    int status;
};

static void *wait_for_any(void *argument) {
    struct waiter *waiter = argument;
    siginfo_t info;
    pid_t got = 0;
    int status = 0;
    memset(&info, 0, sizeof(info));
    switch (waiter->kind) {
    case 0:
        got = waitpid(-1, &status, 0);
        break;
    case 1:
        got = wait(&status);
        break;
    case 2:
        got = wait4(-1, &status, WUNTRACED | WCONTINUED, NULL);
        break;
    case 3:
        got = waitid(P_ALL, 0, &info, WEXITED) == 0 ? info.si_pid : -1;
        status = info.si_status << 8;
        break;
    default:
        got = waitpid(0, &status, 0);
    }
    waiter->status = status;
    waiter->got = got ? got : -2;
    return NULL;
}

static void a_blocking_wait_gets_its_own_child(void) {
    for (int kind = 0; kind < 5; kind++) {
        struct waiter waiter = {.kind = kind};
        int ends[2];
        char byte;
        pthread_t thread;
        NEED(pipe(ends) == 0, "pipe: %s", strerror(errno));
        pid_t child = fork();
        if (child == 0) {
            close(ends[1]);
            ssize_t n = read(ends[0], &byte, 1);
            _exit(n == 0 ? 7 : 8);
        }
        close(ends[0]);
        NEED(child > 0 && pthread_create(&thread, NULL, wait_for_any, &waiter) == 0, "no child");
        r_sleep_ms(5);
        for (int i = 0; i < 3; i++)
            dump_works("waited.heap", "while a thread waits");
        CHECK(waiter.got == 0, "wait %d ended with %d before the child did", kind, (int)waiter.got);
        close(ends[1]); /* the copies hold no end of it */
        pthread_join(thread, NULL);
        CHECK(waiter.got == child && WIFEXITED(waiter.status) && WEXITSTATUS(waiter.status) == 7,
              "wait %d gives %d with %#x, not %d", kind, (int)waiter.got, waiter.status,
              (int)child);
        no_child_is_seen("then");
    }
}

static void signals_stay_as_they_are(void) {
    struct sigaction before[65], after;
    stack_t stack = {.ss_size = 65536, .ss_sp = malloc(65536)}, stack_after;
    sigset_t set, mask_before, mask_after, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    NEED(sigaltstack(&stack, NULL) == 0, "sigaltstack: %s", strerror(errno));
    for (int i = 1; i <= 64; i++)
        sigaction(i, NULL, &before[i]);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    for (int i = 0; i < 4; i++) {
        if (i & 1)
            dump_fails("no/such/folder.heap", ENOENT, "a missing folder");
        else
            dump_works("signals.heap", "with signals blocked");
        memset(&mask_after, 0, sizeof(mask_after));
        pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
        for (int n = 1; n <= 64; n++)
            CHECK(sigismember(&mask_before, n) == sigismember(&mask_after, n),
                  "signal %d is blocked otherwise than before", n);
        for (int n = 1; n <= 64; n++) {
            if (sigaction(n, NULL, &after) != 0)
                continue; /* libc's own */
            CHECK(after.sa_handler == before[n].sa_handler && after.sa_flags == before[n].sa_flags,
                  "the handler of signal %d is another", n);
        }
        sigaltstack(NULL, &stack_after);
        CHECK(stack_after.ss_sp == stack.ss_sp && stack_after.ss_size == stack.ss_size &&
                  !stack_after.ss_flags,
              "the alternate stack is another");
        sigpending(&pending);
        CHECK(sigismember(&pending, SIGUSR1) == 1, "a pending signal is lost");
    }
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    free(stack_after.ss_sp);
    catch_signal(SIGUSR1, SIG_IGN, 0);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void *signal_all(void *unused) {
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    while (looking) {
        kill(0, SIGUSR2);
        usleep(200);
    }
    return unused;
}

/* The copy is of the program's process group. */
static void signals_are_handled_here_alone(void) {
    pthread_t thread;
    setpgid(0, 0);
    catch_signal(SIGUSR2, on_group, 0); /* no SA_RESTART */
    looking = true;
    NEED(pthread_create(&thread, NULL, signal_all, NULL) == 0, "no thread");
    for (int i = 0; i < 20; i++)
        dump_works("group.heap", "while signals come");
    looking = false;
    pthread_join(thread, NULL);
    CHECK(handled > 5, "the handler ran %u times", (unsigned)handled);
    CHECK(*handled_elsewhere == 0, "the handler ran %d times in a copy", *handled_elsewhere);
    no_child_is_seen("then");
}

/* ---- descriptors and the file ---- */

static void use_up_descriptors(void) {
    struct rlimit limit = {48, 48};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit: %s", strerror(errno));
    while (open("/dev/null", O_RDWR) >= 0)
        ;
    NEED(errno == EMFILE, "open: %s", strerror(errno));
    dump_works("no-descriptors.heap", "with no descriptor left");
    dump_works("no-descriptors.heap", "once more");
    no_child_is_seen("then");
}

static void standard_descriptors_are_closed(void) {
    struct stat info;
    close(0), close(1), close(2);
    dump_works("closed.heap", "with 0, 1 and 2 closed");
    for (int fd = 0; fd < 3; fd++)
        CHECK(fcntl(fd, F_GETFD) == -1, "%d is open", fd);
    for (int fd = 0; fd < 3; fd++)
        CHECK(open("untouched", O_RDWR | O_CREAT | O_APPEND, 0600) == fd, "another descriptor");
    dump_works("closed.heap", "with files at 0, 1 and 2");
    CHECK(memprof_dump("no/such/folder.heap") == -1, "there is no such folder");
    CHECK(fstat(0, &info) == 0 && info.st_size == 0, "something is written to 0, 1 or 2");
}

static void any_umask(void) {
    const mode_t masks[] = {0, 022, 077, 0177, 0400, 0777};
    for (size_t i = 0; i < COUNT(masks); i++) {
        char what[32];
        snprintf(what, sizeof(what), "umask %o", (unsigned)masks[i]);
        umask(masks[i]);
        dump_works("umask.heap", what);
        mode_t after = umask(022);
        CHECK(after == masks[i], "umask is %o, not %o", (unsigned)after, (unsigned)masks[i]);
    }
}

static void a_file_there_is_replaced(void) {
    struct stat old, now;
    char text[64];
    int fd = open("old.heap", O_RDWR | O_CREAT | O_TRUNC, 0644);
    NEED(fd >= 0 && write(fd, "old", 3) == 3, "old.heap: %s", strerror(errno));
    NEED(symlink("old.heap", "link.heap") == 0, "symlink: %s", strerror(errno));
    dump_works("link.heap", "where a link to a file is");
    CHECK(lstat("link.heap", &now) == 0 && S_ISREG(now.st_mode), "the link is still one");
    CHECK(t_proc_read("old.heap", text, sizeof(text)) == 3, "what the link led to is written to");
    fstat(fd, &old);
    dump_works("old.heap", "where a file is");
    CHECK(stat("old.heap", &now) == 0 && now.st_ino != old.st_ino, "the file is written over");
    CHECK(pread(fd, text, sizeof(text), 0) == 3, "who had it open sees another file");
    close(fd);
}

/* ---- where it cannot be ---- */

static void no_place_for_it(void) {
    char longer[5000], segment[400];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    memset(segment, 'x', sizeof(segment));
    segment[sizeof(segment) - 1] = '\0';
    mkdir("folder.heap", 0700);
    close(open("a-file", O_RDWR | O_CREAT, 0600));
    dump_fails("no/such/folder.heap", ENOENT, "a missing folder");
    dump_fails("", ENOENT, "no name");
    dump_fails("folder.heap", EISDIR, "a folder");
    CHECK(rmdir("folder.heap") == 0, "something is in the folder, or it is gone");
    dump_fails("a-file/x.heap", ENOTDIR, "a file as a folder");
    dump_fails(segment, ENAMETOOLONG, "a long name");
    dump_fails(longer, ENAMETOOLONG, "a long path");
    no_child_is_seen("then");
    and_the_next_works();
}

/* Devices above all: a service that runs as root would lose /dev/null. */
static void what_is_no_file_is_let_be(void) {
    struct stat now;
    NEED(mkfifo("fifo", 0600) == 0, "mkfifo: %s", strerror(errno));
    NEED(symlink("fifo", "to-fifo") == 0 && symlink("/dev/null", "to-null") == 0 &&
             symlink("/proc/self/fd/1", "to-output") == 0,
         "symlink: %s", strerror(errno));
    dump_fails("fifo", EEXIST, "a pipe");
    CHECK(lstat("fifo", &now) == 0 && S_ISFIFO(now.st_mode), "the pipe is replaced");
    const char *const links[] = {"to-fifo", "to-null", "to-output"};
    for (size_t i = 0; i < COUNT(links); i++) {
        dump_fails(links[i], EEXIST, links[i]);
        CHECK(lstat(links[i], &now) == 0 && S_ISLNK(now.st_mode), "%s is replaced", links[i]);
    }
    if (geteuid() == 0 && mknod("null", S_IFCHR | 0600, makedev(1, 3)) == 0) {
        dump_fails("null", EEXIST, "a device");
        CHECK(lstat("null", &now) == 0 && S_ISCHR(now.st_mode), "the device is replaced");
    }
    and_the_next_works();
}

static void files_may_not_be_so_large(void) {
    struct rlimit before, limit;
    struct stat old, now;
    void *volatile sample = malloc((size_t)64 << 20); /* the black box is there before the limit */
    free(sample);
    dump_works("limited.heap", "before");
    NEED(stat("limited.heap", &old) == 0 && getrlimit(RLIMIT_FSIZE, &before) == 0, "no dump");
    for (rlim_t size = 0; size <= 8192; size += 4096) {
        limit = (struct rlimit){size, before.rlim_max};
        NEED(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit: %s", strerror(errno));
        catch_signal(SIGXFSZ, size ? on_too_large : SIG_DFL, 0);
        dump_fails("limited.heap", EFBIG, "RLIMIT_FSIZE");
    }
    CHECK(files_too_large == 0, "the program got SIGXFSZ");
    CHECK(stat("limited.heap", &now) == 0 && now.st_ino == old.st_ino && now.st_size == old.st_size,
          "the dump before is not what it was");
    setrlimit(RLIMIT_FSIZE, &before);
    dump_works("limited.heap", "after");
}

static void be_nobody(void) {
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 ||
                           setresuid(65534, 65534, 65534) != 0))
        SKIP("cannot become another user: %s", strerror(errno));
}

static void folder_is_read_only(void) {
    NEED(mkdir("mine", 0755) == 0 && mkdir("ours", 0777) == 0 && chmod("ours", 0777) == 0,
         "mkdir: %s", strerror(errno));
    if (geteuid() != 0)
        chmod("mine", 0500);
    be_nobody();
    dump_fails("mine/x.heap", EACCES, "a folder that is not to be written to");
    CHECK(temporaries("mine") == 0, "something is left there");
    dump_works("ours/nobody.heap", "with rights given up");
}

static void disk_is_full(void) {
    struct stat now;
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        SKIP("mounts are not permitted: %s", strerror(errno));
    mkdir("disk", 0700);
    if (mount("none", "disk", "tmpfs", 0, "size=4k") != 0)
        SKIP("no tmpfs: %s", strerror(errno));
    dump_fails("disk/full.heap", ENOSPC, "a full disk");
    CHECK(temporaries("disk") == 0, "a temporary is left on the full disk");
    CHECK(stat("disk/full.heap", &now) != 0, "half a dump is there");
    NEED(mount("none", "disk", "tmpfs", MS_REMOUNT, "size=16m") == 0, "remount: %s",
         strerror(errno));
    dump_works("disk/full.heap", "a disk with room");
    NEED(mount("none", "disk", "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0, "remount: %s",
         strerror(errno));
    dump_fails("disk/read-only.heap", EROFS, "a read-only disk");
    umount("disk");
    if (mount("none", "disk", "tmpfs", 0, "nr_inodes=1") == 0)
        dump_fails("disk/x.heap", ENOSPC, "a disk without inodes");
    and_the_next_works();
}

static void forbidden(const char *what, int wanted, const int *calls, size_t count) {
    void *blocks[100];
    if (!filter_forbid(calls, count))
        SKIP("no seccomp: %s", strerror(errno));
    if (wanted)
        dump_fails("forbidden.heap", wanted, what);
    else
        dump_works("filtered.heap", what);
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = malloc(i * 1000 + 1);
        CHECK(blocks[i], "no memory");
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

static void no_clone(void) {
    const int calls[] = {SYS_clone};
    forbidden("no clone", EPERM, calls, COUNT(calls));
}

static void no_open(void) {
    const int calls[] = {SYS_openat};
    int before = temporaries(".");
    if (!filter_forbid(calls, COUNT(calls)))
        SKIP("no seccomp: %s", strerror(errno));
    errno = 0;
    CHECK(memprof_dump("forbidden.heap") == -1 && errno == EPERM, "%s", strerror(errno));
    CHECK(before >= 0, "no folder");
}

static void no_rename(void) {
    const int calls[] = {SYS_renameat2};
    forbidden("no rename", EPERM, calls, COUNT(calls));
}

static void no_niceties(void) {
    const int calls[] = {SYS_close_range, SYS_prlimit64, SYS_sched_setscheduler, SYS_umask};
    int ends[2];
    NEED(pipe(ends) == 0, "pipe: %s", strerror(errno));
    forbidden("none of what a copy does first", 0, calls, COUNT(calls));
}

/* ---- what else may happen to the copy ---- */

/* As the kernel's OOM killer might do: in the copy alone, which alone renames. */
static void the_copy_is_killed(void) {
    const int calls[] = {SYS_renameat2};
    struct stat now;
    if (!filter_calls(calls, COUNT(calls), SECCOMP_RET_KILL_PROCESS))
        SKIP("no seccomp: %s", strerror(errno));
    errno = 0;
    CHECK(memprof_dump("killed.heap") == -1 && errno == EIO, "%s", strerror(errno));
    CHECK(stat("killed.heap", &now) != 0, "half a dump has the name");
    no_child_is_seen("then");
}

static void *dump_on(void *unused) {
    while (looking)
        memprof_dump("before-exec.heap");
    return unused;
}

static void exec_while_a_copy_writes(void) {
    pthread_t thread;
    char state = ' ';
    looking = true;
    NEED(pthread_create(&thread, NULL, dump_on, NULL) == 0, "no thread");
    for (double end = r_seconds() + 20; !r_child_of(mine, &state) && r_seconds() < end;)
        ;
    execl("/proc/self/exe", "unseen", "after-exec", (char *)NULL);
    t_fail("exec: %s", strerror(errno));
}

static int after_exec(void) {
    r_sleep_ms(300);
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        return 21;
    return memprof_dump("after-exec.heap") == 0 ? 0 : 22;
}

/* ---- */

static int names(void) {
    char here[PATH_MAX];
    pid_t child;
    if (!getcwd(here, sizeof(here)) || chdir("/") != 0)
        return 1;
    if (memprof_dump(NULL) != 0 || memprof_dump(NULL) != 0)
        return 2;
    child = fork();
    if (child == 0)
        _exit(memprof_dump(NULL) == 0 ? 0 : 3);
    int status = 0;
    waitpid(child, &status, 0);
    printf("%d %d\n", (int)getpid(), (int)child);
    return status ? 3 : 0;
}

int main(int argc, char **argv) {
    t_init();
    r_watchdog(100);
    mine = getpid();
    if (argc > 1)
        return strcmp(argv[1], "names") == 0 ? names() : after_exec();
    in_child_reason = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    handled_elsewhere = (_Atomic int *)(void *)(in_child_reason + 4096);
    for (size_t i = 0; i < COUNT(ballast); i++)
        ballast[i] = calloc(1, 100 + i % 400);
    RUN("no wait, no signal and no look at /proc shows a dump's copy", nobody_sees_the_copy);
    RUN("nor do they while it writes", nobody_sees_it_while_it_writes);
    RUN("a wait for any child gets the program's own", a_blocking_wait_gets_its_own_child);
    RUN("masks, handlers, pending signals and alternate stacks stay", signals_stay_as_they_are);
    RUN_APART("signals meanwhile are handled, and never in the copy",
              signals_are_handled_here_alone);
    RUN_APART("a dump needs no free descriptor", use_up_descriptors);
    RUN_APART("with 0, 1 and 2 closed nothing is written there", standard_descriptors_are_closed);
    RUN_APART("the file has mode 0600, whatever the umask", any_umask);
    RUN("a file of that name is replaced, a link too", a_file_there_is_replaced);
    RUN("where no file can be errno says why", no_place_for_it);
    RUN_APART("what is no regular file is let be", what_is_no_file_is_let_be);
    RUN_APART("RLIMIT_FSIZE is an error and no SIGXFSZ", files_may_not_be_so_large);
    RUN_APART("a folder of somebody else's is an error", folder_is_read_only);
    RUN_APART("a disk full or read-only is an error, and nothing is left there", disk_is_full);
    RUN_APART("where clone is forbidden there is no dump", no_clone);
    RUN_APART("where openat is forbidden there is no dump", no_open);
    RUN_APART("where renameat2 is forbidden there is no dump", no_rename);
    RUN_APART("where what a copy does first is forbidden there is one", no_niceties);
    RUN_APART("a copy that is killed is an error", the_copy_is_killed);
    RUN("and the next dump works", and_the_next_works);
    RUN_APART("a program may exec while its dump is written", exec_while_a_copy_writes);
    for (size_t i = 0; i < COUNT(ballast); i++)
        free(ballast[i]);
    return t_done();
}
