/* Suite: blocks that are spans of slices, and the change between spans and mappings. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/elsewhere.h"
#include "heap/huge.h"
#include "heap/large.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static struct mp_page *span_of(const void *block) {
    struct mp_page *page = mp_arena_find((uintptr_t)block);
    return page && mp_page_kind(page) == MP_KIND_LARGE ? page : NULL;
}

START_TEST(blocks_above_64_kib_are_spans_and_above_32_mib_mappings) {
    void *block = t_malloc(64 * KIB + 1);
    ck_assert_ptr_nonnull(span_of(block));
    ck_assert_uint_eq(mp_usable_size(block), 68 * KIB);
    t_free(block);
    block = t_malloc(MP_LARGE_MAX);
    ck_assert_ptr_nonnull(span_of(block));
    t_free(block);
    block = t_malloc((size_t)MP_LARGE_MAX + 1);
    ck_assert_ptr_null(mp_arena_find((uintptr_t)block));
    ck_assert_uint_eq(mp_huge_size(block), MP_LARGE_MAX + 4 * KIB);
    t_free(block);
    ck_assert_invariants();
}
END_TEST

/* What was a small block's key when it was free must not be at its place when it is another's:
 * copied by realloc and back to where it came from, it would be one. */
START_TEST(a_span_in_used_memory_does_not_begin_with_a_key) {
    static void *small[20000];
    mp_options.purge = MP_TIME_OFF;
    for (size_t i = 0; i < 20000; i++)
        small[i] = t_malloc(500);
    for (size_t i = 0; i < 20000; i++)
        t_free(small[i]);
    mp_elsewhere_flush(mp_tls.heap);
    size_t dirty = 0;
    for (int i = 0; i < 50; i++) {
        struct mp_block *block = t_malloc(100 * KIB);
        ck_assert(!mp_block_is_free(block));
        dirty += block->link != 0; /* an old link: nothing else has touched it */
    }
    ck_assert_uint_gt(dirty, 0);
}
END_TEST

START_TEST(any_alignment_is_had_for_any_size) {
    for (size_t align = 32; align <= 128 * MIB; align *= 2) {
        for (size_t size = 1; size <= 4 * MIB; size = size * 17 + 3) {
            char *block = t_memalign(align, size);
            ck_assert_ptr_nonnull(block);
            ck_assert_uint_eq((uintptr_t)block % align, 0);
            ck_assert_uint_ge(mp_usable_size(block), size);
            block[0] = block[size - 1] = 1;
            t_free(block);
        }
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(sizes_and_alignments_beyond_the_address_space_are_refused) {
    static const size_t sizes[] = {SIZE_MAX,           SIZE_MAX - 4096,        PTRDIFF_MAX,
                                   PTRDIFF_MAX - 4096, (size_t)1 << 62,        (size_t)1 << 48,
                                   (size_t)1 << 47,    (size_t)PTRDIFF_MAX + 1};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ck_assert_ptr_null(t_malloc(sizes[i]));
        ck_assert_ptr_null(t_calloc(1, sizes[i]));
        ck_assert_ptr_null(t_calloc(sizes[i], 16));
        ck_assert_ptr_null(t_memalign(64, sizes[i]));
        void *block = t_malloc(100);
        ck_assert_ptr_null(t_realloc(block, sizes[i]));
        t_free(block);
        block = t_malloc(100000);
        ck_assert_ptr_null(t_realloc(block, sizes[i]));
        t_free(block);
        block = t_malloc(40 * MIB);
        ck_assert_ptr_null(t_realloc(block, sizes[i]));
        t_free(block);
    }
    ck_assert_ptr_null(t_memalign((size_t)1 << 62, 1));
    ck_assert_ptr_null(t_memalign((size_t)1 << 63, 1));
    ck_assert_ptr_null(t_memalign((size_t)1 << 48, 100));
    ck_assert_invariants();
}
END_TEST

START_TEST(calloc_of_used_memory_reads_zero) {
    mp_options.purge = MP_TIME_OFF;
    for (size_t size = 9000; size <= 40 * MIB; size = size * 3 + 7) {
        char *block = t_malloc(size);
        memset(block, 0xee, size);
        t_free(block);
        block = t_calloc(size / 8, 8);
        ck_assert(unit_is_zero(block, size / 8 * 8));
        t_free(block);
    }
    mp_options.purge = 50;
    mp_trim();
}
END_TEST

START_TEST(calloc_that_is_never_touched_is_never_resident) {
    mp_options.purge = MP_TIME_OFF;
    char *block = t_malloc(8 * MIB);
    memset(block, 0xee, 8 * MIB);
    t_free(block);
    block = t_calloc(1, 8 * MIB);
    ck_assert_uint_eq(unit_resident_pages((uintptr_t)block, 8 * MIB), 0);
    t_free(block);
    block = t_calloc(1, 100 * MIB);
    ck_assert_uint_eq(unit_resident_pages((uintptr_t)block, 100 * MIB), 0);
    t_free(block);
}
END_TEST

START_TEST(a_span_grows_and_shrinks_in_place_where_there_is_room) {
    char *room = t_malloc(4 * MIB), *wall = t_malloc(MIB);
    mp_options.purge = MP_TIME_OFF;
    t_free(room);
    char *block = t_malloc(MIB);
    ck_assert_ptr_eq(block, room);
    for (size_t size = MIB; size <= 3 * MIB; size += 100 * KIB) {
        char *same = t_realloc(block, size);
        ck_assert_ptr_eq(same, block);
        ck_assert_uint_ge(mp_usable_size(block), size);
        ck_assert_uint_lt(mp_usable_size(block), size + 4 * KIB);
        memset(block, 1, size);
        ck_assert_invariants();
    }
    for (size_t size = 3 * MIB; size > 200 * KIB; size -= 100 * KIB) {
        ck_assert_ptr_eq(t_realloc(block, size), block);
        ck_assert_uint_lt(mp_usable_size(block), size + 4 * KIB);
        ck_assert_invariants();
    }
    t_free(block);
    t_free(wall);
}
END_TEST

/* What is cut off may be used by others at once. */
START_TEST(the_tail_of_a_span_that_shrank_is_used_again) {
    mp_options.purge = MP_TIME_OFF;
    char *block = t_malloc(8 * MIB), *wall = t_malloc(MIB);
    block = t_realloc(block, MIB);
    char *tail = t_malloc(6 * MIB);
    ck_assert(tail > block && tail < block + 8 * MIB);
    struct unit_block first = {(unsigned char *)block, MIB, 0};
    struct unit_block second = {(unsigned char *)tail, 6 * MIB, 0};
    unit_fill(&first, 41);
    unit_fill(&second, 42);
    ck_assert(unit_is_intact(&first));
    t_free(tail);
    t_free(block);
    t_free(wall);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_big_span_without_room_moves_its_pages_and_keeps_them) {
    struct unit_block block = {t_malloc(4 * MIB), 4 * MIB, 0};
    void *wall = t_malloc(MIB);
    unit_fill(&block, 43);
    unsigned char *moved = t_realloc(block.at, 20 * MIB);
    ck_assert_ptr_ne(moved, block.at);
    block.at = moved;
    ck_assert(unit_is_intact(&block));
    ck_assert_uint_ge(mp_usable_size(moved), 20 * MIB);
    memset(moved + 4 * MIB, 1, 16 * MIB);
    t_free(moved);
    t_free(wall);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_mapping_shrinks_to_a_span_and_below_to_a_page) {
    struct unit_block block = {t_malloc(50 * MIB), 5000, 0};
    unit_fill(&block, 44);
    static const size_t sizes[] = {45 * MIB, 10 * MIB, 500 * KIB, 100 * KIB, 20000, 5000};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        block.at = t_realloc(block.at, sizes[i]);
        ck_assert(unit_is_intact(&block));
        ck_assert_uint_ge(mp_usable_size(block.at), sizes[i]);
    }
    ck_assert_uint_eq(mp_usable_size(block.at), 5120);
    t_free(block.at);
}
END_TEST

/* ---- each stands in for the other ---- */

static size_t fail_calls, calls;

/* Fails the first mmap calls. */
static int fault(const char *name) {
    return strcmp(name, "mmap") == 0 && calls++ < fail_calls ? ENOMEM : 0;
}

static void *malloc_failing(size_t refusals, size_t size) {
    calls = 0;
    fail_calls = refusals;
    mp_sys_fault = fault;
    void *block = t_malloc(size);
    mp_sys_fault = NULL;
    return block;
}

START_TEST(a_mapping_that_is_refused_becomes_a_span) {
    void *room = t_malloc(MP_LARGE_MAX), *more = t_malloc(MP_LARGE_MAX);
    mp_options.purge = MP_TIME_OFF;
    t_free(room);
    t_free(more);
    char *block = malloc_failing(1, (size_t)MP_LARGE_MAX + 4 * KIB);
    ck_assert_ptr_nonnull(block);
    ck_assert_ptr_nonnull(span_of(block));
    memset(block, 1, (size_t)MP_LARGE_MAX + 4 * KIB);
    t_free(block);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_span_that_is_refused_becomes_a_mapping) {
    t_free(t_malloc(1));
    ck_assert_ptr_null(malloc_failing(SIZE_MAX, 31 * MIB));
    void *block = malloc_failing(calls - 1, 31 * MIB);
    ck_assert_ptr_nonnull(block);
    ck_assert_uint_eq(mp_huge_size(block), 31 * MIB);
    memset(block, 1, 31 * MIB);
    t_free(block);
    ck_assert_invariants();
}
END_TEST

START_TEST(when_nothing_is_to_be_had_nothing_is_lost) {
    static const size_t sizes[] = {70000, 5 * MIB, 33 * MIB, 500 * MIB};
    t_free(t_malloc(1));
    mp_trim();
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *blocks[100];
        int n = 0;
        while (n < 100 && (blocks[n] = malloc_failing(SIZE_MAX, sizes[i])))
            n++;
        ck_assert_int_lt(n, 100);
        ck_assert_invariants();
        void *block = t_malloc(sizes[i]);
        ck_assert_ptr_nonnull(block);
        t_free(block);
        while (n > 0)
            t_free(blocks[--n]);
        ck_assert_invariants();
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("large");
    TCase *spans = tcase_create("spans");
    tcase_set_timeout(spans, 20);
    UNIT_CASE(spans, blocks_above_64_kib_are_spans_and_above_32_mib_mappings);
    UNIT_CASE_PRISTINE(spans, a_span_in_used_memory_does_not_begin_with_a_key);
    UNIT_CASE(spans, any_alignment_is_had_for_any_size);
    UNIT_CASE(spans, sizes_and_alignments_beyond_the_address_space_are_refused);
    UNIT_CASE(spans, calloc_of_used_memory_reads_zero);
    UNIT_CASE_PRISTINE(spans, calloc_that_is_never_touched_is_never_resident);
    UNIT_CASE_PRISTINE(spans, a_span_grows_and_shrinks_in_place_where_there_is_room);
    UNIT_CASE_PRISTINE(spans, the_tail_of_a_span_that_shrank_is_used_again);
    UNIT_CASE_PRISTINE(spans, a_big_span_without_room_moves_its_pages_and_keeps_them);
    UNIT_CASE(spans, a_mapping_shrinks_to_a_span_and_below_to_a_page);
    suite_add_tcase(suite, spans);
    TCase *refused = tcase_create("refused");
    UNIT_CASE_PRISTINE(refused, a_mapping_that_is_refused_becomes_a_span);
    UNIT_CASE_PRISTINE(refused, a_span_that_is_refused_becomes_a_mapping);
    UNIT_CASE_PRISTINE(refused, when_nothing_is_to_be_had_nothing_is_lost);
    suite_add_tcase(suite, refused);
    return unit_main(suite);
}
