#include "heap/class.h"

#define R16(c) c, c, c, c, c, c, c, c, c, c, c, c, c, c, c, c
#define R32(c) R16(c), R16(c)
#define R64(c) R32(c), R32(c)
/* One entry per size rather than per 16 bytes: two instructions less in malloc, for a table of
 * which a program touches only the lines of the sizes it uses. */
const uint8_t mp_class_table[MP_TABLE_MAX + 1] = {
    0,       R16(0),  R16(1),  R16(2),  R16(3),  R16(4),  R16(5),  R16(6),  R16(7),
    R16(8),  R16(9),  R16(10), R16(11), R16(12), R16(13), R16(14), R16(15), R32(16),
    R32(17), R32(18), R32(19), R32(20), R32(21), R32(22), R32(23), R64(24), R64(25),
    R64(26), R64(27), R64(28), R64(29), R64(30), R64(31),
};

/* 2^log, and eight steps from there to its double. */
#define LOG(c)  (7 + ((c)-8) / 8)
#define SIZE(c) ((c) < 8 ? 16u * ((c) + 1) : (8u + ((c)-8) % 8 + 1) << (LOG(c) - 3))
/* Room for eight blocks: few enough that a page empties, enough that its tail is little. */
#define SLICES(c) ((c) < MP_SMALL_CLASSES ? 1 : (8 * SIZE(c) + MP_SLICE_SIZE - 1) / MP_SLICE_SIZE)
/* Of a small page whose blocks may be protected, a few bytes at the end are no block: MP_END_APART
 * in page.h. */
#define APART(c) ((c) < MP_SMALL_CLASSES && SIZE(c) >= MP_PROTECTED_MIN ? 32u : 0u)
#define CLASS(c)                                                                                   \
    {                                                                                              \
        UINT64_MAX / SIZE(c) + 2 + (UINT64_MAX % SIZE(c) == SIZE(c) - 1), SIZE(c),                 \
            (uint16_t)((SLICES(c) * MP_SLICE_SIZE - APART(c)) / SIZE(c)), (uint8_t)SLICES(c)       \
    }
#define CLASSES(c)                                                                                 \
    CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3), CLASS((c) + 4), CLASS((c) + 5),      \
        CLASS((c) + 6), CLASS((c) + 7)
const struct mp_class mp_classes[MP_CLASSES] = {
    CLASSES(0),  CLASSES(8),  CLASSES(16), CLASSES(24), CLASSES(32),
    CLASSES(40), CLASSES(48), CLASSES(56), CLASSES(64), CLASSES(72),
};
