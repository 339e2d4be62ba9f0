/* Suite: the table of what the program has mapped, against an array that says of each page whose it
 * is, over many random changes. */
#include <string.h>

#include "profile/regions.h"
#include "unit.h"

#define PAGES 2048u
#define PAGE  ((uintptr_t)4096)
#define BASE  ((uintptr_t)1 << 32)

static uint32_t owner[PAGES]; /* of a page: the region's number; 0: nobody's */

static struct {
    uintptr_t end; /* of the last one seen */
    uint32_t pages, count;
} walk;

static void visit(const struct mp_region *region, void *unused) {
    (void)unused;
    ck_assert_uint_lt(region->start, region->end);
    ck_assert_uint_le(walk.end, region->start);
    walk.end = region->end;
    walk.count++;
    for (uintptr_t at = region->start; at < region->end; at += PAGE) {
        ck_assert_uint_eq(owner[(at - BASE) / PAGE], region->stack);
        walk.pages++;
    }
}

static void check_all(void) {
    uint32_t pages = 0;
    memset(&walk, 0, sizeof walk);
    mp_regions_each_in(0, UINTPTR_MAX, visit, NULL);
    for (uint32_t i = 0; i < PAGES; i++)
        pages += owner[i] != 0;
    ck_assert_uint_eq(walk.pages, pages);
}

static void put(uint32_t first, uint32_t count, uint32_t number) {
    struct mp_region region = {
        .start = BASE + first * PAGE,
        .end = BASE + (first + count) * PAGE,
        .stack = number,
    };
    ck_assert(mp_regions_put(&region));
    for (uint32_t i = first; i < first + count; i++)
        owner[i] = number;
}

static void cut(uint32_t first, uint32_t count) {
    mp_regions_cut(BASE + first * PAGE, BASE + (first + count) * PAGE);
    for (uint32_t i = first; i < first + count; i++)
        owner[i] = 0;
}

START_TEST(random_changes_leave_what_they_should) {
    uint64_t state = 7;
    for (uint32_t step = 1; step <= 20000; step++) {
        uint64_t random = unit_random(&state);
        uint32_t first = (uint32_t)(random >> 32) % PAGES;
        uint32_t most = random & 0x1f8 ? 3 : 100, count = (uint32_t)(random >> 16) % most + 1;
        count = first + count > PAGES ? PAGES - first : count;
        if (random & 1)
            put(first, count, step);
        else
            cut(first, count);
        if (step % 64 == 0)
            check_all();
    }
    check_all();
    ck_assert_uint_gt(walk.count, 100);
    cut(0, PAGES);
    check_all();
    ck_assert_uint_eq(walk.count, 0);
}
END_TEST

START_TEST(a_part_is_found_by_its_neighbourhood) {
    put(10, 10, 1);
    put(30, 10, 2);
    put(50, 10, 3);
    memset(&walk, 0, sizeof walk);
    mp_regions_each_in(BASE + 15 * PAGE, BASE + 50 * PAGE, visit, NULL);
    ck_assert_uint_eq(walk.count, 2); /* not the third, which begins where the range ends */
    memset(&walk, 0, sizeof walk);
    mp_regions_each_in(BASE + 20 * PAGE, BASE + 30 * PAGE, visit, NULL);
    ck_assert_uint_eq(walk.count, 0);
    cut(0, PAGES);
    cut(0, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("regions");
    TCase *tcase = tcase_create("regions");
    suite_add_tcase(suite, tcase);
    UNIT_CASE(tcase, random_changes_leave_what_they_should);
    UNIT_CASE(tcase, a_part_is_found_by_its_neighbourhood);
    return unit_main(suite);
}
