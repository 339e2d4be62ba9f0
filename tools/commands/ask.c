#include "commands/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <memprof/request.h>

#include "commands/process.h"

struct asking {
    struct process process;
    char folder[160], lock[224], request[224], answer[224];
    int lock_fd;
};

static void sleep_ms(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* The folder through which they talk is the process's user's, and nobody else's. */
static int make_folder(const struct asking *asking, struct tool_error *error) {
    struct stat info;
    uid_t uid = asking->process.uid;
    if (mkdir(asking->folder, 0700) == 0 && geteuid() == 0 &&
        chown(asking->folder, uid, (gid_t)-1) != 0)
        return tool_fail(error, "%s: %s", asking->folder, strerror(errno));
    if (lstat(asking->folder, &info) != 0)
        return tool_fail(error, "%s: %s", asking->folder, strerror(errno));
    if (!S_ISDIR(info.st_mode) || info.st_uid != uid || (info.st_mode & 022))
        return tool_fail(error, "%s: not a folder of the process's user alone", asking->folder);
    return 0;
}

/* One asker at a time: another's answer would pass for ours. */
static int take_turn(struct asking *asking, time_t until, struct tool_error *error) {
    asking->lock_fd = open(asking->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (asking->lock_fd < 0)
        return tool_fail(error, "%s: %s", asking->lock, strerror(errno));
    while (flock(asking->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (time(NULL) >= until)
            return tool_fail(error, "process %d: somebody else is asking it",
                             (int)asking->process.pid);
        sleep_ms(20);
    }
    return 0;
}

static int write_request(const struct asking *asking, const char *path, struct tool_error *error) {
    char temporary[256], text[4200];
    int length = path ? snprintf(text, sizeof text, "dump %s\n", path)
                      : snprintf(text, sizeof text, "dump\n");
    if (length >= (int)sizeof text - 8 || (path && strchr(path, '\n')))
        return tool_fail(error, "the path is too long, or has a line's end in it");
    snprintf(temporary, sizeof temporary, "%s.%d", asking->request, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = fd >= 0 && write(fd, text, (size_t)length) == length &&
                (geteuid() != 0 || fchown(fd, asking->process.uid, (gid_t)-1) == 0);
    if (fd >= 0)
        close(fd);
    if (good && rename(temporary, asking->request) == 0)
        return 0;
    int reason = errno;
    unlink(temporary);
    return tool_fail(error, "%s: %s", asking->request, strerror(reason));
}

static int send_signal(const struct asking *asking) {
    return sigqueue(asking->process.pid, asking->process.request,
                    (union sigval){.sival_int = MEMPROF_REQUEST_VALUE});
}

/* "ok COPY PATH" or "error TEXT", whole with its newline. */
static bool read_answer(const struct asking *asking, char *text, size_t size) {
    int fd = open(asking->answer, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *end = strchr(text, '\n');
    if (end)
        *end = '\0';
    return end != NULL;
}

static bool is_stopped(pid_t pid) {
    struct process now;
    struct tool_error unused;
    return process_look(pid, &now, &unused) == 0 && now.state == 'T';
}

static int wait_for_answer(const struct asking *asking, time_t until, char *text, size_t size,
                           struct tool_error *error) {
    const struct process *process = &asking->process;
    for (long ms = 1; !read_answer(asking, text, size); ms = ms < 20 ? ms + 1 : ms) {
        if (!process_lives(process->pid) && !read_answer(asking, text, size))
            return tool_fail(error, "process %d has ended meanwhile", (int)process->pid);
        if (time(NULL) >= until) {
            bool untaken = unlink(asking->request) == 0;
            return tool_fail(error, "process %d has not answered in time: %s", (int)process->pid,
                             !untaken                   ? "it is still at it"
                             : is_stopped(process->pid) ? "it is stopped"
                                                        : "it does not take its signals");
        }
        sleep_ms(ms);
    }
    return 0;
}

/* The copy that wrote the dump is a zombie until its parent takes note of it: another signal, when
 * it has ended, has it do so. */
static void have_it_reaped(const struct asking *asking, long copy) {
    if (asking->process.own_pid == asking->process.pid) {
        for (int i = 0; i < 200 && process_lives((pid_t)copy); i++)
            sleep_ms(5);
    } else {
        sleep_ms(50);
    }
    send_signal(asking);
}

static int ask(struct asking *asking, const char *path, unsigned seconds, char out[4096],
               struct tool_error *error) {
    char text[4400];
    time_t until = time(NULL) + (time_t)seconds;
    if (make_folder(asking, error) < 0 || take_turn(asking, until, error) < 0)
        return -1;
    unlink(asking->answer);
    if (write_request(asking, path, error) < 0)
        return -1;
    if (send_signal(asking) != 0) {
        int reason = errno;
        unlink(asking->request);
        return tool_fail(error, "process %d: %s", (int)asking->process.pid, strerror(reason));
    }
    if (wait_for_answer(asking, until, text, sizeof text, error) < 0)
        return -1;
    unlink(asking->answer);
    char *rest;
    bool good = strncmp(text, "ok ", 3) == 0;
    long copy = strtol(text + (good ? 3 : strcspn(text, " ")), &rest, 10);
    have_it_reaped(asking, copy);
    rest += strspn(rest, " ");
    if (!good)
        return tool_fail(error, "process %d: %s", (int)asking->process.pid, rest);
    snprintf(out, 4096, "%s%s", asking->process.root, rest);
    return 0;
}

int ask_dump(pid_t pid, const char *path, unsigned seconds, char out[4096],
             struct tool_error *error) {
    struct asking asking = {.lock_fd = -1};
    if (process_look(pid, &asking.process, error) < 0)
        return -1;
    if (!asking.process.has_library)
        return tool_fail(error, "process %d (%s) does not run under memprof, or is not yours",
                         (int)pid, asking.process.name);
    if (!asking.process.request)
        return tool_fail(error,
                         "process %d (%s) takes no requests: its options say signal=off, or it "
                         "uses the signal itself",
                         (int)pid, asking.process.name);
    snprintf(asking.folder, sizeof asking.folder, "%s" MEMPROF_REQUEST_FOLDER "%u",
             asking.process.root, (unsigned)asking.process.uid);
    const int own = (int)asking.process.own_pid;
    snprintf(asking.lock, sizeof asking.lock, "%s/%d.lock", asking.folder, own);
    snprintf(asking.request, sizeof asking.request, "%s/%d.request", asking.folder, own);
    snprintf(asking.answer, sizeof asking.answer, "%s/%d.answer", asking.folder, own);
    int result = ask(&asking, path, seconds, out, error);
    if (asking.lock_fd >= 0) {
        unlink(asking.lock);
        close(asking.lock_fd);
    }
    return result;
}
