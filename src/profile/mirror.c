#include "profile/mirror.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <memprof/box.h>

#include "platform/lock.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "profile/about.h"
#include "profile/live.h"
#include "profile/peak.h"
#include "profile/regions.h"
#include "profile/sampler.h"
#include "profile/series.h"
#include "profile/stacks.h"
#include "record/box.h"
#include "record/memory.h"
#include "record/modules.h"

static struct mp_lock start_lock = MP_LOCK_INIT(MP_RANK_MIRROR_START);
static struct mp_lock slots_lock = MP_LOCK_INIT(MP_RANK_MIRROR_SLOTS);

/* Of this process's box; under the lock of stacks. */
static struct {
    uint32_t modules;       /* mirrored, or without room */
    bool full;              /* a stack had no room: no later one has any */
    uint64_t frames, frees; /* used */
} mirrored;

/* Of an area of slots: those that have been emptied, and how many have been in use at a time. Under
 * the lock of slots. */
struct slots {
    uint32_t *empty;
    uint32_t count, room;
    uint32_t high;
    enum memprof_box_area area;
};
static struct slots samples = {.area = MEMPROF_BOX_SAMPLES};
static struct slots regions = {.area = MEMPROF_BOX_REGIONS};

/* ---- sums ---- */

static void add(uint64_t *sum, uint64_t by) {
    mp_stack_sum_add((_Atomic(uint64_t) *)sum, by);
}

/* With rate=1, where this is done for every block, the samples are the objects, and are left out.
 */
static void add_sums(uint64_t *sums, uint64_t *check, uint64_t objects, uint64_t bytes) {
    uint64_t one = mp_sampler_rate() != 1;
    add(check, one * memprof_box_sum_weight(MEMPROF_BOX_SUM_SAMPLES) +
                   objects * memprof_box_sum_weight(MEMPROF_BOX_SUM_OBJECTS) +
                   bytes * memprof_box_sum_weight(MEMPROF_BOX_SUM_BYTES));
    if (one)
        add(&sums[MEMPROF_BOX_SUM_SAMPLES], 1);
    add(&sums[MEMPROF_BOX_SUM_OBJECTS], objects);
    add(&sums[MEMPROF_BOX_SUM_BYTES], bytes);
}

void mp_mirror_allocated(const struct mp_stack *stack, uint64_t objects, uint64_t bytes) {
    struct memprof_box_stack *record = stack->mirror;
    if (mp_box_standing() == MP_BOX_OPEN && record)
        add_sums(record->allocated, &record->allocated_check, objects, bytes);
}

void mp_mirror_freed(const struct mp_stack *stack, const struct mp_stack_free *entry,
                     uint64_t objects, uint64_t bytes) {
    struct memprof_box_stack *record = stack->mirror;
    if (mp_box_standing() != MP_BOX_OPEN || !record)
        return;
    add_sums(record->freed, &record->freed_check, objects, bytes);
    if (entry && entry->mirror)
        add_sums(entry->mirror->sums, &entry->mirror->sum_check, objects, bytes);
}

void mp_mirror_peak(const struct mp_stack *stack, const uint64_t before[3], const uint64_t now[3]) {
    struct memprof_box_stack *record = stack->mirror;
    uint64_t change = 0;
    if (mp_box_standing() != MP_BOX_OPEN || !record)
        return;
    for (unsigned i = 0; i < 3; i++)
        change += (now[i] - before[i]) * memprof_box_sum_weight(MEMPROF_BOX_PEAK_NUMBER + i);
    add(&record->freed_check, change);
    for (unsigned i = 0; i < 3; i++)
        add(&record->freed[MEMPROF_BOX_PEAK_NUMBER + i], now[i] - before[i]);
}

void mp_mirror_height(uint32_t number, int64_t height, uint64_t when_ns) {
    if (mp_box_standing() != MP_BOX_OPEN)
        return;
    struct memprof_box_state *state = mp_box_state();
    mp_lock_take(&slots_lock); /* two at a time: the later one stays */
    if (number > state->peak_number) {
        __atomic_store_n(&state->peak_bytes, (uint64_t)height, __ATOMIC_RELAXED);
        __atomic_store_n(&state->peak_ns, when_ns, __ATOMIC_RELAXED);
        __atomic_store_n(&state->peak_number, number, __ATOMIC_RELAXED);
    }
    mp_lock_drop(&slots_lock);
}

/* ---- stacks ---- */

static void mirror_module(const struct mp_module *module) {
    struct memprof_box_module *record = mp_box_at(MEMPROF_BOX_MODULES, mirrored.modules);
    if (!record) {
        mp_box_lose();
        return;
    }
    record->module = (struct memprof_dump_module){
        .start = module->start,
        .end = module->end,
        .bias = module->bias,
        .path = mp_box_text(module->path),
        .build_id_size = module->build_id_size,
    };
    memcpy(record->module.build_id, module->build_id, module->build_id_size);
    record->check = memprof_box_check(record, offsetof(struct memprof_box_module, check));
    mp_box_set_used(mp_box_state(), MEMPROF_BOX_MODULES, mirrored.modules + 1);
}

/* What its frames refer to. */
static void mirror_modules(void) {
    for (; mirrored.modules < mp_modules_count(); mirrored.modules++)
        mirror_module(mp_modules_get(mirrored.modules + 1));
}

static struct memprof_box_stack *room_for(const struct mp_stack *stack, uint64_t **frames) {
    struct memprof_box_stack *record = mp_box_at(MEMPROF_BOX_STACKS, stack->number);
    uint64_t *last = mp_box_at(MEMPROF_BOX_FRAMES, mirrored.frames + stack->depth - 1);
    *frames = last - stack->depth + 1;
    return last ? record : NULL;
}

static void put_stack(struct mp_stack *stack) {
    struct memprof_box_state *state = mp_box_state();
    uint64_t *frames;
    stack->mirror = NULL;
    struct memprof_box_stack *record = mirrored.full ? NULL : room_for(stack, &frames);
    if (!record) {
        mirrored.full = true;
        mp_box_lose();
        return;
    }
    mirror_modules();
    memcpy(frames, stack->frames, stack->depth * sizeof *frames);
    record->frame = mirrored.frames;
    record->depth = stack->depth;
    record->flags = stack->flags;
    record->check =
        memprof_box_check_on(memprof_box_check(record, offsetof(struct memprof_box_stack, check)),
                             frames, stack->depth * sizeof *frames);
    mirrored.frames += stack->depth;
    mp_box_set_used(state, MEMPROF_BOX_FRAMES, mirrored.frames);

    struct mp_stack_totals freed = mp_stack_freed_in_all(stack);
    bool with_samples = mp_sampler_rate() != 1;
    record->allocated[MEMPROF_BOX_SUM_SAMPLES] =
        with_samples ? stack->counts->allocated.samples : 0;
    record->allocated[MEMPROF_BOX_SUM_OBJECTS] = stack->counts->allocated.objects;
    record->allocated[MEMPROF_BOX_SUM_BYTES] = stack->counts->allocated.bytes;
    record->freed[MEMPROF_BOX_SUM_SAMPLES] = with_samples ? freed.samples : 0;
    record->freed[MEMPROF_BOX_SUM_OBJECTS] = freed.objects;
    record->freed[MEMPROF_BOX_SUM_BYTES] = freed.bytes;
    record->freed[MEMPROF_BOX_PEAK_NUMBER] = stack->peak;
    record->freed[MEMPROF_BOX_PEAK_OBJECTS] = stack->counts->peak_objects;
    record->freed[MEMPROF_BOX_PEAK_BYTES] = stack->counts->peak_bytes;
    record->allocated_check =
        memprof_box_sum_check(record->check, record->allocated, MEMPROF_BOX_SUMS);
    record->freed_check =
        memprof_box_sum_check(record->check, record->freed, MEMPROF_BOX_FREED_SUMS);
    mp_box_set_used(state, MEMPROF_BOX_STACKS, stack->number + 1u);
    stack->mirror = record;
}

void mp_mirror_stack(struct mp_stack *stack) {
    if (mp_box_standing() == MP_BOX_OPEN)
        put_stack(stack);
}

static void put_free(const struct mp_stack *stack, struct mp_stack_free *entry) {
    entry->mirror = NULL;
    if (mp_sampler_rate() == 1 || !stack->mirror)
        return;
    struct memprof_box_free *record = mp_box_at(MEMPROF_BOX_FREES, mirrored.frees);
    if (!record) {
        mp_box_lose();
        return;
    }
    record->stack = stack->number;
    record->node = (uint16_t)entry->kind;
    record->on = (uint16_t)(entry->kind >> 16);
    record->lifetime = (uint8_t)(entry->kind >> 32);
    record->flags = (uint8_t)(entry->kind >> 40);
    record->check = memprof_box_check(record, offsetof(struct memprof_box_free, check));
    record->sums[0] = entry->sums->samples;
    record->sums[1] = entry->sums->objects;
    record->sums[2] = entry->sums->bytes;
    record->sum_check = memprof_box_sum_check(record->check, record->sums, MEMPROF_BOX_SUMS);
    entry->mirror = record;
    mp_box_set_used(mp_box_state(), MEMPROF_BOX_FREES, ++mirrored.frees);
}

void mp_mirror_free(const struct mp_stack *stack, struct mp_stack_free *entry) {
    if (mp_box_standing() == MP_BOX_OPEN)
        put_free(stack, entry);
}

/* ---- slots ---- */

/* One that is free, from 1; 0: there are no more. */
static uint32_t take_slot(struct slots *slots) {
    mp_lock_take(&slots_lock);
    uint32_t slot = slots->count ? slots->empty[--slots->count] : slots->high + 1;
    if (slot > slots->high) {
        if (mp_box_at(slots->area, slot - 1)) {
            slots->high = slot;
            mp_box_set_used(mp_box_state(), slots->area, slot);
        } else {
            slot = 0;
        }
    }
    mp_lock_drop(&slots_lock);
    if (!slot)
        mp_box_lose();
    return slot;
}

static bool room_for_slot(struct slots *slots) {
    if (slots->count < slots->room)
        return true;
    uint32_t room = slots->room ? slots->room * 2 : 1024;
    uint32_t *larger = mp_record_alloc(room * sizeof *larger);
    if (!larger)
        return false;
    if (slots->count)
        memcpy(larger, slots->empty, slots->count * sizeof *larger);
    mp_record_free(slots->empty, slots->room * sizeof *larger);
    slots->empty = larger;
    slots->room = room;
    return true;
}

static void give_slot(struct slots *slots, uint32_t slot) {
    mp_lock_take(&slots_lock);
    if (room_for_slot(slots))
        slots->empty[slots->count++] = slot; /* else it is never used again */
    mp_lock_drop(&slots_lock);
}

static void forget_slots(struct slots *slots) {
    mp_record_free(slots->empty, slots->room * sizeof *slots->empty);
    *slots = (struct slots){.area = slots->area};
}

/* A record begins with the word that says that it is there. It is stored last: whoever sees it sees
 * the rest. */
static void fill_record(struct slots *slots, uint32_t slot, const void *image, size_t size) {
    uint64_t *record = mp_box_at(slots->area, slot - 1), first;
    memcpy(&first, image, sizeof first);
    memcpy(record + 1, (const uint64_t *)image + 1, size - sizeof first);
    __atomic_store_n(record, first, __ATOMIC_RELEASE);
}

/* Before anything else is written there. */
static void empty_record(struct slots *slots, uint32_t slot) {
    uint64_t *record = mp_box_at(slots->area, slot - 1);
    __atomic_store_n(record, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

/* ---- samples ---- */

static void fill_sample(uint32_t slot, const struct mp_live *sample) {
    struct memprof_box_sample image = {
        .serial = sample->serial,
        .address = sample->address,
        .size = sample->size,
        .coin = sample->coin,
        .rate = mp_sampler_rate_of(sample),
        .born_ns = sample->born_ns,
        .stack = mp_stacks_get(sample->stack)->number,
        .thread = sample->thread,
        .node = sample->node,
        .resizes = sample->resizes,
        .flags = sample->large ? MEMPROF_SAMPLE_LARGE : 0,
    };
    image.check = memprof_box_check(&image, offsetof(struct memprof_box_sample, check));
    fill_record(&samples, slot, &image, sizeof image);
}

static uint32_t put_sample(const struct mp_live *sample) {
    if (mp_sampler_rate() == 1 || !mp_stacks_get(sample->stack)->mirror)
        return 0;
    uint32_t slot = take_slot(&samples);
    if (slot)
        fill_sample(slot, sample);
    return slot;
}

uint32_t mp_mirror_sample(const struct mp_live *sample) {
    if (mp_box_standing() != MP_BOX_OPEN || mp_sampler_rate() == 1)
        return 0;
    __atomic_store_n(&mp_box_state()->samples_taken, sample->serial, __ATOMIC_RELAXED);
    return put_sample(sample);
}

void mp_mirror_gone(uint32_t slot) {
    if (!slot || mp_box_standing() != MP_BOX_OPEN)
        return;
    empty_record(&samples, slot);
    give_slot(&samples, slot);
}

void mp_mirror_changed(const struct mp_live *sample) {
    if (!sample->slot || mp_box_standing() != MP_BOX_OPEN)
        return;
    empty_record(&samples, sample->slot);
    fill_sample(sample->slot, sample);
}

/* ---- regions ---- */

static void fill_region(uint32_t slot, const struct mp_region *region) {
    struct memprof_box_region image = {
        .start = region->start,
        .end = region->end,
        .born_ns = region->born_ns,
        .stack = mp_stacks_get(region->stack)->number,
        .thread = region->thread,
        .kind = region->kind,
        .access = region->access,
    };
    image.check = memprof_box_check(&image, offsetof(struct memprof_box_region, check));
    fill_record(&regions, slot, &image, sizeof image);
}

static uint32_t put_region(const struct mp_region *region) {
    uint32_t slot = mp_stacks_get(region->stack)->mirror ? take_slot(&regions) : 0;
    if (slot)
        fill_region(slot, region);
    return slot;
}

uint32_t mp_mirror_region(const struct mp_region *region) {
    return mp_box_standing() == MP_BOX_OPEN ? put_region(region) : 0;
}

void mp_mirror_region_gone(uint32_t slot) {
    if (!slot || mp_box_standing() != MP_BOX_OPEN)
        return;
    empty_record(&regions, slot);
    give_slot(&regions, slot);
}

void mp_mirror_region_changed(const struct mp_region *region) {
    if (!region->slot || mp_box_standing() != MP_BOX_OPEN)
        return;
    empty_record(&regions, region->slot);
    fill_region(region->slot, region);
}

/* ---- the start ---- */

static void put_stack_and_frees(const struct mp_stack *each, void *unused) {
    struct mp_stack *stack = (struct mp_stack *)each;
    (void)unused;
    put_stack(stack);
    for (struct mp_stack_free *entry = stack->frees; entry; entry = entry->next)
        put_free(stack, entry);
}

/* What there is by now: nothing, mostly, or in a child what it has from its parent. */
static void put_all(void) {
    uint64_t when_ns;
    memset(&mirrored, 0, sizeof mirrored);
    forget_slots(&samples);
    forget_slots(&regions);
    mp_stacks_each(put_stack_and_frees, NULL);
    mp_live_set_slots(put_sample);
    mp_regions_set_slots(put_region);
    uint64_t height = mp_peak_height(&when_ns);
    struct memprof_box_state *state = mp_box_state();
    state->begun_ns = mp_about_began_precisely_ns();
    state->peak_bytes = height;
    state->peak_ns = when_ns;
    state->peak_number = mp_peak_number();
}

static void decide(void) {
    static struct memprof_dump_process process;
    static bool said;
    const char *why;
    /* After a filter it would take calls that may be forbidden; with rate=0 there is nothing. */
    if (mp_sys_confined || !mp_sampler_rate()) {
        mp_box_settle(NULL);
        return;
    }
    if (mp_box_make(&why) == 0) {
        put_all();
        mp_about(&process, mp_sys_getpid(), mp_box_text);
        process.parent_pid = (uint32_t)mp_sys_getppid();
        mp_box_settle(&process);
        mp_series_soon();
        return;
    }
    mp_box_settle(NULL);
    if (why && !said)
        mp_say("no black box: %s", why);
    said = true;
}

bool mp_mirror_begin(bool sample) {
    if (MP_LIKELY(mp_box_standing() != MP_BOX_UNDECIDED))
        return false;
    mp_lock_take(&start_lock);
    if (sample && mp_box_standing() == MP_BOX_UNDECIDED) {
        /* A handler that leaves by siglongjmp would leave it half made; and the stack that a
         * handler has beside this one's may be small. */
        uint64_t mask;
        mp_sys_block_all(&mask);
        decide();
        mp_sys_unblock(&mask);
    }
    if (mp_box_standing() == MP_BOX_UNDECIDED)
        return true;
    mp_lock_drop(&start_lock);
    return false;
}

void mp_mirror_end(bool undecided) {
    if (MP_UNLIKELY(undecided))
        mp_lock_drop(&start_lock);
}

/* A change that changes nothing: a handler that comes in between finds its thread inside. */
void mp_mirror_make(void) {
    mp_sampler_begin_change(true);
    mp_sampler_end_change();
}

void mp_mirror_before_fork(void) {
    mp_lock_take(&start_lock);
}

void mp_mirror_after_fork(bool child) {
    if (child)
        mp_lock_reset(&start_lock);
    else
        mp_lock_drop(&start_lock);
}

void mp_mirror_slots_before_fork(void) {
    mp_lock_take(&slots_lock);
}

void mp_mirror_slots_after_fork(bool child) {
    if (child)
        mp_lock_reset(&slots_lock);
    else
        mp_lock_drop(&slots_lock);
}
