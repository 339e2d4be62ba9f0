/* The bytes of a black box: the mirror of a process's profile that survives it. The library writes
 * it while the process runs, the tools read it at any time; docs/format.md says it in words.
 *
 *   +------+-------+-------+--------+-- ... --+
 *   | head | state | TEXTS | MODULES |        |    a sparse file; each area begins at a whole page
 *   +------+-------+-------+--------+-- ... --+    and has room for far more than it will hold
 *
 * The head never changes. Of an area, the first `used` records of `state` are there, or have been
 * being written when the process ended. Three kinds of record:
 *
 *   written once    TEXTS, MODULES, FRAMES, and the first part of STACKS and FREES: counted in
 *                   `used` when whole
 *   sums            the second part of STACKS and FREES: each number is added to by itself, and
 *                   the check behind them too, so that it fits whenever nobody is adding just then
 *   slots           SAMPLES and REGIONS: `serial` or `start` is 0 while it is free or being written
 *
 * Numbers in it refer to what `used` counted before. It grows as a dump does (dump.h). */
#ifndef MEMPROF_BOX_H
#define MEMPROF_BOX_H

#include <stddef.h>
#include <stdint.h>

#include <memprof/dump.h>

#define MEMPROF_BOX_MAGIC   "memprof\x1b" /* 8 bytes, no NUL */
#define MEMPROF_BOX_VERSION 1u
#define MEMPROF_BOX_PAGE    4096u

enum memprof_box_area {
    MEMPROF_BOX_TEXTS,   /* bytes, as in STRINGS of a dump */
    MEMPROF_BOX_MODULES, /* struct memprof_box_module */
    MEMPROF_BOX_FRAMES,  /* uint64_t, as in a dump */
    MEMPROF_BOX_STACKS,  /* struct memprof_box_stack */
    MEMPROF_BOX_FREES,   /* struct memprof_box_free */
    MEMPROF_BOX_SAMPLES, /* struct memprof_box_sample; none with rate 1 */
    MEMPROF_BOX_REGIONS, /* struct memprof_box_region */
    MEMPROF_BOX_SERIES,  /* struct memprof_dump_point, checked: struct memprof_box_point */
    MEMPROF_BOX_AREAS
};

struct memprof_box_place {
    uint64_t offset; /* from the file's start, a whole page */
    uint64_t room;   /* bytes, whole pages */
    uint32_t record_size;
    uint32_t reserved;
};

struct memprof_box_head {
    uint8_t magic[8];
    uint32_t version;
    uint32_t head_size;     /* of this struct */
    uint64_t file_size;     /* most of it a hole */
    uint64_t start_ticks;   /* when the process began: field 22 of /proc/PID/stat; 0: not known */
    uint64_t pid_namespace; /* inode of that in which `pid` is its number; 0: not known */
    struct memprof_box_place areas[MEMPROF_BOX_AREAS];
    struct memprof_dump_process process; /* what is known from the start; texts are in TEXTS */
    uint64_t check;                      /* memprof_box_check of all before */
};

#define MEMPROF_BOX_CLASSES 128u

/* What the heap holds, by its running counts: some 1 in a second, when the process allocates. */
struct memprof_box_figures {
    uint64_t time_ns; /* since 1970; 0: never written */
    uint64_t uptime_ns;
    uint64_t live_bytes; /* at most; at least this minus cached_bytes */
    uint64_t live_objects;
    uint64_t allocated_objects;
    uint64_t cached_bytes;
    uint64_t fragmented_bytes;
    uint64_t purgeable_bytes;
    uint64_t metadata_bytes;
    uint64_t profile_bytes;
    uint64_t threads;
    uint64_t samples_taken;
    uint64_t samples_dropped;
    uint64_t class_count;
    struct memprof_dump_class classes[MEMPROF_BOX_CLASSES];
    uint64_t check; /* memprof_box_check of all before */
};

/* From the file's second page on. The two figures are written in turn: one is whole. */
struct memprof_box_state {
    uint64_t used[MEMPROF_BOX_AREAS]; /* records */
    uint64_t samples_taken;           /* at the last of them */
    uint64_t samples_dropped;
    uint64_t unmirrored;  /* records that had no place here */
    uint64_t peak_number; /* of the last height of the heap, and below it: see struct ..._stack */
    uint64_t peak_bytes;  /* in MEMPROF_BOX_BYTES_ONE */
    uint64_t peak_ns;     /* monotonic */
    uint64_t begun_ns;    /* monotonic time when the process began, as far as this knows */
    uint32_t ended;       /* 1: the process has come to its normal end */
    uint32_t request;     /* counted up by who asks something of the process: src/control */
    struct memprof_box_figures figures[2];
};

/* Sums are in fixed point. */
#define MEMPROF_BOX_OBJECTS_ONE 65536.0
#define MEMPROF_BOX_BYTES_ONE   256.0

struct memprof_box_module {
    struct memprof_dump_module module;
    uint64_t check; /* memprof_box_check of all before */
};

enum memprof_box_sum {
    MEMPROF_BOX_SUM_SAMPLES, /* of a stack with rate 1: 0, they are the objects */
    MEMPROF_BOX_SUM_OBJECTS,
    MEMPROF_BOX_SUM_BYTES,
    MEMPROF_BOX_SUMS,
    /* Behind those that a stack has freed: what it held at a height of that number. If that was not
     * the last, nothing has changed since. */
    MEMPROF_BOX_PEAK_NUMBER = MEMPROF_BOX_SUMS,
    MEMPROF_BOX_PEAK_OBJECTS,
    MEMPROF_BOX_PEAK_BYTES,
    MEMPROF_BOX_FREED_SUMS
};

/* Two cache lines: who allocates writes to one, who frees to the other. */
struct memprof_box_stack {
    uint64_t frame; /* index */
    uint32_t depth;
    uint32_t flags;
    uint64_t check; /* memprof_box_check of the frames, with that of all before */
    uint64_t allocated[MEMPROF_BOX_SUMS];
    uint64_t allocated_check; /* memprof_box_sum_check */
    uint64_t reserved;
    uint64_t freed[MEMPROF_BOX_FREED_SUMS];
    uint64_t freed_check; /* the same */
    uint64_t reserved2;
};

struct memprof_box_free {
    uint32_t stack;
    uint16_t node, on; /* and so on: as in struct memprof_dump_free */
    uint8_t lifetime, flags;
    uint16_t reserved;
    uint32_t reserved2;
    uint64_t check; /* memprof_box_check of all before */
    uint64_t sums[MEMPROF_BOX_SUMS];
    uint64_t sum_check;
};

struct memprof_box_sample {
    uint64_t serial;
    uint64_t address, size, coin, rate;
    uint64_t born_ns; /* monotonic */
    uint32_t stack, thread, node;
    uint16_t resizes, flags;
    uint64_t check; /* memprof_box_check of all before */
};

struct memprof_box_region {
    uint64_t start, end;
    uint64_t born_ns; /* monotonic */
    uint32_t stack, thread;
    uint16_t kind, access;
    uint32_t reserved;
    uint64_t check; /* memprof_box_check of all before */
};

struct memprof_box_point {
    struct memprof_dump_point point;
    uint64_t check;
};

/* Of records in memory, whole words each. */
static inline uint64_t memprof_box_check_on(uint64_t check, const void *record, size_t size) {
    const unsigned char *at = (const unsigned char *)record;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word;
        __builtin_memcpy(&word, at + i, 8);
        check = (check ^ word) * 0xff51afd7ed558ccdu;
        check ^= check >> 32;
    }
    return check;
}

static inline uint64_t memprof_box_check(const void *record, size_t size) {
    return memprof_box_check_on(0x9e3779b97f4a7c15u, record, size);
}

/* What an addition to the sum of that number adds to the check, per unit. */
static inline uint64_t memprof_box_sum_weight(unsigned sum) {
    return (2 * (uint64_t)sum + 1) * 0x9e3779b97f4a7c15u;
}

static inline uint64_t memprof_box_sum_check(uint64_t check, const uint64_t *sums, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        check += sums[i] * memprof_box_sum_weight(i);
    return check;
}

#endif
