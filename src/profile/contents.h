/* What a dump says: the profile's tables and the heap's census, as sections of the format. Runs in
 * a copy of the process with one thread, in which nothing changes. */
#ifndef MP_PROFILE_CONTENTS_H
#define MP_PROFILE_CONTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include <memprof/dump.h>

#include "leak/leaks.h"

/* Where leaks were looked for. */
struct mp_contents_leaks {
    const struct mp_leaks *found;
    enum memprof_dump_world world;
    uint32_t threads, threads_missed;
    uint64_t pause_ns;
};

/* With STRINGS, which the writer adds. */
uint32_t mp_contents_sections(bool leaks);

/* To the writer that is open. What the caller knows of the process is in `process`; the rest of it
 * is filled in. `pid`: that of the process that was copied, as /proc has it. `leaks`: NULL where
 * none were looked for. */
void mp_contents_write(struct memprof_dump_process *process, long pid,
                       const struct mp_contents_leaks *leaks);

#endif
