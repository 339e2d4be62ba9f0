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

struct mp_class mp_classes[MP_CLASSES];

/* Room for eight blocks: few enough that a page empties, enough that its tail is little. */
static uint8_t slices_for(uint32_t size) {
    return (uint8_t)((8 * size + MP_SLICE_SIZE - 1) / MP_SLICE_SIZE);
}

void mp_class_init(void) {
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        struct mp_class *class = &mp_classes[c];
        class->size = (uint32_t)mp_class_size(c);
        class->slices = c < MP_SMALL_CLASSES ? 1 : slices_for(class->size);
        class->blocks = (uint16_t)(class->slices * MP_SLICE_SIZE / class->size);
        class->inverse =
            UINT64_MAX / class->size + 2 + (UINT64_MAX % class->size == class->size - 1);
    }
}
