#include "control/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

#include "control/headroom.h"
#include "control/path.h"
#include "control/snapshot.h"
#include "heap/arena.h"
#include "heap/thread.h"
#include "leak/leaks.h"
#include "platform/arch.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "profile/about.h"
#include "profile/contents.h"
#include "profile/sampler.h"
#include "record/memory.h"
#include "record/modules.h"
#include "record/writer.h"

#define PATH_MOST 4096u
#define COPIES    8u /* on their way at a time */

static struct mp_lock dump_lock = MP_LOCK_INIT(MP_RANK_DUMP);
static char path_now[PATH_MOST]; /* of the dump that is made: under the lock, and in the copy */
static uint32_t dump_count;
static _Atomic(long) copies[COPIES];    /* pids, 0: none */
static _Atomic(bool) answering[COPIES]; /* it says itself what has become of it, if it can: */
static const char *_Atomic answers_at[COPIES]; /* the file for that, or NULL */

static _Atomic(int) copy_error;

/* dump_keep: the names of the dumps that are there and that the option named, `kept_count` of them
 * from `kept_first` on, round and round, the oldest first. A name enters when its copy has ended
 * well; the copy removes the oldest if there is one too many then. One copy with a name at a time.
 * All under the lock. */
static char (*kept)[PATH_MOST];
static uint64_t kept_first, kept_count;
static long kept_by;              /* the process whose dumps those are */
static long named_copy;           /* of which the name waits; 0: none */
static char copy_name[PATH_MOST]; /* that name */
static const char *too_old;       /* to go once the dump that is made is there; NULL: none */

/* ---- in the copy ---- */

struct request {
    const char *path;
    const char *answer; /* or NULL */
    long pid, parent_pid;
    long listed_pid;
    bool waited_for;
    int (*then)(int dump, const struct mp_contents_leaks *leaks, void *context);
    void *context;
    bool no_dump;
    struct mp_snapshot snapshot;
};

/* The dump that is one too many, now that the new one is there. */
static void drop_oldest(const char *newest) {
    if (too_old && strcmp(too_old, newest) != 0)
        mp_sys_unlink(too_old);
}

static int find_leaks(const struct request *request, struct mp_contents_leaks *leaks) {
    static struct mp_leaks found;
    const struct mp_snapshot *snapshot = &request->snapshot;
    int error = mp_snapshot_find_leaks(snapshot, &found);
    *leaks = (struct mp_contents_leaks){
        .found = &found,
        .world = snapshot->world,
        .threads = snapshot->stopped.count + (snapshot->twice ? snapshot->stopped.missed : 0),
        .threads_missed = snapshot->stopped.missed,
        .pause_ns = error ? 0 : mp_snapshot_stood_ns(snapshot),
    };
    return error;
}

/* *fd: of a dump that has no name. `leaks`: NULL where none were looked for. */
static int write_file(const struct request *request, const struct mp_contents_leaks *leaks,
                      int *fd) {
    static struct memprof_dump_process process;
    uint32_t sections = mp_contents_sections(leaks != NULL);
    int error = request->then ? mp_writer_open_memory(sections, fd)
                              : mp_writer_open(request->path, sections);
    if (error)
        return error;
    mp_about(&process, request->pid, mp_writer_text);
    process.parent_pid = (uint32_t)request->parent_pid;
    process.time_ns = request->snapshot.real_ns;
    process.uptime_ns = request->snapshot.now_ns - mp_about_began_precisely_ns();
    process.dump_number = dump_count;
    process.pause_ns = mp_snapshot_pause_ns();
    mp_contents_write(&process, request->listed_pid, leaks);
    error = mp_writer_close();
    if (!error && !request->then)
        drop_oldest(request->path);
    return error;
}

static void write_answer(const char *answer, const char *line, size_t length) {
    long fd = mp_sys_open(answer, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    mp_sys_write((int)fd, line, length);
    mp_sys_close((int)fd);
}

static void give_answer(const struct request *request, int error) {
    static char line[PATH_MOST + 128];
    struct mp_text text;
    bool is_copy = mp_sys_getpid() != request->pid;
    uint64_t copy = (uint64_t)(is_copy ? mp_snapshot_asked_for(&request->snapshot) : request->pid);
    mp_text_init(&text, line, sizeof line);
    if (error)
        mp_text_add(&text, "error %lu %s: %s\n", copy, request->path, mp_say_reason(error));
    else
        mp_text_add(&text, "ok %lu %s\n", copy, request->path);
    write_answer(request->answer, line, text.length);
}

static _Noreturn void be_the_copy(void *context) {
    const struct request *request = context;
    int fd = -1;
    mp_sys_become_copy(request->snapshot.keep, request->waited_for);
    struct mp_contents_leaks leaks;
    bool looks = request->snapshot.leaks;
    int error = looks ? find_leaks(request, &leaks) : 0;
    if (!error && !request->no_dump)
        error = write_file(request, looks ? &leaks : NULL, &fd);
    if (request->answer)
        give_answer(request, error);
    if (request->then && error)
        mp_say("no search for leaks: %s", mp_say_reason(error));
    else if (request->then)
        error = -request->then(fd, &leaks, request->context);
    mp_sys_exit(-error);
}

/* ---- in the process ---- */

/* In a copy's place, which a signal has ended: it is the first to go when memory runs out. Apart,
 * for handlers on small stacks make copies. */
MP_COLD static void answer_for_killed(const char *answer) {
    char line[128];
    struct mp_text text;
    mp_text_init(&text, line, sizeof line);
    mp_text_add(&text, "error %lu %s\n", (uint64_t)mp_sys_getpid(), mp_say_reason(-ECANCELED));
    write_answer(answer, line, text.length);
}

static void answer_for(long copy, int error) {
    for (unsigned i = 0; i < COPIES; i++) {
        const char *answer = NULL;
        if (copies[i] == copy && error == -ECANCELED)
            answer = atomic_exchange(&answers_at[i], NULL);
        if (answer)
            answer_for_killed(answer);
    }
}

static int error_of(int status) {
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECANCELED;
}

static int wait_for(long copy) {
    int status = 0;
    long got;
    do
        got = mp_snapshot_wait(copy, &status, 0);
    while (got == -EINTR);
    if (got < 0)
        return got == -ECHILD ? 0 : (int)got; /* the program waits for clones too: no status then */
    return error_of(status);
}

static char *kept_at(uint64_t i) {
    return kept[(kept_first + i) % mp_options.dump_keep];
}

static uint64_t find_kept(const char *path) {
    uint64_t i = 0;
    while (i < kept_count && strcmp(kept_at(i), path) != 0)
        i++;
    return i;
}

/* The dump of that name is there: it is the newest. */
static void keep_name(const char *path) {
    uint64_t i = find_kept(path);
    if (i == kept_count && kept_count == mp_options.dump_keep) {
        kept_first++; /* it has been removed */
    } else if (i == kept_count) {
        kept_count++;
    } else {
        for (; i + 1 < kept_count; i++)
            memmove(kept_at(i), kept_at(i + 1), PATH_MOST);
    }
    strcpy(kept_at(kept_count - 1), path);
}

/* A copy has ended. */
static void note_end(long copy, int error) {
    if (!kept || copy != named_copy)
        return;
    named_copy = 0;
    if (!error)
        keep_name(copy_name);
}

/* Before a copy that is to have this name is made. */
static void prepare_name(const char *path, long pid) {
    too_old = NULL;
    if (!kept)
        return;
    if (kept_by != pid) { /* a child's that no handler of ours has told */
        kept_by = pid;
        kept_count = 0;
        named_copy = 0;
    }
    if (kept_count == mp_options.dump_keep && find_kept(path) == kept_count)
        too_old = kept_at(0);
}

bool mp_dump_can_start_sigsafe(void) {
    return !mp_lock_held && !mp_slow_inside() && !mp_sampler_is_inside_sigsafe() &&
           !mp_lock_all_mine;
}

/* Under the lock no signal is handled: a handler that dumps too would wait for its own thread. In
 * the copy it stays so, for no handler of the program's must run there. */
static void lock_dumps(uint64_t *mask) {
    mp_sys_block_all(mask);
    mp_lock_take(&dump_lock);
}

static void unlock_dumps(const uint64_t *mask) {
    mp_lock_drop(&dump_lock);
    mp_sys_unblock(mask);
}

static bool note_copy(long copy, const struct mp_dump_order *order) {
    for (unsigned i = 0; i < COPIES; i++) {
        long none = 0;
        if (atomic_compare_exchange_strong(&copies[i], &none, -copy)) {
            answering[i] = order->answer || order->then;
            answers_at[i] = order->answer;
            copies[i] = copy;
            return true;
        }
    }
    return false;
}

static void settle(long copy, bool answers, int error) {
    uint64_t mask;
    if (error && !answers)
        copy_error = error;
    lock_dumps(&mask);
    note_end(copy, error);
    unlock_dumps(&mask);
}

bool mp_dump_reap_sigsafe(void) {
    bool others = false;
    for (unsigned i = 0; i < COPIES; i++) {
        long copy = copies[i], got = 0;
        int status = 0;
        if (copy > 0 && (got = mp_snapshot_wait(copy, &status, WNOHANG)) != 0) {
            bool answers = answering[i];
            int error = got > 0 ? error_of(status) : 0;
            answer_for(copy, error);
            if (atomic_compare_exchange_strong(&copies[i], &copy, 0))
                settle(copy, answers, error);
        }
        others |= copies[i] != 0;
    }
    return others;
}

void mp_dump_forget_answers(void) {
    for (unsigned i = 0; i < COPIES; i++)
        answers_at[i] = NULL;
}

int mp_dump_take_error(void) {
    return atomic_exchange(&copy_error, 0);
}

/* Under the lock. `frame`: what lies below it on this thread's stack is ours. */
static int start_dump(const struct mp_dump_order *order, bool waited_for, uintptr_t frame,
                      long *copy) {
    const char *path = order->path;
    struct request request = {
        .path = path,
        .answer = order->answer,
        .pid = mp_sys_getpid(),
        .parent_pid = mp_sys_getppid(),
        .listed_pid = mp_sys_listed_pid(),
        .waited_for = waited_for,
        .then = order->then,
        .context = order->context,
        .no_dump = order->no_dump,
        .snapshot =
            {
                .leaks = order->leaks,
                .keep = order->then ? mp_say_descriptor() : -1,
                .caller = {mp_sys_gettid(), frame},
            },
    };
    int error = 0;
    too_old = NULL;
    if (!order->then)
        dump_count++;
    if (!path && !order->then) {
        if (named_copy && kept_by == request.pid) {
            int ended = wait_for(named_copy);
            answer_for(named_copy, ended);
            note_end(named_copy, ended);
        }
        error = mp_path_fill(mp_options.dump, dump_count, path_now, sizeof path_now);
        request.path = path_now;
        prepare_name(path_now, request.pid);
    }
    if (!error && order->leaks && request.listed_pid != request.pid)
        error = -EREMOTE; /* its threads are listed by numbers that mean others here */
    if (!error && !mp_headroom_is_there())
        error = -ENOMEM;
    if (!error) {
        *copy = mp_snapshot_make(&request.snapshot, be_the_copy, &request);
        error = *copy < 0 ? (int)*copy : 0;
    }
    if (!error && !path && !order->then && kept) {
        named_copy = *copy;
        strcpy(copy_name, path_now);
    }
    if (error && order->answer)
        give_answer(&request, error);
    return error;
}

/* Waits for a copy, and takes note of its end. */
static int wait_and_note(long copy) {
    uint64_t mask;
    int error = wait_for(copy);
    lock_dumps(&mask);
    note_end(copy, error);
    unlock_dumps(&mask);
    return error;
}

/* What the program had in registers that a function leaves as they were, it has on the stack now,
 * above the stack's pointer of who calls this. */
#define SPILL_REGISTERS() __builtin_unwind_init()

/* After a filter that may end the program for a system call, each that a dump takes may be its end:
 * then there is one only where the program itself calls for it. */
static bool may_dump(void) {
    return mp_about_has_started() && !mp_sys_confined;
}

int mp_dump_write_sigsafe(const struct mp_dump_order *order) {
    long copy = 0;
    uint64_t mask;
    SPILL_REGISTERS();
    if (!mp_about_has_started())
        return -EPERM;
    lock_dumps(&mask);
    int error = start_dump(order, true, mp_arch_stack_pointer(), &copy);
    unlock_dumps(&mask);
    return error ? error : wait_and_note(copy);
}

int mp_dump_run(const struct mp_dump_order *order, int *status) {
    long copy = 0;
    uint64_t mask;
    SPILL_REGISTERS();
    *status = 0;
    if (!may_dump())
        return -EPERM;
    lock_dumps(&mask);
    int error = start_dump(order, true, mp_arch_stack_pointer(), &copy);
    unlock_dumps(&mask);
    *status = error ? 0 : -wait_for(copy);
    return error;
}

int mp_dump_begin_sigsafe(const struct mp_dump_order *order) {
    long copy = 0;
    uint64_t mask;
    SPILL_REGISTERS();
    if (!may_dump())
        return -EPERM;
    mp_dump_reap_sigsafe();
    lock_dumps(&mask);
    int error = start_dump(order, false, mp_arch_stack_pointer(), &copy);
    unlock_dumps(&mask);
    if (!error && !note_copy(copy, order)) { /* so many at once: one after the other then */
        int ended = wait_for(copy);
        if (ended == -ECANCELED && order->answer)
            answer_for_killed(order->answer);
        settle(copy, order->answer || order->then, ended);
    }
    return error;
}

void mp_dump_at_exit(void) {
    if (mp_sys_confined)
        return;
    int error = mp_dump_write_sigsafe(&(struct mp_dump_order){.path = NULL});
    if (error)
        mp_say("no dump at exit: %s: %s", path_now, mp_say_reason(error));
}

void mp_dump_before_fork(void) {
    mp_lock_take(&dump_lock);
}

void mp_dump_after_fork(bool child) {
    if (!child) {
        mp_lock_drop(&dump_lock);
        return;
    }
    for (unsigned i = 0; i < COPIES; i++)
        copies[i] = 0;
    dump_count = 0;
    mp_snapshot_forget();
    kept_count = 0; /* those are the parent's */
    named_copy = 0;
    copy_error = 0;
    mp_lock_reset(&dump_lock);
}

void mp_dump_start(void) {
    if (mp_options.dump_keep > 0)
        kept = mp_record_alloc(mp_options.dump_keep * sizeof *kept);
}
