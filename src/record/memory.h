/* Memory for what the profiler records: whole pages of the system's, so that tables can grow and be
 * given back, apart from the heap's metadata, and all of it counted. Any thread, any lock. */
#ifndef MP_RECORD_MEMORY_H
#define MP_RECORD_MEMORY_H

#include <stddef.h>

/* Zeroed; NULL: the system has none. Not resident before it is touched. */
void *mp_record_alloc(size_t size);
void mp_record_free(void *memory, size_t size);

/* Bytes mapped by now. */
size_t mp_record_bytes(void);

#endif
