/* Which system calls return with EINTR while a search for leaks is made: signal(7) has a list of
 * those that a signal never interrupts for good (SA_RESTART), and another of those that it always
 * does. A thread waits in each call until the input ends.
 *
 *     interrupted [--handlers]
 *
 * says which calls returned with EINTR, "(!)" behind those that must not; with --handlers, which of
 * all signals came unasked; and whether a child was there to be waited for. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS 20 /* for calls that wait so long at most, and are made again */

static _Atomic(bool) over;
static _Atomic(unsigned) came[NSIG]; /* signals, unasked */

static void check(bool is_true, const char *what) {
    if (!is_true) {
        perror(what);
        exit(3);
    }
}

static int made(int fd, const char *what) {
    check(fd >= 0, what);
    return fd;
}

/* ---- what is waited for ---- */

static int data[2], readable[2], full_pipe[2], pair[2], full_pair[2], message[2], timed[2],
    parent[2];
static int event, watch, listener, busy_listener, timed_listener, lock_file, epoll;
static int queue, semaphores;
static pid_t child;
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static struct sockaddr_un busy_address = {.sun_family = AF_UNIX};

static struct timespec in_a_step(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += STEP_MS * 1000000l;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static const struct timespec step = {0, STEP_MS * 1000000l};
static char byte[1];

static bool is_over(ssize_t result) {
    return result >= 0 || over;
}

/* Each: true when its wait is over; else errno says why it has to be made again. */

static bool call_read(void) {
    return is_over(read(data[0], byte, 1));
}
static bool call_readv(void) {
    struct iovec to = {byte, 1};
    return is_over(readv(pair[0], &to, 1));
}
static bool call_write(void) {
    return is_over(write(full_pipe[1], byte, 1));
}
static bool call_read_event(void) {
    uint64_t count;
    return is_over(read(event, &count, sizeof count));
}
static bool call_read_inotify(void) {
    char events[4096];
    return is_over(read(watch, events, sizeof events));
}
static bool call_recv(void) {
    return is_over(recv(message[0], byte, 1, 0));
}
static bool call_recvmsg(void) {
    struct iovec to = {byte, 1};
    struct msghdr header = {.msg_iov = &to, .msg_iovlen = 1};
    return is_over(recvmsg(message[1], &header, 0));
}
static bool call_send(void) {
    return is_over(send(full_pair[1], byte, 1, MSG_NOSIGNAL));
}
static bool call_accept(void) {
    return is_over(accept(listener, NULL, NULL));
}
static bool call_connect(void) {
    int fd = made(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    bool done = connect(fd, (struct sockaddr *)&busy_address, sizeof busy_address) == 0 || over;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}
static bool call_open_fifo(void) {
    return is_over(open("fifo", O_RDONLY));
}
static bool call_flock(void) {
    int fd = made(open("locked", O_RDWR), "locked");
    bool done = flock(fd, LOCK_EX) == 0 || over;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}
static bool call_fcntl_lock(void) {
    int fd = made(open("locked", O_RDWR), "locked");
    struct flock whole = {.l_type = F_WRLCK};
    bool done = fcntl(fd, F_OFD_SETLKW, &whole) == 0 || over;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}
static bool call_waitpid(void) {
    return is_over(waitpid(child, NULL, 0));
}
static bool call_sem_wait(void) {
    return is_over(sem_wait(&semaphore));
}
static bool call_mutex_lock(void) {
    int error = pthread_mutex_lock(&mutex);
    if (error == 0)
        pthread_mutex_unlock(&mutex);
    errno = error;
    return error == 0;
}
static bool call_cond_wait(void) {
    int error = 0;
    pthread_mutex_lock(&guard);
    while (!over && error == 0)
        error = pthread_cond_wait(&condition, &guard);
    pthread_mutex_unlock(&guard);
    errno = error;
    return error == 0;
}
static bool call_cond_timedwait(void) {
    struct timespec until = in_a_step(CLOCK_REALTIME);
    pthread_mutex_lock(&guard);
    errno = pthread_cond_timedwait(&condition, &guard, &until);
    pthread_mutex_unlock(&guard);
    return over;
}

static bool call_nanosleep(void) {
    nanosleep(&step, NULL);
    return over;
}
static bool call_clock_nanosleep(void) {
    struct timespec until = in_a_step(CLOCK_MONOTONIC);
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    return over;
}
static bool call_poll(void) {
    struct pollfd one = {readable[0], POLLIN, 0};
    return is_over(poll(&one, 1, -1));
}
static bool call_ppoll(void) {
    struct pollfd one = {readable[0], POLLIN, 0};
    return is_over(ppoll(&one, 1, NULL, NULL));
}
static bool call_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(readable[0], &set);
    return is_over(select(readable[0] + 1, &set, NULL, NULL, NULL));
}
static bool call_pselect(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(readable[0], &set);
    return is_over(pselect(readable[0] + 1, &set, NULL, NULL, NULL, NULL));
}
static bool call_epoll_wait(void) {
    struct epoll_event got;
    return is_over(epoll_wait(epoll, &got, 1, -1));
}
/* The thread that takes all signals of a program. */
static bool call_sigwait(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    int got = sigwaitinfo(&all, NULL);
    if (got >= 0 && !over)
        came[got]++;
    return over;
}
static bool call_msgrcv(void) {
    char text[64];
    return is_over(msgrcv(queue, text, sizeof text - sizeof(long), 0, 0));
}
static bool call_semop(void) {
    struct sembuf down = {0, -1, 0};
    return is_over(semop(semaphores, &down, 1));
}
static bool call_recv_timed(void) {
    return is_over(recv(timed[0], byte, 1, 0));
}
static bool call_accept_timed(void) {
    return is_over(accept(timed_listener, NULL, NULL));
}

static struct waiting {
    const char *name;
    bool restarted; /* says signal(7) */
    bool (*call)(void);
    pthread_t thread;
    unsigned interrupted;
} waiting[] = {
    {"read", true, call_read, 0, 0},
    {"readv", true, call_readv, 0, 0},
    {"write", true, call_write, 0, 0},
    {"read of an eventfd", true, call_read_event, 0, 0},
    {"read of inotify", true, call_read_inotify, 0, 0},
    {"recv", true, call_recv, 0, 0},
    {"recvmsg", true, call_recvmsg, 0, 0},
    {"send", true, call_send, 0, 0},
    {"accept", true, call_accept, 0, 0},
    {"connect", true, call_connect, 0, 0},
    {"open of a fifo", true, call_open_fifo, 0, 0},
    {"flock", true, call_flock, 0, 0},
    {"fcntl", true, call_fcntl_lock, 0, 0},
    {"waitpid", true, call_waitpid, 0, 0},
    {"sem_wait", true, call_sem_wait, 0, 0},
    {"pthread_mutex_lock", true, call_mutex_lock, 0, 0},
    {"pthread_cond_wait", true, call_cond_wait, 0, 0},
    {"pthread_cond_timedwait", true, call_cond_timedwait, 0, 0},
    {"nanosleep", false, call_nanosleep, 0, 0},
    {"clock_nanosleep", false, call_clock_nanosleep, 0, 0},
    {"poll", false, call_poll, 0, 0},
    {"ppoll", false, call_ppoll, 0, 0},
    {"select", false, call_select, 0, 0},
    {"pselect", false, call_pselect, 0, 0},
    {"epoll_wait", false, call_epoll_wait, 0, 0},
    {"sigwaitinfo", false, call_sigwait, 0, 0},
    {"msgrcv", false, call_msgrcv, 0, 0},
    {"semop", false, call_semop, 0, 0},
    {"recv with a time-out", false, call_recv_timed, 0, 0},
    {"accept with a time-out", false, call_accept_timed, 0, 0},
};
#define WAITING (sizeof waiting / sizeof *waiting)

static void *wait_in(void *argument) {
    struct waiting *mine = argument;
    for (;;) {
        errno = 0;
        if (mine->call())
            return NULL;
        mine->interrupted += errno == EINTR;
        /* Time-outs aside, anything else would be asked for again and again. */
        check(errno == EINTR || errno == ETIMEDOUT || errno == EAGAIN || errno == 0, mine->name);
    }
}

/* ---- before and after ---- */

static void fill(int fd) {
    static const char much[4096];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, much, sizeof much) > 0)
        ;
    while (write(fd, much, 1) > 0)
        ;
    fcntl(fd, F_SETFL, 0);
}

static int listen_at(const char *path, int most) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = made(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    strcpy(address.sun_path, path);
    check(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(fd, most) == 0, "listen");
    return fd;
}

static void have_a_time_out(int fd) {
    const struct timeval hour = {3600, 0};
    check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour) == 0, "SO_RCVTIMEO");
}

static void prepare(void) {
    struct epoll_event any = {.events = EPOLLIN};
    check(pipe(data) == 0 && pipe(readable) == 0 && pipe(full_pipe) == 0, "pipe");
    check(pipe(parent) == 0, "pipe");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, full_pair) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_DGRAM, 0, message) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, timed) == 0, "socketpair");
    fill(full_pipe[1]);
    fill(full_pair[1]);
    event = made(eventfd(0, 0), "eventfd");
    check(mkfifo("fifo", 0600) == 0, "mkfifo");
    lock_file = made(open("locked", O_RDWR | O_CREAT, 0600), "locked");
    check(flock(lock_file, LOCK_EX) == 0, "flock");
    struct flock whole = {.l_type = F_WRLCK};
    check(fcntl(lock_file, F_OFD_SETLK, &whole) == 0, "fcntl");
    watch = made(inotify_init(), "inotify");
    check(inotify_add_watch(watch, "fifo", IN_ATTRIB) >= 0, "inotify");
    listener = listen_at("listener", 1);
    timed_listener = listen_at("timed", 1);
    busy_listener = listen_at("busy", 0);
    strcpy(busy_address.sun_path, "busy");
    int first = made(socket(AF_UNIX, SOCK_STREAM, 0), "socket"); /* the only one that is queued */
    check(connect(first, (struct sockaddr *)&busy_address, sizeof busy_address) == 0, "connect");
    have_a_time_out(timed[0]);
    have_a_time_out(timed_listener);
    epoll = made(epoll_create1(0), "epoll");
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, readable[0], &any) == 0, "epoll");
    queue = made(msgget(IPC_PRIVATE, 0600), "msgget");
    semaphores = made(semget(IPC_PRIVATE, 1, 0600), "semget");
    sem_init(&semaphore, 0, 0);
    pthread_mutex_lock(&mutex);
    child = fork();
    if (child == 0) {
        char end;
        close(parent[1]);
        _exit(read(parent[0], &end, 1) > 0);
    }
}

static void connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = made(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    strcpy(address.sun_path, path);
    check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, path);
}

static void give(int fd) {
    const uint64_t one = 1;
    check(write(fd, &one, sizeof one) == sizeof one, "write");
}

static void drain(int fd) {
    static char much[65536];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (read(fd, much, sizeof much) > 0)
        ;
}

static void release(void) {
    struct {
        long type;
        char text[8];
    } word = {1, "end"};
    struct sembuf up = {0, 1, 0};
    over = true;
    for (size_t i = 0; i < WAITING; i++) {
        if (waiting[i].call == call_sigwait)
            pthread_kill(waiting[i].thread, SIGUSR2);
    }
    give(data[1]);
    give(readable[1]);
    give(pair[1]);
    give(timed[1]);
    give(message[0]);
    give(message[1]);
    give(event);
    drain(full_pipe[0]);
    drain(full_pair[0]);
    check(chmod("fifo", 0640) == 0, "chmod");
    made(open("fifo", O_WRONLY), "fifo");
    connect_to("listener");
    connect_to("timed");
    close(parent[1]);
    close(busy_listener);
    close(lock_file);
    sem_post(&semaphore);
    pthread_mutex_unlock(&mutex);
    pthread_mutex_lock(&guard);
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&guard);
    check(msgsnd(queue, &word, sizeof word.text, 0) == 0, "msgsnd");
    check(semop(semaphores, &up, 1) == 0, "semop");
}

/* ---- signals ---- */

static void note_signal(int number) {
    came[number]++;
}

static void handle_all(void) {
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL); /* not of KILL, STOP and libc's */
}

int main(int argc, char **argv) {
    char folder[] = "/tmp/interrupted.XXXXXX";
    unsigned strays = 0;
    check(mkdtemp(folder) && chdir(folder) == 0, folder);
    prepare();
    if (argc > 1 && strcmp(argv[1], "--handlers") == 0)
        handle_all();
    for (size_t i = 0; i < WAITING; i++)
        check(pthread_create(&waiting[i].thread, NULL, wait_in, &waiting[i]) == 0, "thread");
    free(malloc(100));
    puts("ready");
    fflush(stdout);
    char end;
    while (read(0, &end, 1) < 0 && errno == EINTR)
        ;
    release();
    for (size_t i = 0; i < WAITING; i++) {
        pthread_join(waiting[i].thread, NULL);
        if (waiting[i].interrupted)
            printf("EINTR: %s %u%s\n", waiting[i].name, waiting[i].interrupted,
                   waiting[i].restarted ? " (!)" : "");
    }
    msgctl(queue, IPC_RMID, NULL);
    semctl(semaphores, 0, IPC_RMID);
    for (int number = 1; number < NSIG; number++)
        strays += number == SIGCHLD ? came[number] > 1 : came[number];
    printf("signals: %u, children: %d\n", strays, waitpid(-1, NULL, WNOHANG | __WALL) >= 0);
    static const char *const files[] = {"fifo", "locked", "listener", "timed", "busy"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : 3;
}
