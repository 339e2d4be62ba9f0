#include "control/request.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include <memprof/request.h>

#include "control/dump.h"
#include "heap/hooks.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "profile/about.h"
#include "profile/series.h"
#include "record/box.h"

/* Handlers run on whatever stack there is: what is large is here, one request at a time. */
static struct {
    atomic_flag busy;
    char path[128];
    char answer[128];
    char text[4200];
} request = {.busy = ATOMIC_FLAG_INIT};

#define REAP_MS 20u

static _Atomic(bool) pending; /* a request waits for the end of a slow path */
static _Atomic(bool) reaping; /* a copy for a request has not been waited for */
static _Atomic(uint64_t) reap_after_ms;

static void make_path(char *path, size_t size, const char *what) {
    struct mp_text text;
    mp_text_init(&text, path, size);
    mp_text_add(&text, MEMPROF_REQUEST_FOLDER "%u/%lu.%s", mp_sys_geteuid(),
                (uint64_t)mp_sys_getpid(), what);
}

/* Takes the request; false: there is none that may be obeyed. */
static bool take_request(void) {
    uint32_t owner;
    make_path(request.path, sizeof request.path, "request");
    long fd = mp_sys_open(request.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool good = mp_sys_owner((int)fd, &owner) == 0 && (owner == 0 || owner == mp_sys_geteuid());
    long n = good ? mp_sys_read((int)fd, request.text, sizeof request.text - 1) : 0;
    mp_sys_close((int)fd);
    if (!good)
        return false;
    mp_sys_unlink(request.path);
    request.text[n > 0 ? n : 0] = '\0';
    char *end = strchr(request.text, '\n');
    if (end)
        *end = '\0';
    return end != NULL; /* what is not whole is not obeyed */
}

/* To the end of a slow path. */
static void leave_it(void) {
    atomic_store_explicit(&pending, true, memory_order_relaxed);
    mp_hooks_ask_sigsafe();
}

/* "dump PATH", "leaks PATH", or without the path. */
static void begin_dump(void) {
    size_t word = strcspn(request.text, " ");
    const char *path = request.text[word] ? request.text + word + 1 : NULL;
    struct mp_dump_order order = {.path = path, .answer = request.answer};
    order.leaks = word == 5 && strncmp(request.text, "leaks", word) == 0;
    if (order.leaks || (word == 4 && strncmp(request.text, "dump", word) == 0))
        mp_dump_begin_sigsafe(&order);
}

/* With signals blocked: a handler of the program's that never returned here (siglongjmp) would
 * leave us busy for good. */
static void obey(void) {
    uint64_t mask;
    if (mp_sys_confined)
        return; /* opening a file might be the end of the program: it is its black box that tells */
    mp_sys_block_all(&mask);
    if (atomic_flag_test_and_set_explicit(&request.busy, memory_order_acquire)) {
        leave_it();
        mp_sys_unblock(&mask);
        return;
    }
    if (take_request()) {
        mp_dump_forget_answers();
        make_path(request.answer, sizeof request.answer, "answer");
        begin_dump();
    }
    /* A copy that has ended is a zombie until it is waited for: by the command's second signal, or
     * on a slow path, whichever comes first. */
    reap_after_ms = mp_sys_now_ms() + REAP_MS;
    reaping = mp_dump_reap_sigsafe();
    if (reaping)
        mp_hooks_ask_sigsafe();
    atomic_flag_clear_explicit(&request.busy, memory_order_release);
    mp_sys_unblock(&mask);
}

/* The word is in a file that others may write to: it is compared, and nothing else. */
static _Atomic(uint32_t) word_seen;

static bool word_has_changed(void) {
    if (mp_options.control == MP_CONTROL_OFF || mp_box_standing() != MP_BOX_OPEN)
        return false;
    uint32_t word = __atomic_load_n(&mp_box_state()->request, __ATOMIC_RELAXED);
    if (word == atomic_load_explicit(&word_seen, memory_order_relaxed))
        return false;
    atomic_store_explicit(&word_seen, word, memory_order_relaxed);
    return true;
}

void mp_request_tick(void) {
    if (word_has_changed())
        leave_it();
}

void mp_request_hear(void) {
    if (word_has_changed())
        obey();
}

void mp_request_asked(void) {
    if (atomic_exchange_explicit(&pending, false, memory_order_relaxed))
        obey();
    else if (atomic_load_explicit(&reaping, memory_order_relaxed)) {
        if (mp_sys_now_ms() < reap_after_ms)
            mp_hooks_ask_sigsafe();
        else
            obey();
    }
}

static int signal_number; /* 0: none is ours */

#define FLAGS (SA_SIGINFO | SA_RESTART | SA_ONSTACK)

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    if (info->si_code != SI_QUEUE || info->si_value.sival_int != MEMPROF_REQUEST_VALUE)
        return; /* not from our command */
    if (mp_dump_can_start_sigsafe())
        obey();
    else
        leave_it();
}

/* ---- execve ---- */

/* Threads that are in execve: the signal is ignored while there are any. By its flags it is told
 * from one that the program ignores. */
static _Atomic(uint32_t) leaving;

static void ignore_it(void) {
    mp_sys_swap_handler(signal_number, on_signal, MP_SYS_IGNORE);
}

static void catch_it(void) {
    mp_sys_swap_handler(signal_number, MP_SYS_IGNORE, on_signal);
}

/* Another thread may come or go meanwhile, and do the contrary before us: so it is looked at again.
 * (Who comes then may have another program there before we look.) */
static void settle(uint32_t count) {
    uint32_t seen;
    do {
        seen = count;
        if (seen)
            ignore_it();
        else
            catch_it();
        count = leaving;
    } while (count != seen);
}

/* A child of vfork has handlers of its own, but its parent's memory. */
bool mp_request_leave(void) {
    if (!signal_number || mp_sys_confined)
        return false;
    bool counts = mp_sys_getpid() == mp_about_pid();
    if (counts)
        settle(atomic_fetch_add(&leaving, 1) + 1);
    else
        ignore_it();
    return counts;
}

void mp_request_stay(bool counted) {
    if (counted)
        settle(atomic_fetch_sub(&leaving, 1) - 1);
}

/* ---- start ---- */

void mp_request_after_fork_child(void) {
    atomic_flag_clear_explicit(&request.busy, memory_order_relaxed);
    atomic_store_explicit(&pending, false, memory_order_relaxed);
    atomic_store_explicit(&reaping, false, memory_order_relaxed);
    atomic_store_explicit(&word_seen, 0, memory_order_relaxed); /* a box of its own begins at 0 */
    leaving = 0;
    if (signal_number && !mp_sys_confined)
        catch_it();
}

void mp_request_start(void) {
    if (mp_options.signal == MP_NUMBER_OFF || mp_options.control != MP_CONTROL_AUTO)
        return;
    int number =
        mp_options.signal == MP_NUMBER_AUTO ? MEMPROF_REQUEST_SIGNAL : (int)mp_options.signal;
    struct sigaction before, action = {.sa_flags = FLAGS};
    action.sa_sigaction = on_signal;
    /* Who was executed by a program of ours finds it ignored. */
    if (sigaction(number, NULL, &before) != 0 ||
        (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)) {
        if (mp_options.signal != MP_NUMBER_AUTO)
            mp_say("signal %d is taken: requests by signal are off", number);
        return;
    }
    signal_number = sigaction(number, &action, NULL) == 0 ? number : 0;
}

bool mp_request_by_signal(void) {
    return signal_number && mp_sys_handles(signal_number, on_signal);
}
