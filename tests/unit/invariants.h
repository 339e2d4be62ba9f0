/* What holds of the heap's structures whenever no thread is in the middle of something: the spans
 * tile the ranges, every page has the owner that its queues say, and every block that has its key
 * stands in exactly one list. It looks at other threads' lists, so they must stand still, e.g. wait
 * for a condition of the test's. */
#ifndef MP_TESTS_UNIT_INVARIANTS_H
#define MP_TESTS_UNIT_INVARIANTS_H

#include <stddef.h>

/* NULL: all hold. Otherwise what does not, in words, with numbers. */
const char *invariants_broken(void);

#define ck_assert_invariants()                                                                     \
    do {                                                                                           \
        const char *broken = invariants_broken();                                                  \
        ck_assert_msg(!broken, "%s", broken);                                                      \
    } while (0)

#define must_hold_invariants()                                                                     \
    do {                                                                                           \
        const char *broken = invariants_broken();                                                  \
        if (broken)                                                                                \
            unit_must_failed(__FILE__, __LINE__, broken);                                          \
    } while (0)

#endif
