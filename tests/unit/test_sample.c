/* Suite: the profiler's hooks: with a countdown of N, exactly every Nth block of a class is a
 * sample, whichever call makes it, and each sample's end is told once. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/hooks.h"
#include "heap/shared.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

/* ---- a profiler for tests ---- */

#define MOST_HEAPS 64

static uint32_t period; /* of every class */
static unsigned large_period;
static bool hooks_allocate;
static _Atomic(unsigned) large_tossed;
static uint64_t handed_out[MOST_HEAPS][MP_CLASSES]; /* blocks of a heap, since armed */

/* The samples that are live, as the hooks tell it. */
static pthread_mutex_t samples_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sample {
    void *block;
    size_t size;
} samples[1 << 16];
static size_t samples_live;
static size_t samples_ever;

static __thread void *sampled_now; /* by the call that this thread is in */
static __thread size_t sampled_size, sampled_usable;

#define SAMPLE_MASK (sizeof samples / sizeof *samples - 1)

static size_t home_of(const void *block) {
    return ((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15u >> 40 & SAMPLE_MASK;
}

/* Its slot, or the one where it would be. */
static size_t slot_of(const void *block) {
    size_t i = home_of(block);
    while (samples[i].block && samples[i].block != block)
        i = (i + 1) & SAMPLE_MASK;
    return i;
}

static void add_sample(void *block, size_t size) {
    size_t i = slot_of(block);
    must(!samples[i].block);
    samples[i] = (struct sample){block, size};
    must(++samples_live < SAMPLE_MASK / 2);
}

static void remove_sample(const void *block) {
    size_t gap = slot_of(block);
    must(samples[gap].block == block);
    samples[gap].block = NULL;
    samples_live--;
    for (size_t i = (gap + 1) & SAMPLE_MASK; samples[i].block; i = (i + 1) & SAMPLE_MASK) {
        struct sample moved = samples[i];
        samples[i].block = NULL;
        samples[slot_of(moved.block)] = moved;
    }
}

static uint32_t on_countdown(struct mp_heap *heap, unsigned class) {
    must(heap != NULL);
    must(class < MP_CLASSES);
    return period;
}

static int on_large(size_t size) {
    must(size > 0 && size % 4096 == 0);
    return large_period && atomic_fetch_add(&large_tossed, 1) % large_period == large_period - 1;
}

/* The place is a block of an ordinary page that nobody else gets; the sample stands elsewhere. */
static void check_place(const void *block, const void *place, size_t usable) {
    const struct mp_page *page = mp_arena_find_head((uintptr_t)place);
    if (usable > MP_SMALL_MAX) {
        must(place == block);
        return;
    }
    must(page && mp_page_kind(page) == MP_KIND_SMALL && mp_class_size(page->class) == usable);
    must(place == block || (!mp_census_is_live(place) && mp_census_is_live(block)));
}

static void on_sampled(void *block, void *place, size_t size, size_t usable) {
    check_place(block, place, usable);
    if (hooks_allocate)
        t_free(t_malloc(size < 10000 ? size : 100));
    pthread_mutex_lock(&samples_lock);
    add_sample(block, size);
    samples_ever++;
    pthread_mutex_unlock(&samples_lock);
    sampled_now = block;
    sampled_size = size;
    sampled_usable = usable;
}

/* "About to be freed": it is still there. */
static void on_freed(void *block) {
    unsigned char state;
    if (hooks_allocate)
        t_free(t_malloc(100));
    must(mincore((void *)((uintptr_t)block & ~(uintptr_t)4095), 1, &state) == 0);
    pthread_mutex_lock(&samples_lock);
    remove_sample(block);
    pthread_mutex_unlock(&samples_lock);
}

static __thread struct sample moving;
static bool shrunk_stay = true;

static void on_resizing(void *block) {
    must(!moving.block);
    pthread_mutex_lock(&samples_lock);
    moving = samples[slot_of(block)];
    remove_sample(block);
    pthread_mutex_unlock(&samples_lock);
}

static int on_resized(void *block, size_t size, size_t usable) {
    bool still = !block || shrunk_stay || size >= moving.size;
    must(moving.block != NULL);
    if (block)
        must(usable == mp_usable_size(block) && size <= usable);
    pthread_mutex_lock(&samples_lock);
    if (still)
        add_sample(block ? block : moving.block, block ? size : moving.size);
    pthread_mutex_unlock(&samples_lock);
    moving.block = NULL;
    return still;
}

static bool is_sample(const void *block) {
    pthread_mutex_lock(&samples_lock);
    bool found = samples[slot_of(block)].block != NULL;
    pthread_mutex_unlock(&samples_lock);
    return found;
}

static size_t size_of_sample(const void *block) {
    pthread_mutex_lock(&samples_lock);
    size_t i = slot_of(block);
    size_t size = samples[i].block ? samples[i].size : 0;
    pthread_mutex_unlock(&samples_lock);
    return size;
}

/* Starts sampling in the heaps that exist (whose lists are emptied first) and those to come. */
static void arm(uint32_t small_period, unsigned toss_period) {
    period = small_period;
    large_period = toss_period;
    hooks_allocate = false;
    large_tossed = 0;
    samples_live = samples_ever = 0;
    sampled_now = NULL;
    memset(samples, 0, sizeof samples);
    memset(handed_out, 0, sizeof handed_out);
    mp_trim();
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        for (unsigned c = 0; c < MP_CLASSES; c++)
            mp_bin_sample_in(&mp_heap_by_number(n)->bins[c], period);
    }
    mp_hooks = (struct mp_hooks){
        .countdown = on_countdown,
        .toss_large = on_large,
        .sampled = on_sampled,
        .freed = on_freed,
        .resizing = on_resizing,
        .resized = on_resized,
    };
}

static void disarm(void) {
    memset(&mp_hooks, 0, sizeof mp_hooks);
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        for (unsigned c = 0; c < MP_CLASSES; c++)
            mp_bin_sample_in(&mp_heap_by_number(n)->bins[c], MP_NO_SAMPLE);
    }
}

/* After a call that handed out `block`, unless it is `old`: was it told to be a sample exactly if
 * it is the Nth? */
static void *check(void *block, const void *old) {
    must(block != NULL);
    if (block == old) { /* a large block that grew had its chance */
        must(sampled_now == NULL || sampled_now == block);
        sampled_now = NULL;
        return block;
    }
    size_t usable = mp_usable_size(block);
    if (usable <= MP_MEDIUM_MAX) {
        unsigned class = mp_class_of(usable);
        must(mp_tls.heap->number < MOST_HEAPS);
        uint64_t n = ++handed_out[mp_tls.heap->number][class];
        bool due = period != MP_NO_SAMPLE && n % period == 0;
        must((sampled_now == block) == due);
    }
    must(sampled_now == NULL || sampled_now == block);
    if (sampled_now)
        must(sampled_usable == usable && is_sample(block));
    sampled_now = NULL;
    return block;
}

static void *s_malloc(size_t size) {
    return check(t_malloc(size), NULL);
}

static void *s_any(uint64_t *state, size_t size) {
    switch (unit_random_to(state, 3)) {
    case 0:
        return check(t_calloc(1, size), NULL);
    case 1:
        return check(t_memalign((size_t)16 << unit_random_to(state, 9), size), NULL);
    default:
        return check(t_malloc(size), NULL);
    }
}

/* ---- one thread ---- */

START_TEST(every_nth_block_of_a_class_is_a_sample) {
    static const uint32_t periods[] = {1, 2, 3, 7, 64, 65, 1000};
    for (unsigned p = 0; p < sizeof periods / sizeof *periods; p++) {
        arm(periods[p], 0);
        for (unsigned class = 0; class < MP_CLASSES; class += 5) {
            void *blocks[300];
            for (int i = 0; i < 300; i++)
                blocks[i] = s_malloc(mp_class_size(class));
            for (int i = 0; i < 300; i++)
                t_free(blocks[i]);
        }
        ck_assert_uint_eq(samples_live, 0);
        ck_assert_invariants();
        disarm();
    }
}
END_TEST

START_TEST(without_hooks_there_are_no_samples) {
    disarm();
    samples_ever = 0;
    for (int i = 0; i < 20000; i++)
        t_free(t_malloc((size_t)i * 7 % 90000));
    ck_assert_uint_eq(samples_ever, 0);
}
END_TEST

START_TEST(a_class_without_samples_costs_and_tells_nothing) {
    arm(MP_NO_SAMPLE, 0);
    for (int i = 0; i < 20000; i++)
        t_free(s_malloc((size_t)i * 7 % 60000));
    ck_assert_uint_eq(samples_ever, 0);
    disarm();
}
END_TEST

START_TEST(the_sizes_told_are_those_asked_for_and_those_usable) {
    arm(1, 1);
    static const size_t sizes[] = {0, 1, 17, 1000, 5000, 20000, 65536, 65537, 5000000, 40000000};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *block = s_malloc(sizes[i]);
        ck_assert_uint_eq(sampled_size, sizes[i]);
        ck_assert_uint_eq(sampled_usable, mp_usable_size(block));
        t_free(block);
        block = check(t_calloc(1, sizes[i]), NULL);
        ck_assert_uint_eq(sampled_size, sizes[i]);
        t_free(block);
    }
    disarm();
}
END_TEST

START_TEST(the_size_told_of_an_aligned_block_is_the_one_asked_for) {
    arm(1, 1);
    static const size_t sizes[] = {1, 100, 5000, 30000, 100000};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *block = check(t_memalign(64, sizes[i]), NULL);
        ck_assert_uint_eq(sampled_size, sizes[i]);
        t_free(block);
    }
    disarm();
}
END_TEST

START_TEST(every_call_that_hands_out_blocks_counts) {
    enum { SLOTS = 500 };
    static void *slots[SLOTS];
    uint64_t state = 21;
    arm(7, 3);
    for (int i = 0; i < 100000; i++) {
        void **slot = &slots[unit_random_to(&state, SLOTS - 1)];
        size_t size = 1 + unit_random_size(&state, 200000);
        if (!*slot) {
            *slot = s_any(&state, size);
        } else if (unit_random_to(&state, 1)) {
            void *old = *slot;
            bool was = is_sample(old);
            *slot = check(t_realloc(old, size), old);
            if (*slot != old)
                must(!was || !is_sample(old) || is_sample(*slot));
        } else {
            t_free(*slot);
            *slot = NULL;
        }
        if (i % 10000 == 0)
            mp_trim();
    }
    ck_assert_uint_gt(samples_ever, 5000);
    ck_assert_invariants();
    for (int i = 0; i < SLOTS; i++) {
        t_free(slots[i]);
        slots[i] = NULL;
    }
    ck_assert_uint_eq(samples_live, 0);
    disarm();
}
END_TEST

START_TEST(large_blocks_are_samples_when_their_toss_says_so) {
    arm(MP_NO_SAMPLE, 3);
    for (int round = 0; round < 4; round++) {
        void *blocks[9];
        for (int i = 0; i < 9; i++) {
            blocks[i] = t_malloc(i % 2 ? 100000 : (size_t)MP_LARGE_MAX + 100000);
            ck_assert_int_eq(sampled_now == blocks[i], i % 3 == 2);
            sampled_now = NULL;
        }
        ck_assert_uint_eq(samples_live, 3);
        for (int i = 0; i < 9; i++)
            t_free(blocks[i]);
    }
    ck_assert_uint_eq(samples_live, 0);
    disarm();
}
END_TEST

START_TEST(a_large_sample_that_grows_or_shrinks_stays_one_of_its_new_size) {
    static const size_t sizes[] = {100000,   90000,     3000000,  200000,  20000000,
                                   40000000, 100000000, 36000000, 70000000};
    arm(MP_NO_SAMPLE, 1);
    void *wall, *block = s_malloc(sizes[0]);
    ck_assert(is_sample(block));
    for (unsigned i = 1; i < sizeof sizes / sizeof *sizes; i++) {
        wall = t_malloc(100000); /* so that some moves are needed */
        block = t_realloc(block, sizes[i]);
        ck_assert_msg(is_sample(block), "not after it was made %zu bytes", sizes[i]);
        ck_assert_msg(size_of_sample(block) == sizes[i], "told %zu bytes, not %zu",
                      size_of_sample(block), sizes[i]);
        t_free(wall);
    }
    t_free(block);
    ck_assert_uint_eq(samples_live, 0);
    disarm();
}
END_TEST

START_TEST(a_large_block_that_grows_has_another_chance) {
    static const size_t sizes[] = {200000, 3000000, 40000000, 100000000};
    for (unsigned i = 0; i + 1 < sizeof sizes / sizeof *sizes; i++) {
        arm(MP_NO_SAMPLE, 2);
        void *block = s_malloc(sizes[i]); /* the first toss fails, the second does not */
        ck_assert(!is_sample(block));
        block = check(t_realloc(block, sizes[i + 1]), NULL);
        ck_assert(is_sample(block));
        ck_assert_uint_eq(size_of_sample(block), sizes[i + 1]);
        t_free(block);
        ck_assert_uint_eq(samples_live, 0);
        ck_assert_uint_eq(samples_ever, 1);
        disarm();
    }
}
END_TEST

START_TEST(a_large_sample_that_the_hook_lets_go_of_is_one_no_more) {
    static const size_t sizes[][2] = {{900000, 300000}, {90000000, 50000000}};
    for (unsigned i = 0; i < 2; i++) {
        arm(MP_NO_SAMPLE, 1);
        void *block = s_malloc(sizes[i][0]);
        shrunk_stay = false;
        block = t_realloc(block, sizes[i][1]);
        shrunk_stay = true;
        ck_assert(!is_sample(block));
        large_period = 0;
        block = t_realloc(block, sizes[i][0]); /* is asked nothing of */
        t_free(block);
        ck_assert_uint_eq(samples_live, 0);
        disarm();
    }
}
END_TEST

START_TEST(hooks_may_allocate) {
    arm(3, 2);
    hooks_allocate = true;
    void *blocks[1000];
    uint64_t state = 22;
    for (int i = 0; i < 1000; i++)
        blocks[i] = t_malloc(unit_random_size(&state, 100000));
    for (int i = 0; i < 1000; i++)
        t_free(blocks[i]);
    ck_assert_uint_gt(samples_ever, 100);
    ck_assert_uint_eq(samples_live, 0);
    ck_assert_invariants();
    disarm();
}
END_TEST

START_TEST(the_marks_of_pages_that_are_given_back_are_used_again) {
    arm(50, 0);
    size_t meta = 0;
    for (int round = 0; round < 30; round++) {
        void *blocks[3000];
        for (int i = 0; i < 3000; i++)
            blocks[i] = s_malloc(1000);
        for (int i = 0; i < 3000; i++)
            t_free(blocks[i]);
        mp_trim();
        if (round == 2)
            meta = mp_meta_bytes();
    }
    ck_assert_uint_le(mp_meta_bytes(), meta + 4096);
    ck_assert_invariants();
    disarm();
}
END_TEST

START_TEST(frees_of_other_blocks_in_a_page_with_a_sample_tell_nothing) {
    arm(MP_NO_SAMPLE, 0);
    t_free(s_malloc(64));
    mp_trim();
    mp_bin_sample_in(&mp_tls.heap->bins[mp_class_of(64)], 5);
    void *blocks[1024];
    for (int i = 0; i < 1024; i++)
        blocks[i] = t_malloc(64);
    ck_assert_uint_eq(samples_live, 1);
    ck_assert(is_sample(blocks[4]));
    for (int i = 0; i < 1024; i++) {
        if (i != 4)
            t_free(blocks[i]);
    }
    ck_assert_uint_eq(samples_live, 1);
    ck_assert_invariants();
    t_free(blocks[4]);
    ck_assert_uint_eq(samples_live, 0);
    ck_assert_invariants();
    disarm();
}
END_TEST

static int refuse_mmap(const char *name) {
    return strcmp(name, "mmap") == 0 ? ENOMEM : 0;
}

START_TEST(a_class_without_memory_for_a_table_has_samples_again_when_there_is) {
    t_free(t_malloc(16));
    arm(1, 0);
    t_free(t_malloc(1 << 20)); /* there is room for the page */
    mp_sys_fault = refuse_mmap;
    while (mp_meta_alloc(4096))
        ;
    void *plain = t_malloc(16);
    mp_sys_fault = NULL;
    ck_assert(plain && !is_sample(plain));
    void *sampled = t_malloc(16);
    ck_assert(is_sample(sampled));
    t_free(plain);
    t_free(sampled);
    ck_assert_uint_eq(samples_live, 0);
    ck_assert_invariants();
    disarm();
}
END_TEST

/* ---- every block ---- */

struct kept {
    uintptr_t block;
    uint64_t stamp, more[2];
};

static struct kept *kept_of(const void *block, size_t size) {
    size_t usable = 0;
    struct kept *kept = mp_shared_record(block, &usable);
    must(!kept || usable == size);
    return kept;
}

static void on_every_sampled(void *block, void *place, size_t size, size_t usable) {
    struct kept *kept = kept_of(block, usable);
    (void)size;
    must(place == block);
    must((kept != NULL) == (usable <= MP_SMALL_MAX));
    samples_ever++;
    if (!kept)
        return;
    must(!kept->block);
    *kept = (struct kept){.block = (uintptr_t)block, .stamp = ~(uintptr_t)block};
}

static void on_every_freed(void *block) {
    struct kept *kept = kept_of(block, mp_usable_size(block));
    if (!kept)
        return;
    must(kept->block == (uintptr_t)block && kept->stamp == ~(uintptr_t)block);
    kept->block = 0;
}

static size_t kept_live, kept_ever;

static void on_kept(void *record, uintptr_t block, size_t size, void *context) {
    const struct kept *kept = record;
    must(context == &kept_live && size <= MP_SMALL_MAX);
    must(!kept->block || kept->block == block);
    kept_live += kept->block != 0;
    kept_ever++;
}

START_TEST(what_is_kept_of_a_block_is_its_own) {
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    uint64_t state = 1;
    size_t small = 0, small_ever = 0, meta = 0;
    mp_trim();
    arm(MP_NO_SAMPLE, 0);
    mp_hooks.every = sizeof(struct kept);
    mp_hooks.sampled = on_every_sampled;
    mp_hooks.freed = on_every_freed;
    for (int round = 0; round < 4; round++) {
        for (size_t i = small = 0; i < BLOCKS; i++) {
            size_t size = 1 + unit_random_to(&state, i % 100 ? 600 : 20000);
            small += size <= MP_SMALL_MAX;
            blocks[i] = t_malloc(size);
            memset(blocks[i], 0xff, size);
        }
        kept_live = kept_ever = 0;
        mp_shared_each_record(on_kept, &kept_live);
        ck_assert_uint_eq(kept_live, small);
        ck_assert_uint_ge(kept_ever, small);
        small_ever += small;
        for (size_t i = 0; i < BLOCKS; i++)
            t_free(blocks[i]);
        kept_live = 0;
        mp_shared_each_record(on_kept, &kept_live);
        ck_assert_uint_eq(kept_live, 0);
        mp_trim();
        if (round == 1)
            meta = mp_meta_bytes();
    }
    ck_assert_uint_eq(samples_ever, small_ever);
    ck_assert_uint_le(mp_meta_bytes(), meta + 65536); /* tables are used again */
    ck_assert_invariants();
    disarm();
}
END_TEST

/* ---- several threads ---- */

static void *allocate_some(void *unused) {
    for (int i = 0; i < 333; i++)
        t_free(s_malloc(64));
    void *blocks[100];
    for (int i = 0; i < 100; i++)
        blocks[i] = s_malloc(64);
    for (int i = 0; i < 100; i += 2)
        t_free(blocks[i]);
    /* The others stay: their pages are listed, adopted, and theirs to be freed no more. */
    return unused;
}

START_TEST(the_count_goes_on_in_the_next_thread_that_uses_the_heap) {
    t_free(t_malloc(1));
    arm(11, 0);
    for (int i = 0; i < 100; i++)
        unit_in_thread(allocate_some, NULL);
    ck_assert_uint_eq(samples_ever, 100 * 433 / 11);
    ck_assert_invariants();
    disarm();
}
END_TEST

enum { THREADS = 4, SHARED = 256 };
static void *_Atomic shared[SHARED];

static void *exchange(void *seed) {
    uint64_t state = (uintptr_t)seed;
    for (int i = 0; i < 30000; i++) {
        size_t size = unit_random_size(&state, i % 100 == 0 ? 300000 : 3000);
        void *block = s_any(&state, size);
        t_free(atomic_exchange(&shared[unit_random_to(&state, SHARED - 1)], block));
    }
    return NULL;
}

START_TEST(samples_may_be_freed_by_any_thread) {
    pthread_t threads[THREADS];
    t_free(t_malloc(1));
    arm(5, 2);
    for (int round = 0; round < 2; round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, exchange, (void *)(i + 7)), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    ck_assert_invariants();
    for (int i = 0; i < SHARED; i++)
        t_free(atomic_exchange(&shared[i], NULL));
    ck_assert_uint_eq(samples_live, 0);
    ck_assert_uint_gt(samples_ever, 2 * THREADS * 30000 / 5 - 3000);
    disarm();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sample");
    TCase *one = tcase_create("one thread");
    tcase_set_timeout(one, 20);
    UNIT_CASE(one, every_nth_block_of_a_class_is_a_sample);
    UNIT_CASE(one, without_hooks_there_are_no_samples);
    UNIT_CASE(one, a_class_without_samples_costs_and_tells_nothing);
    UNIT_CASE(one, the_sizes_told_are_those_asked_for_and_those_usable);
    UNIT_CASE(one, the_size_told_of_an_aligned_block_is_the_one_asked_for);
    UNIT_CASE(one, every_call_that_hands_out_blocks_counts);
    UNIT_CASE(one, large_blocks_are_samples_when_their_toss_says_so);
    UNIT_CASE(one, a_large_sample_that_grows_or_shrinks_stays_one_of_its_new_size);
    UNIT_CASE(one, a_large_block_that_grows_has_another_chance);
    UNIT_CASE(one, a_large_sample_that_the_hook_lets_go_of_is_one_no_more);
    UNIT_CASE(one, hooks_may_allocate);
    /* Tables of what has been are used again, and those of twins are not empty for records. */
    UNIT_CASE_PRISTINE(one, what_is_kept_of_a_block_is_its_own);
    UNIT_CASE_PRISTINE(one, a_class_without_memory_for_a_table_has_samples_again_when_there_is);
    UNIT_CASE(one, the_marks_of_pages_that_are_given_back_are_used_again);
    UNIT_CASE(one, frees_of_other_blocks_in_a_page_with_a_sample_tell_nothing);
    suite_add_tcase(suite, one);
    TCase *several = tcase_create("several threads");
    tcase_set_timeout(several, 30);
    UNIT_CASE(several, the_count_goes_on_in_the_next_thread_that_uses_the_heap);
    UNIT_CASE(several, samples_may_be_freed_by_any_thread);
    suite_add_tcase(suite, several);
    return unit_main(suite);
}
