#include "commands/ask.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <memprof/request.h>

#include "commands/boxes.h"
#include "commands/process.h"

struct asking {
    struct process process;
    struct found_box box;
    bool has_box, leaks;
    const char *path; /* for the dump, or NULL */
    char folder[160], lock[224], request[224], answer[224];
    int lock_fd;
};

#define REAP_MS       40   /* twice what the library waits for */
#define LOOK_MS       1000 /* after a longer pause it is signalled though it has taken the request */
#define LAST_WORDS_MS 2000 /* for the answer of a program that is no more */

/* Whatever becomes of the time of day. */
static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what must not stay behind ---- */

/* Signals that end us: those of terminals and time-outs, and of a reader that has read enough.
 * While a question is asked they are let in where it sleeps, and nowhere else: what is ours is then
 * as these say. */
static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM};
static sigset_t let_in;
static const struct asking *volatile our_turn;  /* NULL: we have not got it */
static const struct asked *volatile our_folder; /* NULL: there is none */

#define ENTRIES_MOST 1000 /* of a folder that its owner may be filling all the time */

/* By descriptors: whose the folder is may have put another of its name there, and what is below
 * /proc/PID/root is not to be found by name any more when the process has ended. Tried again if the
 * process's copy has made a file there meanwhile: in a folder that is gone it cannot. */
static void remove_folder(const struct asked *asked) {
    _Alignas(struct dirent64) char buffer[4096];
    const char *name = strrchr(asked->folder, '/') + 1;
    ssize_t n;
    for (int seen = 0; seen < ENTRIES_MOST; seen++) {
        lseek(asked->fd, 0, SEEK_SET);
        while (seen < ENTRIES_MOST && (n = getdents64(asked->fd, buffer, sizeof buffer)) > 0) {
            for (ssize_t at = 0; at < n; seen++) {
                const void *next = buffer + at;
                const struct dirent64 *entry = next;
                unlinkat(asked->fd, entry->d_name, 0);
                at += entry->d_reclen;
            }
        }
        if (unlinkat(asked->above, name, AT_REMOVEDIR) == 0 || errno != ENOTEMPTY)
            return;
    }
}

static void leave_nothing(void) {
    const struct asking *turn = our_turn;
    const struct asked *folder = our_folder;
    our_turn = NULL;
    our_folder = NULL;
    if (turn) {
        unlink(turn->request);
        unlink(turn->answer);
        unlink(turn->lock);
    }
    if (folder)
        remove_folder(folder);
}

static void on_end(int number) {
    leave_nothing();
    raise(number); /* by default from here on */
}

static void begin_question(void) {
    static bool caught;
    struct sigaction before, action = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND};
    sigset_t all_ends;
    sigfillset(&action.sa_mask);
    sigemptyset(&all_ends);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        sigaddset(&all_ends, ends[i]);
        if (!caught && sigaction(ends[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(ends[i], &action, NULL);
    }
    if (!caught)
        atexit(leave_nothing); /* when there is no memory */
    caught = true;
    sigprocmask(SIG_BLOCK, &all_ends, &let_in);
}

static void end_question(void) {
    sigprocmask(SIG_SETMASK, &let_in, NULL);
}

static void sleep_ms(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    ppoll(NULL, 0, &time, &let_in);
}

/* ---- the question ---- */

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

static bool is_the_file(int fd, const char *path) {
    struct stat held, named;
    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

/* One asker at a time: another's answer would pass for ours. Who has had its turn removes the file,
 * and so a lock on a file without the name is none. */
static int take_turn(struct asking *asking, uint64_t until, struct tool_error *error) {
    for (;;) {
        int fd = open(asking->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        bool roots = fd < 0 && errno == EACCES && geteuid() == asking->process.uid;
        if (fd < 0 && !roots)
            return tool_fail(error, "%s: %s", asking->lock, strerror(errno));
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_the_file(fd, asking->lock)) {
            asking->lock_fd = fd;
            our_turn = asking;
            return 0;
        }
        if (fd >= 0)
            close(fd);
        if (now_ms() >= until)
            return tool_fail(error, "process %d: somebody else is asking it",
                             (int)asking->process.pid);
        sleep_ms(5);
    }
}

static int write_request(const struct asking *asking, struct tool_error *error) {
    char temporary[256], text[4200];
    const char *path = asking->path;
    int length = snprintf(text, sizeof text, "%s%s%s\n", asking->leaks ? "leaks" : "dump",
                          path ? " " : "", path ? path : "");
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

/* By the word, which its slow paths read, and by the signal. By now it may be another process,
 * which the signal would end: so it is looked at again, and last of all whether it catches the
 * signal. A program that another takes the place of in the microseconds after that sees to it
 * itself that the signal is ignored. */
static int send_signal(const struct asking *asking, struct tool_error *error) {
    const int pid = (int)asking->process.pid;
    struct process now;
    if (process_look(asking->process.pid, &now, error) < 0)
        return -1;
    if (now.request != asking->process.request || now.start_ticks != asking->process.start_ticks)
        return tool_fail(error, "process %d has become another program (%s)", pid, now.name);
    if (asking->has_box)
        boxes_ask(&asking->box);
    if (!now.request)
        return 0;
    if (!process_catches(asking->process.pid, now.request))
        return tool_fail(error, "process %d has %s", pid,
                         process_lives(now.pid) ? "become another program" : "ended meanwhile");
    if (sigqueue(asking->process.pid, now.request,
                 (union sigval){.sival_int = MEMPROF_REQUEST_VALUE}) != 0)
        return tool_fail(error, "process %d: %s", pid, strerror(errno));
    return 0;
}

/* "ok COPY PATH", "error COPY PATH: REASON" or, of a copy that was killed, "error PROCESS REASON".
 * `path`: NULL when the process's options name it. */
static bool is_ours(const char *text, const char *path) {
    bool good = strncmp(text, "ok ", 3) == 0;
    const char *said = text + strcspn(text, " ");
    said += strspn(said, " 0123456789");
    size_t length = path ? strlen(path) : 0;
    if (!path || (!good && *said != '/'))
        return true;
    return strncmp(said, path, length) == 0 && said[length] == (good ? '\0' : ':');
}

/* Whole, with its newline. One who asked before and did not wait may have the answer that comes
 * now. */
static bool read_answer(const struct asking *asking, char *text, size_t size) {
    int fd = open(asking->answer, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *end = strchr(text, '\n');
    if (!end)
        return false;
    *end = '\0';
    if (is_ours(text, asking->path))
        return true;
    unlink(asking->answer);
    return false;
}

static bool is_another_program(const struct process *process) {
    uint64_t stack = process_stack(process->pid);
    return stack && process->stack && stack != process->stack;
}

static bool is_stopped(pid_t pid) {
    struct process now;
    struct tool_error unused;
    return process_look(pid, &now, &unused) == 0 && now.state == 'T';
}

static int wait_for_answer(const struct asking *asking, uint64_t until, char *text, size_t size,
                           struct tool_error *error) {
    const struct process *process = &asking->process;
    uint64_t pause = 100, again = now_ms() + pause;
    bool is_another = false;
    for (long ms = 1; !read_answer(asking, text, size); ms = ms < 20 ? ms + 1 : ms) {
        if (!process_lives(process->pid) && !read_answer(asking, text, size)) {
            unlink(asking->request);
            return tool_fail(error, "process %d has ended meanwhile", (int)process->pid);
        }
        /* Its copy may be at work on the answer, or be no more. */
        if (!is_another && is_another_program(process)) {
            is_another = true;
            until = now_ms() + LAST_WORDS_MS < until ? now_ms() + LAST_WORDS_MS : until;
        }
        if (is_another && now_ms() >= until) {
            unlink(asking->request);
            return tool_fail(error, "process %d has become another program", (int)process->pid);
        }
        if (now_ms() >= until) {
            bool untaken = unlink(asking->request) == 0;
            return tool_fail(error, "process %d has not answered in time: %s", (int)process->pid,
                             !untaken                   ? "it is still at it"
                             : is_stopped(process->pid) ? "it is stopped"
                             : process->request
                                 ? "it does not take its signals, or has no descriptor free"
                                 : "it takes no signal, and has not allocated");
        }
        /* A thread that was interrupted in the library left the request to its next slow path,
         * which may be long in coming. And if its copy was killed, it answers as soon as it is
         * signalled again, for then it looks. */
        bool is_due = now_ms() >= again;
        if (is_due && (pause > LOOK_MS || access(asking->request, F_OK) == 0) &&
            send_signal(asking, error) < 0 && unlink(asking->request) == 0)
            return -1;
        if (is_due)
            again = now_ms() + (pause *= 2);
        sleep_ms(ms);
    }
    return 0;
}

static bool is_there(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return access(path, F_OK) == 0;
}

/* The copy that wrote the dump is a zombie until its parent takes note of it, which it does on a
 * slow path; of one that does not come by any, another signal has it do so. */
static void have_it_reaped(const struct asking *asking, pid_t copy) {
    const bool same_numbers = asking->process.own_pid == asking->process.pid;
    struct tool_error unused;
    if (copy == asking->process.own_pid)
        return; /* there is none: the process says itself why */
    for (int i = 0; i < 200 && same_numbers && process_lives(copy); i++)
        sleep_ms(5);
    for (int ms = 0; ms < REAP_MS; ms += 5) {
        if (same_numbers && !is_there(copy))
            return;
        sleep_ms(5);
    }
    send_signal(asking, &unused);
}

static int ask(struct asking *asking, unsigned seconds, char out[4096], struct tool_error *error) {
    char text[4400];
    uint64_t until = now_ms() + (uint64_t)seconds * 1000;
    if (make_folder(asking, error) < 0 || take_turn(asking, until, error) < 0)
        return -1;
    unlink(asking->answer);
    if (write_request(asking, error) < 0)
        return -1;
    if (send_signal(asking, error) < 0) {
        unlink(asking->request);
        return -1;
    }
    if (wait_for_answer(asking, until, text, sizeof text, error) < 0)
        return -1;
    unlink(asking->answer);
    char *rest;
    bool good = strncmp(text, "ok ", 3) == 0;
    long copy = strtol(text + (good ? 3 : strcspn(text, " ")), &rest, 10);
    have_it_reaped(asking, (pid_t)copy);
    rest += strspn(rest, " ");
    if (!good)
        return tool_fail(error, "process %d: %s", (int)asking->process.pid, rest);
    snprintf(out, 4096, "%s%s", asking->process.root, rest);
    return 0;
}

static bool takes_words(pid_t pid) {
    char control[16];
    return !process_option(pid, "control", control, sizeof control) || strcmp(control, "off") != 0;
}

static int ask_process(const struct process *process, const char *path, bool leaks,
                       unsigned seconds, char out[4096], struct tool_error *error) {
    static struct asking asking; /* one at a time: a handler may look at it */
    asking = (struct asking){.process = *process, .leaks = leaks, .path = path, .lock_fd = -1};
    const pid_t pid = process->pid;
    if (!asking.process.has_library)
        return tool_fail(error, "process %d (%s) does not run under memprof, or is not yours",
                         (int)pid, asking.process.name);
    asking.has_box = boxes_of_process(&asking.process, &asking.box) && takes_words(pid);
    if (!asking.process.request && !asking.has_box)
        return tool_fail(error,
                         "process %d (%s) takes no requests: its options say so, or it "
                         "uses the signal itself, and there is no black box",
                         (int)pid, asking.process.name);
    snprintf(asking.folder, sizeof asking.folder, "%s" MEMPROF_REQUEST_FOLDER "%u",
             asking.process.root, (unsigned)asking.process.uid);
    const int own = (int)asking.process.own_pid;
    snprintf(asking.lock, sizeof asking.lock, "%s/%d.lock", asking.folder, own);
    snprintf(asking.request, sizeof asking.request, "%s/%d.request", asking.folder, own);
    snprintf(asking.answer, sizeof asking.answer, "%s/%d.answer", asking.folder, own);
    int result = ask(&asking, seconds, out, error);
    if (asking.lock_fd >= 0) {
        our_turn = NULL;
        unlink(asking.lock);
        close(asking.lock_fd);
    }
    return result;
}

int ask_dump(pid_t pid, const char *path, bool leaks, unsigned seconds, char out[4096],
             struct tool_error *error) {
    struct process process;
    if (process_look(pid, &process, error) < 0)
        return -1;
    begin_question();
    int result = ask_process(&process, path, leaks, seconds, out, error);
    end_question();
    return result;
}

/* ---- a dump for a moment ---- */

void asked_drop(struct asked *asked) {
    remove_folder(asked);
    our_folder = NULL;
    if (asked->fd >= 0)
        close(asked->fd);
    close(asked->above);
}

static int ask_in_folder(const struct process *process, bool leaks, unsigned seconds,
                         struct asked *asked, struct tool_error *error) {
    char path[160];
    snprintf(path, sizeof path, "%s/tmp", process->root);
    asked->above = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(asked->folder, sizeof asked->folder, "%s/tmp/memprof-ask.%d.XXXXXX", process->root,
             (int)process->pid);
    if (asked->above < 0 || !mkdtemp(asked->folder)) {
        tool_fail(error, "%s: %s", asked->folder, strerror(errno));
        close(asked->above);
        return -1;
    }
    asked->fd = open(asked->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    our_folder = asked;
    if (asked->fd < 0 || (geteuid() == 0 && fchown(asked->fd, process->uid, (gid_t)-1) != 0)) {
        tool_fail(error, "%s: %s", asked->folder, strerror(errno));
    } else {
        snprintf(path, sizeof path, "%s/heap", asked->folder + strlen(process->root));
        if (ask_process(process, path, leaks, seconds, asked->path, error) == 0)
            return 0;
    }
    asked_drop(asked);
    return -1;
}

int ask_for_moment(pid_t pid, bool leaks, unsigned seconds, struct asked *asked,
                   struct tool_error *error) {
    struct process process;
    if (process_look(pid, &process, error) < 0)
        return -1;
    begin_question();
    int result = ask_in_folder(&process, leaks, seconds, asked, error);
    end_question();
    return result;
}
