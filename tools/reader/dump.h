/* A dump file as the tools see it. Opening reads the file and checks all of it: structure, every
 * checksum, every index and text, so that what uses the result need check nothing again. Files are
 * hostile input: the answer to a bad one is an error that names file, offset and reason.
 *
 * What is not checked, because no reader can: that the figures are true, that addresses and times
 * make sense together, and that texts are printable (they are whatever the process was told).
 *
 * The file is read into memory, not mapped: a mapped file that is cut short kills its reader
 * (SIGBUS), and one that is written to changes after it was checked. That costs as much memory as
 * the file is long; opening takes 1.5 to 2 s per GiB of it. */
#ifndef READER_DUMP_H
#define READER_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <memprof/dump.h>

/* Of what was a black box: what is different from a dump. */
struct dump_box {
    bool is_box;
    bool is_running;         /* the process is there */
    bool is_unknown;         /* whether it is cannot be seen from here: another PID namespace */
    bool has_ended;          /* it came to its normal end */
    bool sums_only;          /* no samples: what is live is told by the sums of STACKS, exactly */
    uint64_t unmirrored;     /* records that had no room */
    uint64_t figures_age_ns; /* how long before its last sample the heap's figures are from */
    unsigned torn;           /* stacks whose sums were being added to when it ended */
};

/* Arrays of records as this version knows them, whatever the file's record sizes: what an older
 * file lacks is zero. */
struct dump {
    const char *path;
    const struct memprof_dump_process *process;
    const struct memprof_dump_module *modules;
    size_t module_count;
    const uint64_t *frames;
    size_t frame_count;
    const struct memprof_dump_stack *stacks;
    size_t stack_count;
    const struct memprof_dump_sample *samples;
    size_t sample_count;
    const struct memprof_dump_class *classes;
    size_t class_count;
    const struct memprof_dump_map *maps;
    size_t map_count;
    const struct memprof_dump_node *nodes; /* none: one node, or an older file */
    size_t node_count;
    const struct memprof_dump_free *frees; /* none: an older file */
    size_t free_count;
    const struct memprof_dump_point *points; /* none: an older file */
    size_t point_count;
    const struct memprof_dump_region *regions; /* none: an older file */
    size_t region_count;
    const struct memprof_dump_leaks *leaks; /* NULL: they were not looked for */
    const char *strings;                    /* ends with a NUL; see dump_text */
    size_t strings_size;
    struct dump_box box;
};

struct dump_error {
    uint64_t offset; /* in the file; 0 where there is none to name */
    char text[512];  /* one line: "FILE: at byte N: why", or "FILE: why" if nothing could be read */
};

/* 0, or -1 with the error filled in. Takes no time but for the file's bytes: a FIFO or a device is
 * refused, not waited for. */
int dump_open(struct dump **out, const char *path, struct dump_error *error);
void dump_close(struct dump *dump);

/* A text of the file; never NULL. It may hold any bytes but NUL. */
const char *dump_text(const struct dump *dump, uint32_t text);

/* How many blocks the sample stands for: 1 or more. */
double dump_sample_weight(const struct memprof_dump_sample *sample);

/* The module a frame lies in; NULL: none. */
const struct memprof_dump_module *dump_frame_module(const struct dump *dump, uint64_t frame);

#endif
