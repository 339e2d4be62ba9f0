#include "control/regular.h"

#include <stdatomic.h>

#include "control/dump.h"
#include "heap/census.h"
#include "heap/hooks.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"

static uint64_t period_ms, growth; /* 0: none */
static _Atomic(uint64_t) next_ms, next_bytes;
static _Atomic(bool) due, under_way, said;
static _Atomic(bool) copying, look; /* a copy is to be waited for; now */
static _Atomic(uint64_t) last_ms;

void mp_regular_tick(uint64_t now_ms) {
    if (!period_ms && !growth)
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
}

/* From now on, so that one that comes late is not followed by another. */
static void set_next(void) {
    atomic_store_explicit(&next_ms, mp_sys_now_ms() + period_ms, memory_order_relaxed);
    atomic_store_explicit(&next_bytes, mp_stats_heap_bytes() + growth, memory_order_relaxed);
}

static void tell(int error) {
    if (error && !atomic_exchange_explicit(&said, true, memory_order_relaxed))
        mp_say("no dump by itself: %s (said once)", mp_say_reason(error));
}

static void begin(void) {
    set_next();
    int error = mp_dump_begin_sigsafe(&(struct mp_dump_order){.path = NULL});
    tell(error);
    atomic_store_explicit(&copying, !error, memory_order_relaxed);
}

/* With signals blocked: a handler of the program's that never returned here (siglongjmp) would
 * leave this under way for good. */
void mp_regular_asked(void) {
    uint64_t mask;
    bool looks = atomic_exchange_explicit(&look, false, memory_order_relaxed);
    if (!looks && !atomic_load_explicit(&due, memory_order_relaxed))
        return;
    mp_sys_block_all(&mask);
    if (!atomic_exchange_explicit(&under_way, true, memory_order_acquire)) {
        if (looks) {
            atomic_store_explicit(&copying, mp_dump_reap_sigsafe(), memory_order_relaxed);
            tell(mp_dump_take_error());
        }
        if (!atomic_load_explicit(&copying, memory_order_relaxed) &&
            atomic_exchange_explicit(&due, false, memory_order_relaxed))
            begin();
        atomic_store_explicit(&under_way, false, memory_order_release);
    }
    mp_sys_unblock(&mask);
}

void mp_regular_forget(void) {
    due = under_way = copying = look = false;
}

void mp_regular_start(void) {
    period_ms = mp_options.dump_period == MP_TIME_OFF ? 0 : mp_options.dump_period;
    growth = mp_options.dump_growth == MP_NUMBER_AUTO ? 0 : mp_options.dump_growth;
    if (period_ms || growth)
        set_next();
}
