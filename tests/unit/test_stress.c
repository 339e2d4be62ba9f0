/* Suite: threads that allocate sizes of all kinds, hand blocks to each other and end, for a few
 * seconds; every block's contents are verified before it is freed or resized. */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

enum { THREADS = 4, SHARED = 512, OWN = 256 };

/* A block that changes hands is described at its end of the exchange. */
static struct slot {
    _Atomic(uint32_t) taken;
    struct unit_block block;
} shared[SHARED];

static _Atomic(bool) stop;
static _Atomic(uint64_t) operations;

static void exchange(struct unit_block *mine, uint64_t *state) {
    struct slot *slot = &shared[unit_random_to(state, SHARED - 1)];
    uint32_t no = 0;
    if (!atomic_compare_exchange_strong_explicit(&slot->taken, &no, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    struct unit_block theirs = slot->block;
    slot->block = *mine;
    *mine = theirs;
    atomic_store_explicit(&slot->taken, 0, memory_order_release);
}

static size_t pick_size(uint64_t *state) {
    size_t kind = unit_random_to(state, 1023);
    if (kind == 0)
        return MP_LARGE_MAX + unit_random_to(state, 1 << 20);
    if (kind < 16)
        return 1 + unit_random_size(state, 2000000);
    if (kind < 64)
        return 1 + unit_random_size(state, MP_MEDIUM_MAX);
    return 1 + unit_random_size(state, 3000);
}

static void verify(const struct unit_block *block) {
    must(mp_usable_size(block->at) >= block->size);
    must(unit_is_intact(block));
}

static void step(struct unit_block *block, uint64_t *state) {
    size_t size = pick_size(state);
    switch (unit_random_to(state, 7)) {
    case 0:
    case 1:
    case 2:
        exchange(block, state);
        return;
    case 3: {
        if (!block->at)
            return;
        verify(block);
        unsigned char first = block->at[0];
        block->at = t_realloc(block->at, size);
        must(block->at && block->at[0] == first);
        break;
    }
    default:
        if (block->at) {
            verify(block);
            t_free(block->at);
            block->at = NULL;
            return;
        }
        if (unit_random_to(state, 3) == 0) {
            block->at = t_calloc(1, size);
            must(block->at && unit_is_zero(block->at, size < 65536 ? size : 65536));
        } else if (unit_random_to(state, 7) == 0) {
            size_t align = (size_t)16 << unit_random_to(state, 12);
            block->at = t_memalign(align, size);
            must(block->at && (uintptr_t)block->at % align == 0);
        } else {
            block->at = t_malloc(size);
            must(block->at && (uintptr_t)block->at % 16 == 0);
        }
    }
    block->size = size;
    unit_fill(block, unit_random(state));
}

/* A thread lives for a while; what it holds at its end it leaves to the others. */
static void live(uint64_t *state) {
    struct unit_block own[OWN] = {0};
    for (size_t n = unit_random_to(state, 20000); n > 0 && !atomic_load(&stop); n--) {
        step(&own[unit_random_to(state, OWN - 1)], state);
        atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
        if (n % 4096 == 0)
            mp_trim();
    }
    for (int i = 0; i < OWN; i++) {
        if (own[i].at && unit_random_to(state, 1))
            exchange(&own[i], state);
        if (own[i].at) {
            verify(&own[i]);
            t_free(own[i].at);
        }
    }
}

static void *one_life(void *seed) {
    live(seed);
    return NULL;
}

static void *many_lives(void *seed) {
    while (!atomic_load(&stop))
        unit_in_thread(one_life, seed);
    return NULL;
}

static void *one_long_life(void *seed) {
    while (!atomic_load(&stop))
        live(seed);
    return NULL;
}

static void run(uint64_t ms, uint64_t seed) {
    pthread_t threads[THREADS];
    static uint64_t seeds[THREADS];
    atomic_store(&stop, false);
    operations = 0;
    for (int i = 0; i < THREADS; i++) {
        seeds[i] = seed * 100 + (uint64_t)i;
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, i % 2 ? many_lives : one_long_life, &seeds[i]), 0);
    }
    uint64_t end = mp_sys_now_ms() + ms;
    while (mp_sys_now_ms() < end)
        sched_yield();
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_invariants();
    size_t held = 0;
    for (int i = 0; i < SHARED; i++)
        held += shared[i].block.at != NULL;
    struct mp_census census;
    mp_census(&census);
    ck_assert_uint_eq(census.live_blocks, held);
    for (int i = 0; i < SHARED; i++) {
        if (shared[i].block.at) {
            verify(&shared[i].block);
            t_free(shared[i].block.at);
        }
        shared[i].block.at = NULL;
    }
    mp_census(&census);
    ck_assert_uint_eq(census.live_blocks, 0);
    mp_trim();
    ck_assert_invariants();
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    ck_assert_uint_eq(stats.used_bytes, 0);
    ck_assert_uint_eq(stats.dirty_bytes, 0);
}

static uint64_t duration(void) {
    return unit_full() ? 60000 : 1000;
}

START_TEST(blocks_keep_their_contents_across_threads) {
    run(duration(), 101);
}
END_TEST

START_TEST(blocks_keep_their_contents_when_everything_is_purged_at_once) {
    mp_options.purge = 0;
    run(duration(), 102);
}
END_TEST

START_TEST(blocks_keep_their_contents_when_free_lists_are_verified) {
    mp_options.purge = 1;
    mp_options.check = MP_CHECK_FULL;
    run(duration(), 103);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("stress");
    TCase *stress = tcase_create("stress");
    tcase_set_timeout(stress, 100);
    UNIT_CASE(stress, blocks_keep_their_contents_across_threads);
    UNIT_CASE(stress, blocks_keep_their_contents_when_everything_is_purged_at_once);
    UNIT_CASE(stress, blocks_keep_their_contents_when_free_lists_are_verified);
    suite_add_tcase(suite, stress);
    return unit_main(suite);
}
