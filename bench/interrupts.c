/* Preloaded into a measured service: counts, for each function that it calls, how often that
 * returned with EINTR, and each signal that comes and that the service has no handler of its own
 * for. The counts are in the file that INTERRUPTS names, one entry a function or signal, which all
 * processes of the service share: see services.py. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct entry {
    char name[24];
    _Atomic(unsigned long) count;
};

#define ENTRIES 64

static struct entry nowhere[ENTRIES], *entries = nowhere;

static void count(const char *name) {
    int error = errno;
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (!entries[i].name[0])
            strcpy(entries[i].name, name);
        if (strcmp(entries[i].name, name) == 0) {
            entries[i].count++;
            break;
        }
    }
    errno = error;
}

static void count_signal(int number) {
    char name[] = "signal ..";
    name[7] = (char)('0' + number / 10);
    name[8] = (char)('0' + number % 10);
    count(name);
}

/* But for those of which a default is the end that is wanted: of a fault, and by a terminal. */
static void expect_signals(void) {
    static const int counted[] = {SIGHUP,    SIGUSR1, SIGUSR2, SIGPIPE,   SIGALRM, SIGCHLD,
                                  SIGCONT,   SIGURG,  SIGXCPU, SIGXFSZ,   SIGPROF, SIGWINCH,
                                  SIGVTALRM, SIGIO,   SIGPWR,  SIGSTKFLT, SIGTTIN, SIGTTOU};
    struct sigaction before, action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        if (sigaction(counted[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(counted[i], &action, NULL);
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("INTERRUPTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        entries = at;
    if (fd >= 0)
        close(fd);
    expect_signals();
}

#define COUNTED(type, name, parameters, arguments)                                                 \
    type name parameters {                                                                         \
        static type(*_Atomic next) parameters;                                                     \
        if (!next)                                                                                 \
            next = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                    \
        type result = next arguments;                                                              \
        if (result < 0 && errno == EINTR)                                                          \
            count(#name);                                                                          \
        return result;                                                                             \
    }

COUNTED(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n))
COUNTED(ssize_t, readv, (int fd, const struct iovec *to, int n), (fd, to, n))
COUNTED(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
COUNTED(ssize_t, pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
COUNTED(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n))
COUNTED(ssize_t, writev, (int fd, const struct iovec *from, int n), (fd, from, n))
COUNTED(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags))
COUNTED(ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), (fd, to, flags))
COUNTED(ssize_t, send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags))
COUNTED(ssize_t, sendmsg, (int fd, const struct msghdr *from, int flags), (fd, from, flags))
COUNTED(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), (to, from, at, n))
COUNTED(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t n), (to, from, at, n))
COUNTED(int, accept, (int fd, struct sockaddr *from, socklen_t *n), (fd, from, n))
COUNTED(int, accept4, (int fd, struct sockaddr *from, socklen_t *n, int flags),
        (fd, from, n, flags))
COUNTED(int, connect, (int fd, const struct sockaddr *to, socklen_t n), (fd, to, n))
COUNTED(int, fsync, (int fd), (fd))
COUNTED(int, fdatasync, (int fd), (fd))
COUNTED(int, ftruncate, (int fd, off_t size), (fd, size))
COUNTED(pid_t, waitpid, (pid_t pid, int *status, int flags), (pid, status, flags))
COUNTED(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
COUNTED(int, usleep, (useconds_t us), (us))
COUNTED(int, poll, (struct pollfd * set, nfds_t n, int ms), (set, n, ms))
COUNTED(int, select, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *t), (n, r, w, e, t))
COUNTED(int, epoll_wait, (int fd, struct epoll_event *to, int n, int ms), (fd, to, n, ms))
COUNTED(int, epoll_pwait, (int fd, struct epoll_event *to, int n, int ms, const sigset_t *mask),
        (fd, to, n, ms, mask))
