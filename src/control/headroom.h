/* Is there memory for a copy of the process? A memory cgroup at its limit kills, with
 * memory.oom.group all its processes at once: the service would die of its own profile. A few reads
 * of /proc and /sys/fs/cgroup; async-signal-safe. */
#ifndef MP_CONTROL_HEADROOM_H
#define MP_CONTROL_HEADROOM_H

#include <stdbool.h>

/* True where there is no such limit, or none that can be read. */
bool mp_headroom_is_there(void);

#endif
