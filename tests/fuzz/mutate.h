/* Damage to dumps that knows where their fields are. Together with build_repair, which makes the
 * checksums right again, it gets past what random bytes never do. For the fuzzer, and for a quick
 * version of it in the unit tests. */
#ifndef MP_TESTS_FUZZ_MUTATE_H
#define MP_TESTS_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* One change; the new size, at most `room`. The checksums are wrong then. */
size_t mutate_dump(uint8_t *bytes, size_t size, size_t room, uint64_t *random);

#endif
