/*
 * A library with the mistake in it, opened by where-library.
 */
#include <stdlib.h>

void free_twice(void *block);

__attribute__((visibility("default"))) void free_twice(void *block) {
    free(block);
    free(block);
}
