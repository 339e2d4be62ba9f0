/* What the files of this folder share. Only they set errno, and only they are not in the static
 * library. */
#ifndef MP_PRELOAD_PRELOAD_H
#define MP_PRELOAD_PRELOAD_H

#include <stdbool.h>

#define MP_EXPORT __attribute__((visibility("default")))

/* False when this library is loaded but is not the process's allocator: then it stays passive. */
extern bool mp_active;

/* malloc_stats's text, to stderr or to where log= points. */
void mp_stats_print(bool to_stderr);

#endif
