#include "control/regular.h"

#include <stdatomic.h>

#include "control/dump.h"
#include "control/report.h"
#include "heap/census.h"
#include "heap/hooks.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"

static uint64_t period_ms, growth, report_ms; /* 0: none */
static _Atomic(uint64_t) next_ms, next_bytes, next_report_ms;
static _Atomic(bool) due, report_due, under_way, said;
static _Atomic(bool) copying, look; /* a copy is to be waited for; now */
static _Atomic(uint64_t) last_ms;

void mp_regular_tick(uint64_t now_ms) {
    if (!period_ms && !growth && !report_ms)
        return;
    if (atomic_exchange_explicit(&last_ms, now_ms, memory_order_relaxed) == now_ms)
        return;
    if (atomic_load_explicit(&copying, memory_order_relaxed)) {
        atomic_store_explicit(&look, true, memory_order_relaxed);
        mp_hooks_ask_sigsafe();
    }
    if ((period_ms && now_ms >= atomic_load_explicit(&next_ms, memory_order_relaxed)) ||
        (growth &&
         mp_stats_heap_bytes() >= atomic_load_explicit(&next_bytes, memory_order_relaxed))) {
        atomic_store_explicit(&due, true, memory_order_relaxed);
        mp_hooks_ask_sigsafe();
    }
    if (report_ms && now_ms >= atomic_load_explicit(&next_report_ms, memory_order_relaxed)) {
        atomic_store_explicit(&report_due, true, memory_order_relaxed);
        mp_hooks_ask_sigsafe();
    }
}

/* From now on, so that one that comes late is not followed by another. */
static void set_next(void) {
    atomic_store_explicit(&next_ms, mp_sys_now_ms() + period_ms, memory_order_relaxed);
    atomic_store_explicit(&next_bytes, mp_stats_heap_bytes() + growth, memory_order_relaxed);
}

static void set_next_report(void) {
    atomic_store_explicit(&next_report_ms, mp_sys_now_ms() + report_ms, memory_order_relaxed);
}

/* What goes wrong with a report the memprof command says itself. */
static void tell(int error, const char *what) {
    if (error && !mp_sys_confined && !atomic_exchange_explicit(&said, true, memory_order_relaxed))
        mp_say("no %s by itself: %s (said once)", what, mp_say_reason(error));
}

static void began(int error, const char *what) {
    tell(error, what);
    atomic_store_explicit(&copying, !error, memory_order_relaxed);
}

/* One at a time: the other comes when this one's copy has ended. */
static void begin_one(void) {
    if (atomic_exchange_explicit(&due, false, memory_order_relaxed)) {
        set_next();
        began(mp_dump_begin_sigsafe(&(struct mp_dump_order){.path = NULL}), "dump");
    } else if (atomic_exchange_explicit(&report_due, false, memory_order_relaxed)) {
        set_next_report();
        began(mp_report_begin_sigsafe(), "report");
    }
}

/* With signals blocked: a handler of the program's that never returned here (siglongjmp) would
 * leave this under way for good. */
void mp_regular_asked(void) {
    uint64_t mask;
    bool looks = atomic_exchange_explicit(&look, false, memory_order_relaxed);
    if (!looks && !atomic_load_explicit(&due, memory_order_relaxed) &&
        !atomic_load_explicit(&report_due, memory_order_relaxed))
        return;
    mp_sys_block_all(&mask);
    if (!atomic_exchange_explicit(&under_way, true, memory_order_acquire)) {
        if (looks) {
            atomic_store_explicit(&copying, mp_dump_reap_sigsafe(), memory_order_relaxed);
            tell(mp_dump_take_error(), "dump");
        }
        if (!atomic_load_explicit(&copying, memory_order_relaxed))
            begin_one();
        atomic_store_explicit(&under_way, false, memory_order_release);
    }
    mp_sys_unblock(&mask);
}

void mp_regular_forget(void) {
    due = report_due = under_way = copying = look = false;
}

void mp_regular_start(void) {
    period_ms = mp_options.dump_period == MP_TIME_OFF ? 0 : mp_options.dump_period;
    growth = mp_options.dump_growth == MP_NUMBER_AUTO ? 0 : mp_options.dump_growth;
    report_ms = mp_options.report_period == MP_TIME_OFF || !mp_report_is_wanted()
                    ? 0
                    : mp_options.report_period;
    if (period_ms || growth)
        set_next();
    if (report_ms)
        set_next_report();
}
