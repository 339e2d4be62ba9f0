/* Size classes: 16-byte steps to 128, then 8 steps to a doubling, so at most 12.5 % of a block is
 * lost to rounding. Small classes live in one-slice pages that a thread owns; medium
 * ones live in pages of up to eight slices and are taken one at a time.
 * Constants only; any context. */
#ifndef MP_HEAP_CLASS_H
#define MP_HEAP_CLASS_H

#include <stddef.h>
#include <stdint.h>

#include "platform/arch.h"

#define MP_SLICE_SHIFT 16
#define MP_SLICE_SIZE  ((size_t)1 << MP_SLICE_SHIFT)

#define MP_TABLE_MAX  1024        /* sizes that find their class by one load */
#define MP_SMALL_MAX  8192        /* the largest block in a one-slice page */
#define MP_MEDIUM_MAX 65536       /* the largest block in a medium page */
#define MP_LARGE_MAX  (32u << 20) /* the largest span; above it a block owns its mapping */

#define MP_SMALL_CLASSES 56
#define MP_CLASSES       80

#define MP_MEDIUM_SLICES 8 /* of a medium page at most */

/* A program may take away its own right to read a block that has a page of the system's to itself
 * (mprotect), so nobody looks into blocks of this size and more unless they are known to be free.
 */
#define MP_PROTECTED_MIN 4096u

struct mp_class {
    uint64_t inverse; /* see MP_INVERSE_LIMIT */
    uint32_t size;    /* of a block, bytes */
    uint16_t blocks;  /* in a page */
    uint8_t slices;   /* of a page */
};

extern MP_HIDDEN const uint8_t mp_class_table[MP_TABLE_MAX + 1]; /* size -> class */
extern MP_HIDDEN const struct mp_class mp_classes[MP_CLASSES];

/* Is `offset` the start of a block? With inverse = floor(2^64 / size) + 2, offset * inverse mod
 * 2^64 is q * e, size < e <= 2 * size, for offset = q * size, hence below 2^17 within a slice and
 * above it for every multiple beyond 2^17; anything that is not a multiple leaves a fraction of at
 * least 2^64 / 8192 less a carry below 2^48, which is far above. So the product is within the limit
 * for the starts of blocks and for no other pointer, near or far. */
#define MP_INVERSE_LIMIT 0x20000u
/* The same within any page, for the starts of blocks of any class: below 2^20 and, for what is
 * none, 2^64 / 65536 less that carry. */
#define MP_INVERSE_LIMIT_ANY (MP_INVERSE_LIMIT * MP_MEDIUM_SLICES)

/* The class of a size in (MP_TABLE_MAX .. MP_MEDIUM_MAX]. */
MP_INLINE unsigned mp_class_computed(size_t size) {
    unsigned log = 63 - (unsigned)__builtin_clzll(size - 1); /* 2^log <= size-1 < 2^(log+1) */
    unsigned step = (unsigned)((size - 1) >> (log - 3)) & 7;
    return (log - 7) * 8 + 8 + step;
}

/* The class of a size in (0 .. MP_MEDIUM_MAX]. */
MP_INLINE unsigned mp_class_of(size_t size) {
    return size <= MP_TABLE_MAX ? mp_class_table[size] : mp_class_computed(size);
}

MP_INLINE size_t mp_class_size(unsigned class) {
    return mp_classes[class].size;
}

#endif
