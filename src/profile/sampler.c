#include "profile/sampler.h"

#include <stdatomic.h>
#include <stddef.h>

#include <memprof/dump.h>

#include "heap/heap.h"
#include "heap/hooks.h"
#include "heap/misuse.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "profile/chance.h"
#include "profile/live.h"
#include "profile/mirror.h"
#include "profile/peak.h"
#include "profile/regions.h"
#include "profile/stacks.h"
#include "profile/unwind.h"
#include "record/box.h"
#include "record/modules.h"

#define RATE_AUTO ((uint64_t)512 << 10)

/* What rate=auto makes coarser, and by how much. */
#define SAMPLE_US   1000u        /* of a thread's time for a sample, which costs some two of them */
#define BURST_US    (16 * 1000u) /* may be owed for nothing: 16 samples */
#define COARSE_MOST 3u           /* doublings */

_Static_assert(MP_UNWIND_CUT == MEMPROF_STACK_CUT && MP_UNWIND_BROKEN == MEMPROF_STACK_BROKEN, "");

static uint64_t rate, seed; /* as drawn with; what is said of it: mp_sampler_rate */
static bool paced, stopped;
static unsigned depth;
static _Atomic(uint64_t) dropped; /* samples */
/* Apart from what everyone reads. */
static struct {
    _Atomic(uint64_t) last; /* but of samples that a heap has numbered: next_serial */
} __attribute__((aligned(MP_CACHE_LINE))) serials;

/* What this thread is in; the first two are looked at by signal handlers of its own. */
static __thread struct {
    unsigned inside;
    bool undecided;        /* see mirror.h */
    struct mp_live moving; /* taken out by `resizing`, until `resized` */
    bool large;            /* the last draw was for a large block */
    void *moved_to;        /* by realloc, what is being freed */
    uint32_t thread;       /* its number; 0: none yet */
} here __attribute__((tls_model("initial-exec")));

bool mp_sampler_is_inside_sigsafe(void) {
    return here.inside != 0;
}

void mp_sampler_begin_change(bool sample) {
    here.inside++;
    atomic_signal_fence(memory_order_seq_cst);
    if (here.inside == 1)
        here.undecided = mp_mirror_begin(sample);
}

void mp_sampler_end_change(void) {
    if (here.inside == 1)
        mp_mirror_end(here.undecided);
    atomic_signal_fence(memory_order_seq_cst);
    here.inside--;
}

/* ---- which blocks ---- */

/* A thread has no heap at its very end, and until it first asks for a block that is not large.
 * Streams of such threads are numbered as they come, above those of heaps: what tells threads apart
 * by address would give the same draws to all that use a stack one after the other. */
#define HEAPLESS ((uint64_t)1 << 32)

static uint64_t *stream_of(struct mp_heap *heap) {
    static _Atomic(uint64_t) heapless_streams;
    static __thread uint64_t heapless __attribute__((tls_model("initial-exec")));
    uint64_t *state = heap ? &heap->random : &heapless;
    if (!*state) {
        uint64_t index =
            heap ? heap->number
                 : HEAPLESS + atomic_fetch_add_explicit(&heapless_streams, 1, memory_order_relaxed);
        *state = mp_chance_stream(seed, index);
    }
    return state;
}

/* A thread that allocates by the gigabyte per second would pay a tenth of its time for samples of
 * blocks that come and go. So with rate=auto each sample takes SAMPLE_US of its time, and for each
 * BURST_US that it owes, the mean distance doubles, up to 4 MiB. That is settled before a count is
 * drawn, by what was before, and each sample keeps the rate of its own draw: so no block's chance
 * hangs on whether it is hit, and sums stay right. Not for large blocks: they are dear themselves,
 * and when they grow, their chance is that of all their bytes at one rate. */
static unsigned coarse(const struct mp_heap *heap) {
    uint64_t now_us = paced ? mp_sys_now_ns() / 1000 : UINT64_MAX;
    uint64_t steps = heap->paced_us > now_us ? (heap->paced_us - now_us) / BURST_US : 0;
    return steps < COARSE_MOST ? (unsigned)steps : COARSE_MOST;
}

static void pay(struct mp_heap *heap, uint64_t now_ns) {
    uint64_t now_us = now_ns / 1000, most = now_us + (COARSE_MOST + 1) * BURST_US;
    uint64_t until = (heap->paced_us > now_us ? heap->paced_us : now_us) + SAMPLE_US;
    heap->paced_us = until < most ? until : most;
}

static uint32_t countdown(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    bin->last_coarse = bin->coarse; /* what comes to its end now, if it is a sample */
    bin->coarse = (uint8_t)coarse(heap);
    here.large = false;
    if (MP_UNLIKELY(stopped))
        return MP_NO_SAMPLE;
    return mp_chance_count(stream_of(heap), mp_class_size(class), rate << bin->coarse);
}

/* Under which the block that has just been hit was drawn: by the last draw of this thread. */
static unsigned coarse_of_sample(const struct mp_heap *heap, size_t usable) {
    return here.large ? 0 : heap->bins[mp_class_of(usable)].last_coarse;
}

uint64_t mp_sampler_rate_of(const struct mp_live *sample) {
    return rate << sample->coarse;
}

static int toss_large(size_t bytes) {
    here.large = true;
    if (MP_UNLIKELY(stopped))
        return 0;
    return mp_chance_toss(stream_of(mp_tls.heap), mp_chance_of(bytes, rate));
}

static double weight_of(const struct mp_live *sample) {
    return 1 / mp_chance_of(sample->coin, mp_sampler_rate_of(sample));
}

/* ---- what is kept of them ---- */

/* Where every block is a sample, a number that all threads add to would be what they wait for: so
 * each heap has its own. In a change: handlers take none. */
static uint64_t next_serial(struct mp_heap *heap) {
    if (!mp_hooks.every || !heap)
        return atomic_fetch_add_explicit(&serials.last, 1, memory_order_relaxed) + 1;
    uint64_t samples = atomic_load_explicit(&heap->samples, memory_order_relaxed) + 1;
    atomic_store_explicit(&heap->samples, samples, memory_order_relaxed);
    return (uint64_t)heap->number << 40 | samples;
}

/* The capture has just looked whether it is still the one that it was. */
static uint32_t module_of(uintptr_t address) {
    struct mp_unwind_module *passed = mp_unwind_module(address);
    if (!passed)
        return mp_modules_find(address);
    /* One that stays is known to all threads. */
    uint32_t number = __atomic_load_n(&passed->number, __ATOMIC_ACQUIRE);
    if (MP_LIKELY(number))
        return number;
    number = mp_modules_find_tagged(passed->start, passed->tag);
    if (!number) {
        number = mp_modules_find(address);
        if (number)
            mp_modules_note_tag(number, passed->start, passed->tag);
    }
    __atomic_store_n(&passed->number, number, __ATOMIC_RELEASE);
    return number;
}

uint32_t mp_sampler_stack(const void *caller) {
    uint64_t frames[MP_DEPTH_MAX];
    struct mp_unwound unwound = mp_unwind(frames, depth, caller);
    if (!unwound.depth) {
        frames[0] = (uintptr_t)caller;
        unwound.depth = 1;
        unwound.flags = MEMPROF_STACK_BROKEN;
    }
    uint64_t module = 0;
    const struct mp_module *found = NULL; /* that of the frame before: mostly of this one, too */
    for (unsigned i = 0; i < unwound.depth; i++) {
        uint64_t exact = frames[i] & MP_UNWIND_EXACT, address = MEMPROF_FRAME_ADDRESS(frames[i]);
        /* A call may be its module's last instruction: it is looked up by the byte before. */
        uintptr_t at = address - !exact;
        if (!found || at < found->start || at >= found->end) {
            module = module_of(at);
            found = module ? mp_modules_get((uint32_t)module) : NULL;
        }
        frames[i] = exact | module << 48 | address;
    }
    return mp_stacks_find(frames, unwound.depth, unwound.flags);
}

static void record(struct mp_live *sample) {
    sample->stack = mp_sampler_stack(mp_misuse_called_from());
    sample->slot = sample->stack ? mp_mirror_sample(sample) : 0;
    if (!sample->stack || !mp_live_add(sample)) {
        mp_mirror_gone(sample->slot);
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
        return;
    }
    uint64_t bytes =
        mp_stack_allocated(mp_stacks_get(sample->stack), weight_of(sample), sample->size);
    mp_peak_change(mp_tls.heap, (int64_t)bytes);
}

uint32_t mp_sampler_thread(void) {
    static _Atomic(uint32_t) last;
    if (!here.thread)
        here.thread = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
    return here.thread;
}

static uint16_t one_more(uint16_t count) {
    return count < UINT16_MAX ? count + 1 : count;
}

static uint8_t bits_of(uint64_t number) {
    return number ? (uint8_t)(64 - __builtin_clzll(number)) : 0;
}

static void forget(const struct mp_live *sample, uint64_t now, uint8_t flags) {
    mp_mirror_gone(sample->slot);
    if (sample->thread != mp_sampler_thread())
        flags |= MEMPROF_FREE_ELSEWHERE;
    mp_free_kind kind =
        mp_free_kind_of(sample->node, (uint16_t)mp_numa_number_here(),
                        bits_of(now > sample->born_ns ? now - sample->born_ns : 0), flags);
    uint64_t bytes =
        mp_stack_freed(mp_stacks_get(sample->stack), kind, weight_of(sample), sample->size);
    mp_peak_change(mp_tls.heap, -(int64_t)bytes);
}

static void sampled(void *block, void *place, size_t size, size_t usable) {
    (void)place;
    if (MP_UNLIKELY(stopped))
        return;
    struct mp_live sample = {
        .address = (uintptr_t)block,
        .size = size,
        .coin = usable,
        .born_ns = mp_sys_precise_ns(),
        .thread = mp_sampler_thread(),
        .node = mp_numa_number_here() & (MP_NUMA_NUMBERS - 1),
        .coarse = coarse_of_sample(mp_tls.heap, usable) & 31,
        .large = here.large,
    };
    if (!here.large)
        pay(mp_tls.heap, sample.born_ns);
    if (here.inside) { /* an unwinder's own allocation */
        atomic_fetch_add_explicit(&serials.last, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
        return;
    }
    mp_sampler_begin_change(true);
    sample.serial = next_serial(mp_tls.heap);
    record(&sample);
    mp_sampler_end_change();
}

static void freed(void *block) {
    struct mp_live sample, moved;
    uint64_t now = mp_sys_precise_ns(); /* while the record is fetched (free_sample) */
    mp_sampler_begin_change(false);
    if (mp_live_take((uintptr_t)block, &sample)) {
        forget(&sample, now, here.moved_to ? MEMPROF_FREE_RESIZED : 0);
        if (here.moved_to &&
            mp_live_note_resizes((uintptr_t)here.moved_to, one_more(sample.resizes), &moved))
            mp_mirror_changed(&moved);
    }
    mp_sampler_end_change();
}

static void moving(void *to) {
    here.moved_to = to;
}

static void resizing(void *block) {
    mp_sampler_begin_change(!stopped); /* ended by resized */
    if (!mp_live_take((uintptr_t)block, &here.moving))
        here.moving.address = 0;
}

/* A sample that has shrunk stays one with the chance that its new size has under its old: so that
 * any block is a sample with the chance of its size, whatever it was before. */
static int resized(void *block, size_t size, size_t usable) {
    struct mp_live *sample = &here.moving;
    int still = 1;
    if (!sample->address) {
        /* It was dropped; let it be, as a sample without a record. */
    } else if (!block) {
        if (!mp_live_add(sample))
            forget(sample, mp_sys_precise_ns(), 0);
    } else {
        forget(sample, mp_sys_precise_ns(), MEMPROF_FREE_RESIZED);
        if (usable < sample->coin)
            still = mp_chance_toss(stream_of(mp_tls.heap),
                                   mp_chance_of(usable, mp_sampler_rate_of(sample)) /
                                       mp_chance_of(sample->coin, mp_sampler_rate_of(sample)));
        sample->address = (uintptr_t)block;
        sample->size = size;
        sample->coin = usable;
        sample->serial = next_serial(mp_tls.heap);
        sample->born_ns = mp_sys_precise_ns();
        sample->thread = mp_sampler_thread();
        sample->resizes = one_more(sample->resizes);
        if (still)
            record(sample);
    }
    sample->address = 0; /* a search for leaks is not to find it here */
    mp_sampler_end_change();
    return still;
}

/* ---- start and fork ---- */

static uint64_t random_seed(void) {
    uint64_t bits;
    if (mp_sys_getrandom(&bits, sizeof bits) != (long)sizeof bits)
        bits = mp_sys_precise_ns() ^ (uint64_t)mp_sys_getpid() << 32 ^ (uintptr_t)&bits;
    return bits;
}

static void squeezed(void) {
    if (mp_box_standing() == MP_BOX_OPEN)
        mp_box_give_back(true);
}

void mp_sampler_start(void) {
    rate = mp_options.rate == MP_NUMBER_AUTO ? RATE_AUTO : mp_options.rate;
    paced = mp_options.rate == MP_NUMBER_AUTO && !MP_ORACLE;
    seed = mp_options.seed == MP_NUMBER_AUTO ? random_seed() : mp_options.seed;
    depth = (unsigned)mp_options.depth;
    mp_modules_start();
    if (!rate)
        return;
    mp_unwind_start(mp_options.unwind);
    mp_hooks.every = rate == 1 && !MP_ORACLE ? mp_live_record_size() : 0;
    mp_hooks.countdown = countdown;
    mp_hooks.toss_large = toss_large;
    mp_hooks.sampled = sampled;
    mp_hooks.freed = freed;
    mp_hooks.resizing = resizing;
    mp_hooks.resized = resized;
    mp_hooks.moving = moving;
    mp_hooks.squeezed = squeezed;
    mp_regions_start();
    mp_heap_arm();
}

/* Counts that have been drawn stay, and what they lead to is turned down. */
void mp_sampler_stop(void) {
    stopped = true;
}

uint64_t mp_sampler_rate(void) {
    return stopped ? 0 : rate;
}

uint64_t mp_sampler_seed(void) {
    return seed;
}

void mp_sampler_get_counts(struct mp_sampler_counts *counts) {
    counts->taken = atomic_load_explicit(&serials.last, memory_order_relaxed);
    for (uint32_t n = mp_heap_count(); n > 0; n--)
        counts->taken += atomic_load_explicit(&mp_heap_by_number(n)->samples, memory_order_relaxed);
    counts->dropped = atomic_load_explicit(&dropped, memory_order_relaxed);
}

void mp_sampler_before_fork(void) {
    mp_mirror_before_fork();
    mp_stacks_before_fork();
    mp_modules_before_fork();
    mp_live_before_fork();
    mp_regions_before_fork();
    mp_mirror_slots_before_fork();
}

void mp_sampler_after_fork(bool child) {
    mp_mirror_slots_after_fork(child);
    mp_regions_after_fork(child);
    mp_live_after_fork(child);
    mp_modules_after_fork(child);
    mp_stacks_after_fork(child);
    mp_mirror_after_fork(child);
    if (child) {
        mp_box_after_fork_child();
        mp_unwind_after_fork_child();
    }
}
