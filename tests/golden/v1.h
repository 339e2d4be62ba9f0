/* The golden dump of format 1: fixed values, each of its sections with a few records. The committed
 * file v1-small.heap is what these values make, byte for byte (tests/unit/test_reader.c), and does
 * not change once format 1 is released: it keeps readers able to read what the first version wrote.
 */
#ifndef MP_TESTS_GOLDEN_V1_H
#define MP_TESTS_GOLDEN_V1_H

#include <stddef.h>
#include <stdint.h>

/* With malloc. */
uint8_t *golden_v1(size_t *size);

/* The same of a machine with several NUMA nodes: v1-nodes.heap, what came after it included. */
uint8_t *golden_v1_nodes(size_t *size);

#endif
