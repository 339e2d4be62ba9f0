/* Start-up, fork and exit of the preloaded object. The allocator itself needs none of this to work:
 * ld.so and other libraries' constructors call malloc before ours runs. */
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "control/dump.h"
#include "control/listener.h"
#include "control/path.h"
#include "control/regular.h"
#include "control/report.h"
#include "control/request.h"
#include "heap/arena.h"
#include "heap/elsewhere.h"
#include "heap/heap.h"
#include "heap/hooks.h"
#include "leak/roots.h"
#include "leak/told.h"
#include "platform/arch.h"
#include "platform/elf.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/say.h"
#include "preload/preload.h"
#include "profile/about.h"
#include "profile/chosen.h"
#include "profile/sampler.h"
#include "profile/series.h"
#include "record/box.h"

bool mp_active;

/* The linker's words for where this object begins and ends. */
extern const char __ehdr_start[] MP_HIDDEN;
extern const char _end[] MP_HIDDEN;

/* Sanitizers' run-time libraries are allocators with checks of their own. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));

static void profile_nothing(void) {
    mp_options.rate = 0;
    mp_options.dump_exit = false;
    mp_options.dump_period = mp_options.dump_growth = 0;
    mp_options.leaks = MP_LEAKS_OFF;
    mp_options.report = "off";
    mp_report_stop();
}

/* ---- fork ---- */

/* glibc's fork takes stdio's list lock after all handlers. A thread that holds it (fflush(NULL))
 * and allocates would wait at our gate while we wait for it: so it is taken before the gate is
 * closed. It is recursive. In the child fork has reset it when the handlers run. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));

static __thread unsigned fork_from_inside __attribute__((tls_model("initial-exec")));

/* Registered before anyone else's handlers, so that it runs last before the fork, when the others
 * (libc's stdio included) have allocated what they wanted. */
static void before_fork(void) {
    /* A signal handler that interrupted one of our slow sections and forks: waiting for ourselves
     * would be for ever. The copy is then as good as the handler's luck, as it is with any malloc.
     */
    if (mp_lock_held || mp_slow_inside() || mp_sampler_is_inside_sigsafe()) {
        fork_from_inside++; /* perhaps inside a fork: each is followed by one of those below */
        return;
    }
    if (mp_tls.heap) {
        mp_slow_enter();
        mp_elsewhere_flush(mp_tls.heap);
        mp_slow_leave();
    }
    if (_IO_list_lock)
        _IO_list_lock();
    mp_dump_before_fork();
    mp_told_before_fork();
    mp_sampler_before_fork();
    mp_gate_close();
}

static void after_fork_parent(void) {
    if (fork_from_inside) {
        fork_from_inside--;
        return;
    }
    mp_gate_open(false);
    mp_sampler_after_fork(false);
    mp_told_after_fork(false);
    mp_dump_after_fork(false);
    if (_IO_list_unlock)
        _IO_list_unlock();
    mp_hooks_do_what_is_asked(); /* who forks all the time may have no slow path */
}

/* No lock may be taken here: somebody may hold it who does not exist. */
static void begin_child(void) {
    mp_request_after_fork_child();
    mp_regular_forget();
    mp_series_forget();
    mp_about_start();
    if (mp_options.children == MP_CHILDREN_OFF) {
        profile_nothing();
        mp_sampler_stop();
    }
}

static void after_fork_child(void) {
    if (fork_from_inside) {
        fork_from_inside--;
        mp_visit_forget();
        mp_box_cover();
        begin_child();
        return;
    }
    mp_gate_open(true);
    mp_sampler_after_fork(true);
    mp_told_after_fork(true);
    mp_dump_after_fork(true);
    begin_child();
    mp_regular_start();
}

/* ---- start ---- */

/* What handlers and clocks have left to the end of a slow path. */
static void asked(void) {
    if (!mp_dump_can_start_sigsafe()) {
        mp_hooks_ask_sigsafe(); /* within the profiler, or a fork: at the end of another one */
        return;
    }
    mp_request_asked();
    mp_regular_asked();
    mp_series_asked();
}

/* In a slow section, with each step of the clock: is anything due at its end? */
static void tick(uint64_t now_ms) {
    mp_request_tick();
    mp_regular_tick(now_ms);
    mp_series_tick(now_ms);
}

static bool has_sanitizer(void) {
    return __asan_init || __tsan_init || __msan_init;
}

/* libc's own calls tell: a block of strdup's comes from whatever malloc the process has. The
 * address of malloc would not: in a program that is not position-independent it may be that of the
 * program's own stub, and in an object opened with RTLD_DEEPBIND it is the object's. */
static bool is_allocator(void) {
    if (has_sanitizer())
        return false;
    char *block = strdup("");
    bool ours = mp_arena_find((uintptr_t)block) != NULL;
    void *mine = malloc(1);
    bool same = (mp_arena_find((uintptr_t)mine) != NULL) == ours;
    free(mine);
    if (same)
        free(block); /* otherwise the free that we see is not its own: a byte stays */
    return ours;
}

static void say_passive(void) {
    if (has_sanitizer())
        mp_say("the program has a sanitizer's malloc: staying passive");
    else if (mp_elf_find(_r_debug.r_map, "malloc"))
        mp_say("the program brings its own malloc: staying passive");
    else
        mp_say("loaded too late to be the allocator: use LD_PRELOAD (staying passive)");
}

__attribute__((constructor(101))) static void start(void) {
    bool secure = getauxval(AT_SECURE) != 0;
    char *options = secure ? NULL : getenv("MEMPROF_OPTIONS");
    mp_options_parse(options);
    mp_active = is_allocator();
    if (!mp_active) {
        if (!secure)
            say_passive();
        return;
    }
    if (!secure)
        mp_heap_find_nodes(""); /* how many locks there are is settled before anybody forks */
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
    if (!secure) { /* there, nothing is to be read or written: there is no profile either */
        if (!mp_chosen(options))
            profile_nothing();
        mp_hooks.asked = asked;
        if (mp_options.rate)
            mp_hooks.tick = tick;
        mp_about_start();
        mp_roots_except((uintptr_t)__ehdr_start, (uintptr_t)_end);
        mp_path_start();
        mp_dump_start();
        mp_report_start();
        mp_sampler_start();
        mp_box_start(getenv("XDG_RUNTIME_DIR"));
        mp_request_start();
        mp_regular_start();
        if (mp_options.control == MP_CONTROL_THREAD && mp_sampler_rate())
            mp_listener_start();
    }
}

/* After the program's exit handlers and destructors, as far as the loader's order allows. Nothing
 * is torn down: others may still allocate. */
__attribute__((destructor(101))) static void finish(void) {
    if (!mp_active)
        return;
    if (mp_options.dump_exit)
        mp_dump_at_exit();
    mp_box_end(mp_options.blackbox_keep);
    if (mp_options.stats_exit)
        mp_stats_print(false);
}
