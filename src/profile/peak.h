/* When the heap was at its highest: the sum over all samples of what they stand for, as requested.
 *
 * What each stack held then is not copied at each new height, of which there may be many. A height
 * has a number; a stack whose sums are about to change notes what it holds if there has been a new
 * height since it last did (stacks.c). One that has not changed since holds now what it held then.
 *
 * A thread settles what it has come to, up or down, in steps of MP_PEAK_STEP, and a height is a new
 * one if it is above the last by a MP_PEAK_SHARE: so the height is right to within that share and a
 * step per thread, and numbers stay few. A thread that is about to change a stack at the very
 * moment of a new height may have it note a block too many or too few. Any thread. */
#ifndef MP_PROFILE_PEAK_H
#define MP_PROFILE_PEAK_H

#include <stdint.h>

#include "heap/thread.h"

#define MP_PEAK_STEP  16384 /* bytes */
#define MP_PEAK_SHARE 256

/* So much more is live, or less: in MP_BYTES_ONE of a byte. `heap` NULL: settled at once. */
void mp_peak_change(struct mp_heap *heap, int64_t bytes);

/* The number of the last height. */
uint32_t mp_peak_number(void);

/* The height itself, in MP_BYTES_ONE, and when that was. */
uint64_t mp_peak_height(uint64_t *when_ns);

#endif
