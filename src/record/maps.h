/* The process's memory map as the kernel tells it, with what is resident: /proc/PID/smaps, read and
 * parsed as it streams by. Runs in a copy of the process with one thread; system calls only. */
#ifndef MP_RECORD_MAPS_H
#define MP_RECORD_MAPS_H

#include <stdint.h>

#include <memprof/dump.h>

/* `path` is valid during the call. `map->path` and `map->kind` are left for the callee. */
typedef void mp_maps_visitor(struct memprof_dump_map *map, const char *path, void *context);

/* Opens a file of /proc/PID, -errno. `pid`, here and below: as /proc has it; 0: of this process. */
long mp_maps_open(long pid, const char *file);

/* Of the process `pid`, or where that is not to be had of this one (then without what is resident).
 * 0 or -errno. */
int mp_maps_each(long pid, mp_maps_visitor *visit, void *context);

/* Where resident pages are, by NUMA node. */
struct mp_placed {
    uint64_t start, end; /* end: no mapping follows before it */
    uint32_t preferred;  /* the node that the mapping's pages are to come from, or MP_NO_NODE */
    uint32_t node;       /* where these are */
    uint64_t bytes;
};
#define MP_NO_NODE UINT32_MAX
typedef void mp_placed_visitor(const struct mp_placed *placed, void *context);

/* Of this process, per mapping and node: /proc/self/numa_maps. 0 or -errno. */
int mp_maps_each_placed(mp_placed_visitor *visit, void *context);

/* Resident bytes of the process, 0 when unknown. */
uint64_t mp_maps_resident(long pid);

#endif
