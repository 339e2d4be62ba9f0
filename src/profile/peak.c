#include "profile/peak.h"

#include <stdatomic.h>

#include "platform/sys.h"
#include "profile/mirror.h"
#include "profile/stacks.h"

static _Atomic(int64_t) live;
static _Atomic(int64_t) height;
static _Atomic(uint64_t) reached_ns;
/* Stacks begin with 0. Looked at with every change of a stack: apart from what changes often. */
static struct { _Atomic(uint32_t) number; } __attribute__((aligned(MP_CACHE_LINE))) last = {1};

void mp_peak_change(struct mp_heap *heap, int64_t bytes) {
    if (heap) {
        heap->unsettled += bytes;
        if (heap->unsettled < MP_PEAK_STEP * (int64_t)MP_BYTES_ONE &&
            heap->unsettled > -MP_PEAK_STEP * (int64_t)MP_BYTES_ONE)
            return;
        bytes = heap->unsettled;
        heap->unsettled = 0;
    }
    int64_t now = atomic_fetch_add_explicit(&live, bytes, memory_order_relaxed) + bytes;
    int64_t before = atomic_load_explicit(&height, memory_order_relaxed);
    while (now > before + before / MP_PEAK_SHARE) {
        if (atomic_compare_exchange_weak_explicit(&height, &before, now, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            uint64_t now_ns = mp_sys_now_ns();
            atomic_store_explicit(&reached_ns, now_ns, memory_order_relaxed);
            /* release: who sees the number sees the sums that it is of */
            uint32_t height_number =
                atomic_fetch_add_explicit(&last.number, 1, memory_order_release) + 1;
            mp_mirror_height(height_number, now, now_ns);
            return;
        }
    }
}

uint32_t mp_peak_number(void) {
    return atomic_load_explicit(&last.number, memory_order_acquire);
}

uint64_t mp_peak_height(uint64_t *when_ns) {
    *when_ns = atomic_load_explicit(&reached_ns, memory_order_relaxed);
    return (uint64_t)atomic_load_explicit(&height, memory_order_relaxed);
}
