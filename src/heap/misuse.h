/* What is said of a program's mistakes: one line that names the block and the caller; then abort,
 * or (misuse=report) on without the call. Cold; any thread, outside locks; allocates nothing. */
#ifndef MP_HEAP_MISUSE_H
#define MP_HEAP_MISUSE_H

#include "heap/page.h"

/* The public entry points note where they were called from, so that a report deep in a slow path
 * can say it. */
void mp_misuse_caller(const void *return_address, const char *function);
/* The last one of this thread. */
const void *mp_misuse_called_from(void);

/* `free` or `realloc` (verb) of a pointer that is no live block. Finds out what it is. Returns when
 * misuse=report, or when the pointer may be another allocator's: then the call is to be ignored. */
void mp_misuse_pointer(const char *verb, const void *pointer);

/* A free block was written to. Returns with misuse=report: the list is to be dropped. */
void mp_misuse_overwritten(const void *block, const struct mp_page *page);

#endif
