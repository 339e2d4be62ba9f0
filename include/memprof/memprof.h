/* What a program may ask of the memprof that runs under it. All of it is weak: a program that is
 * linked without the library, and run without it, finds null pointers:
 *
 *     if (memprof_dump)
 *         memprof_dump("/tmp/after-warmup.heap");
 */
#ifndef MEMPROF_MEMPROF_H
#define MEMPROF_MEMPROF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MEMPROF_API
#define MEMPROF_API __attribute__((weak))
#endif

/* Writes a dump to `path`; NULL: to where the option `dump` says. Returns when the file is there;
 * meanwhile other threads run on. 0, or -1 with errno set. Not from a signal handler. */
MEMPROF_API int memprof_dump(const char *path);

/* Stops all threads for some milliseconds, makes a copy of the process, and has that search for
 * what no pointer leads to any more. Returns when it has; meanwhile other threads run on. 0, or -1
 * with errno set. Not from a signal handler. */
struct memprof_leaks {
    uint64_t leaked_bytes, leaked_objects;     /* as the heap has rounded them up */
    uint64_t indirect_bytes, indirect_objects; /* that only leaked blocks lead to */
    uint64_t reachable_bytes, reachable_objects;
    uint64_t pause_ns; /* for which threads stood still */
    uint64_t scan_ns;
    uint32_t world; /* 1: stopped by ptrace; 2: by a signal; 3: not at all, and searched twice */
    uint32_t threads, threads_missed;
};
MEMPROF_API int memprof_leaks(struct memprof_leaks *leaks);

/* Memory that such a search goes through for pointers, though it would not by itself (what a device
 * has mapped); the same start again: with another size. 0, or -1 with errno set. */
MEMPROF_API int memprof_root(const void *start, size_t size);
MEMPROF_API int memprof_unroot(const void *start);

/* A block, by any pointer into it, that is no leak, nor is anything that it leads to. It is
 * forgotten when the block is freed. */
MEMPROF_API int memprof_ignore(const void *pointer);

#ifdef __cplusplus
}
#endif

#endif
