/* What a dump says: the profile's tables and the heap's census, as sections of the format. Runs in
 * a copy of the process with one thread, in which nothing changes. */
#ifndef MP_PROFILE_CONTENTS_H
#define MP_PROFILE_CONTENTS_H

#include <stdint.h>

#include <memprof/dump.h>

/* With STRINGS, which the writer adds. */
uint32_t mp_contents_sections(void);

/* To the writer that is open. What the caller knows of the process is in `process`; the rest of it
 * is filled in. `pid`: the process that was copied. */
void mp_contents_write(struct memprof_dump_process *process, long pid);

#endif
