/*
 * execve(2), exec(3), fexecve(3): each of the nine passes arguments, environment and errors on as
 * libc's does, from the process itself, a child of fork and one of vfork. And what the library does
 * about its signal: caught as before when a call fails; ignored in a program that is executed
 * without it; caught by one that is executed with it.
 */
#include "common.h"

#include <signal.h>
#include <sys/stat.h>

#define REQUEST 62

extern char **environ;
static char *own_path;

static const char *const names[] = {
    "execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "execveat", "fexecve",
};

static bool takes_environment(size_t which) {
    return strcmp(names[which], "execve") == 0 || strcmp(names[which], "execvpe") == 0 ||
           strcmp(names[which], "execle") == 0 || strcmp(names[which], "execveat") == 0 ||
           strcmp(names[which], "fexecve") == 0;
}

/* `environment`: for those that take one. Returns only if it fails. */
static int call(size_t which, const char *path, char *const environment[]) {
    static char said[] = "said", one[] = "one", two[] = "two words", none[] = "";
    char *const list[] = {said, one, two, none, NULL};
    switch (which) {
    case 0:
        return execve(path, list, environment);
    case 1:
        return execv(path, list);
    case 2:
        return execvp(path, list);
    case 3:
        return execvpe(path, list, environment);
    case 4:
        return execl(path, said, one, two, none, (char *)NULL);
    case 5:
        return execlp(path, said, one, two, none, (char *)NULL);
    case 6:
        return execle(path, said, one, two, none, (char *)NULL, environment);
    case 7:
        return execveat(AT_FDCWD, path, list, environment, 0);
    default: {
        int fd = open(path, O_RDONLY | O_CLOEXEC), result, error;
        if (fd < 0)
            return -1;
        result = fexecve(fd, list, environment);
        error = errno;
        close(fd);
        errno = error;
        return result;
    }
    }
}

static void *handler(void) {
    struct sigaction action;
    sigaction(REQUEST, NULL, &action);
    return (void *)(uintptr_t)action.sa_handler;
}

/* The program that is executed: 42 where all has arrived. */
static int said(int argc, char **argv) {
    if (argc != 4 || strcmp(argv[1], "one") != 0 || strcmp(argv[2], "two words") != 0 || *argv[3])
        return 1;
    if (!getenv("EXEC_WANTS") || strcmp(getenv("EXEC_WANTS"), getenv("EXEC_HAS")) != 0)
        return 2;
    bool caught = handler() != (void *)SIG_DFL && handler() != (void *)SIG_IGN;
    return caught == (getenv("MEMPROF_TEST_LIB") != NULL) ? 42 : 3;
}

/* The same environment, with another value. */
static char **other_environment(void) {
    static char *list[200], has[] = "EXEC_HAS=given";
    size_t count = 0;
    for (size_t i = 0; environ[i] && count < COUNT(list) - 2; i++) {
        if (strncmp(environ[i], "EXEC_HAS=", 9) != 0)
            list[count++] = environ[i];
    }
    list[count++] = has;
    return list;
}

static void child(size_t which, char **environment) {
    call(which, own_path, environment);
    _exit(99);
}

__attribute__((noinline)) static pid_t start_by_vfork(size_t which, char **environment) {
    pid_t pid = vfork();
    if (pid == 0)
        child(which, environment);
    return pid;
}

static void check_arrives(pid_t pid, const char *name, const char *how) {
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42,
          "%s in a child of %s: status %#x", name, how, (unsigned)status);
}

static void arrives(void) {
    for (size_t which = 0; which < COUNT(names); which++) {
        setenv("EXEC_HAS", "own", 1);
        setenv("EXEC_WANTS", takes_environment(which) ? "given" : "own", 1);
        char **environment = other_environment();
        pid_t pid = fork();
        if (pid == 0)
            child(which, environment);
        check_arrives(pid, names[which], "fork");
        check_arrives(start_by_vfork(which, environment), names[which], "vfork");
    }
}

static void fails(void) {
    void *before = handler();
    for (size_t which = 0; which < COUNT(names); which++) {
        errno = 0;
        CHECK(call(which, "/nowhere/none", environ) == -1 && errno == ENOENT, "%s: errno %d",
              names[which], errno);
        errno = 0;
        CHECK(call(which, "/", environ) == -1 && errno == EACCES, "%s of a folder: errno %d",
              names[which], errno);
        CHECK(handler() == before, "after %s the signal has another handler", names[which]);
    }
}

static void *fail_again_and_again(void *unused) {
    for (int i = 0; i < (t_full ? 100000 : 5000); i++)
        call((size_t)i % COUNT(names), "/", environ);
    return unused;
}

static void fails_in_threads(void) {
    void *before = handler();
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_create(&threads[i], NULL, fail_again_and_again, NULL);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK(handler() == before, "the signal has another handler");
}

/* By the PATH; and what is no program is the shell's. */
static void searches(void) {
    char script[] = "/tmp/exec.XXXXXX";
    int fd = mkstemp(script), status = 0;
    NEED(fd >= 0 && write(fd, "exit 43\n", 8) == 8 && fchmod(fd, 0700) == 0, "%s", script);
    close(fd);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PATH", "/nowhere:/tmp", 1);
        execlp(script + 5, script, (char *)NULL);
        _exit(99);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 43,
          "status %#x", (unsigned)status);
    unlink(script);
}

/* The shell says whether it ignores the signal. */
static void without_the_library(void) {
    char shell[] = "sh", option[] = "-c",
         text[] = "while read -r key value; do\n"
                  "    [ \"$key\" != SigIgn: ] || exit $(( 0x$value >> 61 & 1 ))\n"
                  "done </proc/self/status";
    char *const list[] = {shell, option, text, NULL}, *const nothing[] = {NULL};
    bool caught = handler() != (void *)SIG_DFL;
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        execve("/bin/sh", list, nothing);
        _exit(99);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == caught,
          "caught here: %d, status %#x", caught, (unsigned)status);
    CHECK(caught == (handler() != (void *)SIG_DFL), "a child of vfork has changed its parent");
}

int main(int argc, char **argv) {
    if (strcmp(argv[0], "said") == 0)
        return said(argc, argv);
    own_path = realpath("/proc/self/exe", NULL);
    t_init();
    RUN("exec: arguments and environment arrive, from children of fork and vfork", arrives);
    RUN("exec: a call that fails sets errno and leaves the signal as it was", fails);
    RUN("exec: so do calls of several threads", fails_in_threads);
    RUN("exec: the PATH is searched, and a script without a name is the shell's", searches);
    RUN("exec: without the library the signal is ignored", without_the_library);
    return t_done();
}
