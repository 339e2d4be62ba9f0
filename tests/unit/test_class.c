/* Suite: size classes, and the multiplication that tells the start of a block. */
#include "heap/class.h"
#include "unit.h"

/* The sizes of all classes, from their definition: 16-byte steps to 128, then 8 to a doubling. */
static unsigned list_sizes(size_t *sizes) {
    unsigned n = 0;
    for (size_t size = 16; size <= 128; size += 16)
        sizes[n++] = size;
    for (size_t base = 128; base < MP_MEDIUM_MAX; base *= 2) {
        for (size_t size = base + base / 8; size <= base * 2; size += base / 8)
            sizes[n++] = size;
    }
    return n;
}

/* 0 for what is taken for the start of a block. */
static uint64_t uneven(unsigned class, uintptr_t offset) {
    return offset * mp_classes[class].inverse / MP_INVERSE_LIMIT;
}

START_TEST(there_are_as_many_classes_as_their_definition_makes) {
    size_t sizes[2 * MP_CLASSES];
    ck_assert_uint_eq(list_sizes(sizes), MP_CLASSES);
    for (unsigned c = 0; c < MP_CLASSES; c++)
        ck_assert_uint_eq(mp_class_size(c), sizes[c]);
    ck_assert_uint_eq(sizes[MP_SMALL_CLASSES - 1], MP_SMALL_MAX);
    ck_assert_uint_eq(sizes[MP_CLASSES - 1], MP_MEDIUM_MAX);
}
END_TEST

START_TEST(every_size_gets_the_smallest_class_that_holds_it) {
    size_t sizes[2 * MP_CLASSES];
    list_sizes(sizes);
    unsigned wanted = 0;
    for (size_t size = 0; size <= MP_MEDIUM_MAX; size++) {
        if (size > sizes[wanted])
            wanted++;
        if (mp_class_of(size) != wanted)
            ck_abort_msg("size %zu: class %u, not %u", size, mp_class_of(size), wanted);
        if (size <= MP_TABLE_MAX && mp_class_table[size] != wanted)
            ck_abort_msg("size %zu: %u in the table, not %u", size, mp_class_table[size], wanted);
    }
}
END_TEST

START_TEST(rounding_loses_an_eighth_at_most_above_128_bytes) {
    for (size_t size = 1; size <= MP_MEDIUM_MAX; size++) {
        size_t lost = mp_class_size(mp_class_of(size)) - size;
        if (size <= 128 ? lost >= 16 : lost * 8 > size)
            ck_abort_msg("size %zu: %zu bytes are lost", size, lost);
    }
}
END_TEST

START_TEST(pages_of_a_class_have_room_for_its_blocks_and_no_more) {
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        const struct mp_class *class = &mp_classes[c];
        size_t page = class->slices * MP_SLICE_SIZE;
        ck_assert_uint_eq(class->size, mp_class_size(c));
        ck_assert_uint_ge(class->slices, 1);
        ck_assert_uint_le(class->slices, c < MP_SMALL_CLASSES ? 1 : MP_MEDIUM_SLICES);
        size_t apart = c < MP_SMALL_CLASSES && class->size >= MP_PROTECTED_MIN ? 32 : 0;
        ck_assert_uint_eq(class->blocks, (page - apart) / class->size);
        ck_assert_uint_ge(class->blocks, apart ? 7 : 8);
        ck_assert_uint_lt(page - class->blocks * class->size, MP_SLICE_SIZE);
    }
}
END_TEST

START_TEST(the_inverse_tells_block_starts_from_all_else_within_a_slice) {
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        for (uintptr_t offset = 0; offset < MP_SLICE_SIZE; offset++) {
            bool start = offset % mp_classes[c].size == 0;
            if ((uneven(c, offset) == 0) != start)
                ck_abort_msg("size %u, offset %zu", mp_classes[c].size, (size_t)offset);
        }
    }
}
END_TEST

START_TEST(the_inverse_tells_block_starts_from_all_else_within_a_page) {
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        const struct mp_class *class = &mp_classes[c];
        for (uintptr_t offset = 0; offset < class->slices * MP_SLICE_SIZE; offset++) {
            bool start = offset % class->size == 0;
            if ((offset * class->inverse < MP_INVERSE_LIMIT_ANY) != start)
                ck_abort_msg("size %u, offset %zu", class->size, (size_t)offset);
        }
    }
}
END_TEST

START_TEST(an_offset_within_a_slice_that_is_no_multiple_gives_a_number_above_2_to_the_30) {
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        for (uintptr_t offset = 1; offset < MP_SLICE_SIZE; offset++) {
            if (offset % mp_classes[c].size != 0 && uneven(c, offset) <= (uint64_t)1 << 30)
                ck_abort_msg("size %u, offset %zu", mp_classes[c].size, (size_t)offset);
        }
    }
}
END_TEST

/* What free asks of a page's entry that is not the pointer's own: the pointer is then at least one
 * table's worth of slices away, or below the entry's start. Addresses have 47 bits. */
START_TEST(an_offset_beyond_the_slice_is_never_taken_for_a_block_start) {
    uint64_t state = 1;
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        uintptr_t size = mp_classes[c].size;
        for (uintptr_t back = 1; back <= 4 * MP_SLICE_SIZE; back++) {
            if (uneven(c, (uintptr_t)0 - back) == 0)
                ck_abort_msg("size %zu, %zu before the page", (size_t)size, (size_t)back);
        }
        for (unsigned i = 0; i < 200000; i++) {
            unsigned shift = 18 + (unsigned)unit_random_to(&state, 47 - 18);
            uintptr_t far =
                ((uintptr_t)1 << shift) + unit_random_to(&state, ((size_t)1 << shift) - 1);
            uintptr_t multiple = far - far % size;
            if (uneven(c, far) == 0 || uneven(c, (uintptr_t)0 - far) == 0 ||
                uneven(c, multiple) == 0 || uneven(c, (uintptr_t)0 - multiple) == 0)
                ck_abort_msg("size %zu, %#zx from the page", (size_t)size, (size_t)far);
        }
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("class");
    TCase *table = tcase_create("table");
    UNIT_CASE(table, there_are_as_many_classes_as_their_definition_makes);
    UNIT_CASE(table, every_size_gets_the_smallest_class_that_holds_it);
    UNIT_CASE(table, rounding_loses_an_eighth_at_most_above_128_bytes);
    UNIT_CASE(table, pages_of_a_class_have_room_for_its_blocks_and_no_more);
    suite_add_tcase(suite, table);
    TCase *inverse = tcase_create("inverse");
    UNIT_CASE(inverse, the_inverse_tells_block_starts_from_all_else_within_a_slice);
    UNIT_CASE(inverse, the_inverse_tells_block_starts_from_all_else_within_a_page);
    UNIT_CASE(inverse,
              an_offset_within_a_slice_that_is_no_multiple_gives_a_number_above_2_to_the_30);
    UNIT_CASE(inverse, an_offset_beyond_the_slice_is_never_taken_for_a_block_start);
    suite_add_tcase(suite, inverse);
    return unit_main(suite);
}
