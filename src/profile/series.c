#include "profile/series.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <memprof/box.h>

#include "heap/census.h"
#include "heap/class.h"
#include "heap/hooks.h"
#include "platform/sys.h"
#include "profile/about.h"
#include "profile/sampler.h"
#include "record/box.h"
#include "record/memory.h"

#define PERIOD_MS   1000u /* of points */
#define FIGURES_MS  50u   /* of what the black box says of the heap */
#define COST_SHARE  1000u
#define GIVEN_UP_MS 10000u /* a signal handler that left by siglongjmp has taken it along */

_Static_assert(MP_CLASSES + 2 <= MEMPROF_BOX_CLASSES, "");

/* Who has `busy` writes the rest. */
static _Atomic(uint64_t) busy; /* since when, ms; 0: nobody is at it */
static _Atomic(uint64_t) next_ms;
static struct memprof_dump_point points[MP_SERIES_POINTS];
static uint32_t count, mirrored;
static uint64_t period_ms = PERIOD_MS;
static unsigned figures_written;

static void mirror_point(uint32_t number) {
    struct memprof_box_point *record =
        mp_box_standing() == MP_BOX_OPEN ? mp_box_at(MEMPROF_BOX_SERIES, number) : NULL;
    if (!record)
        return;
    record->point = points[number];
    record->check = memprof_box_check(&record->point, sizeof record->point);
    if (mp_box_state()->used[MEMPROF_BOX_SERIES] <= number)
        mp_box_set_used(mp_box_state(), MEMPROF_BOX_SERIES, number + 1u);
}

/* Those that are not in the black box yet: all, when it has just been made. */
static void mirror_points(void) {
    for (; mirrored < count; mirrored++)
        mirror_point(mirrored);
}

/* A reader in between sees points twice. */
static void thin_out(void) {
    count /= 2;
    for (uint32_t i = 0; i < count; i++)
        points[i] = points[2 * i];
    mirrored = 0;
    mirror_points();
    period_ms *= 2;
}

static void add_point(const struct mp_stats *stats, uint64_t now_ns, uint64_t real_ns) {
    if (count >= MP_SERIES_POINTS)
        thin_out();
    points[count] = (struct memprof_dump_point){
        .time_ns = real_ns,
        .uptime_ns = now_ns - mp_about_began_precisely_ns(),
        .live_bytes = stats->live_bytes,
        .live_objects = stats->live_blocks,
        .cached_bytes = stats->cached_max_bytes,
        .heap_bytes = mp_stats_heap_bytes(),
        .allocated_objects = stats->allocated_blocks,
    };
    count++;
}

static struct memprof_dump_class sized_class(const struct mp_stats *stats, unsigned class) {
    const struct mp_stats_class *from = &stats->classes[class];
    uint64_t used = from->used > from->cached ? from->used - from->cached : 0;
    uint64_t free = from->blocks > used ? from->blocks - used : 0;
    return (struct memprof_dump_class){
        .size = mp_class_size(class),
        .kind = MEMPROF_CLASS_SIZED,
        .pages = from->pages,
        .live_objects = from->used,
        .live_bytes = from->used * mp_class_size(class),
        .free_objects = free,
        .stranded_bytes = free * mp_class_size(class),
    };
}

static void mirror_figures(const struct mp_stats *stats, uint64_t now_ns, uint64_t real_ns) {
    static struct memprof_box_figures figures;
    struct mp_sampler_counts counts;
    if (mp_box_standing() != MP_BOX_OPEN)
        return;
    mp_sampler_get_counts(&counts);
    figures = (struct memprof_box_figures){
        .time_ns = real_ns,
        .uptime_ns = now_ns - mp_about_began_precisely_ns(),
        .live_bytes = stats->live_bytes,
        .live_objects = stats->live_blocks,
        .allocated_objects = stats->allocated_blocks,
        .cached_bytes = stats->cached_max_bytes,
        .fragmented_bytes = stats->fragmented_bytes + stats->cached_max_bytes,
        .purgeable_bytes = stats->purgeable_bytes,
        .metadata_bytes = stats->metadata_bytes,
        .profile_bytes = mp_record_bytes(),
        .threads = stats->threads,
        .samples_taken = counts.taken,
        .samples_dropped = counts.dropped,
        .class_count = MP_CLASSES + 2,
    };
    for (unsigned c = 0; c < MP_CLASSES; c++)
        figures.classes[c] = sized_class(stats, c);
    figures.classes[MP_CLASSES] = (struct memprof_dump_class){
        .kind = MEMPROF_CLASS_LARGE,
        .pages = stats->large_blocks,
        .live_objects = stats->large_blocks,
        .live_bytes = stats->large_bytes,
    };
    figures.classes[MP_CLASSES + 1] = (struct memprof_dump_class){
        .kind = MEMPROF_CLASS_MAPPED,
        .pages = stats->mapped_blocks,
        .live_objects = stats->mapped_blocks,
        .live_bytes = stats->mapped_bytes,
    };
    figures.check = memprof_box_check(&figures, offsetof(struct memprof_box_figures, check));
    memcpy(&mp_box_state()->figures[figures_written++ % 2], &figures, sizeof figures);
}

static void take_point(void) {
    static struct mp_stats stats;
    uint64_t now_ns = mp_sys_precise_ns(), real_ns = mp_sys_real_ns();
    mp_stats_get(&stats);
    if (count == 0 ||
        now_ns - mp_about_began_precisely_ns() - points[count - 1].uptime_ns >= period_ms * 1000000)
        add_point(&stats, now_ns, real_ns);
    mp_sampler_begin_change(false); /* a handler may fork: that child has the box covered */
    mirror_points();
    mirror_figures(&stats, now_ns, real_ns);
    mp_sampler_end_change();
    uint64_t took_ms = (mp_sys_precise_ns() - now_ns) * COST_SHARE / 1000000;
    uint64_t wait_ms = mp_box_standing() == MP_BOX_OPEN ? FIGURES_MS : period_ms;
    atomic_store_explicit(&next_ms, mp_sys_now_ms() + (took_ms > wait_ms ? took_ms : wait_ms),
                          memory_order_relaxed);
}

static void take_if_free(void) {
    uint64_t now = mp_sys_now_ms(), since = atomic_load_explicit(&busy, memory_order_relaxed);
    if ((since && now - since < GIVEN_UP_MS) ||
        /* acquire and release: the next one sees what this one wrote */
        !atomic_compare_exchange_strong_explicit(&busy, &since, now, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    take_point();
    atomic_store_explicit(&busy, 0, memory_order_release);
}

void mp_series_tick(uint64_t now_ms) {
    if (now_ms >= atomic_load_explicit(&next_ms, memory_order_relaxed))
        mp_hooks_ask_sigsafe();
}

void mp_series_asked(void) {
    if (mp_sys_now_ms() >= atomic_load_explicit(&next_ms, memory_order_relaxed))
        take_if_free();
}

void mp_series_each(void (*visit)(const struct memprof_dump_point *point)) {
    for (uint32_t i = 0; i < count; i++)
        visit(&points[i]);
}

void mp_series_soon(void) {
    mirrored = 0;
    atomic_store_explicit(&next_ms, 0, memory_order_relaxed);
}

void mp_series_forget(void) {
    busy = next_ms = 0;
    count = 0;
    period_ms = PERIOD_MS;
}
