/* The arithmetic of sampling: with a mean distance of `rate` bytes, a block of `bytes` is a sample
 * with the chance p = 1 - exp(-bytes / rate), and stands for 1 / p like it. libm is not linked to:
 * the few functions are here, good to 1e-12 or so. Pure functions. */
#ifndef MP_PROFILE_CHANCE_H
#define MP_PROFILE_CHANCE_H

#include <stdint.h>

/* The next number of a stream. */
uint64_t mp_chance_next(uint64_t *state);
/* The start of stream `index` of a seed; never 0. */
uint64_t mp_chance_stream(uint64_t seed, uint64_t index);

double mp_chance_of(uint64_t bytes, uint64_t rate);
/* A coin that shows heads with the chance p. */
int mp_chance_toss(uint64_t *state, double p);
/* How many blocks up to and including the first sample: geometric, 1 or more. Below 2^32 for every
 * rate up to 1 GiB. */
uint32_t mp_chance_count(uint64_t *state, uint64_t bytes, uint64_t rate);

#endif
