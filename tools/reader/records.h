/* What stands in a dump's sections, for the two halves of the reader: dump.c finds the sections and
 * brings their records to this version's size, records.c checks each field. Nothing else includes
 * this, but the reader's own tests. */
#ifndef READER_RECORDS_H
#define READER_RECORDS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "reader/dump.h"

/* Bounds of the format, besides those in its header. */
#define DUMP_RECORD_SIZE_MAX 4096u  /* of a record, the header and a table entry */
#define DUMP_DEPTH_MAX       256u   /* frames of a stack */
#define DUMP_KINDS           14u    /* known kinds are 1 .. 13 */
#define DUMP_KINDS_NEEDED    8u     /* of these, 1 .. 8 must be there */
#define DUMP_NODES_MAX       1024u  /* numbers of NUMA nodes, as the kernel has them */
#define DUMP_ESTIMATE_MAX    0x1p96 /* so that no sum of estimates is infinite */

struct dump_kind {
    const char *name;
    uint32_t size;    /* of the record as this version knows it */
    uint32_t minimum; /* of the smallest that was ever written: version 1's; never changes */
};

/* NULL: not known. */
const struct dump_kind *dump_kind_find(uint32_t kind);

/* Where a section's records are in the file, so that an error can name the byte. */
struct dump_place {
    uint64_t offset;
    uint64_t record_size;
};

struct dump_check {
    const char *path;
    struct dump_error *error;
    struct dump_place places[DUMP_KINDS];
};

/* Fills the error in, the path's unprintable bytes as '?'; -1. */
int dump_fail(const struct dump_check *check, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int dump_fail_whole(const char *path, struct dump_error *error, const char *why);

/* So many bytes of the file, from there; 0, or -1 with the error filled in. */
int dump_read_at(const struct dump_check *check, int fd, void *into, uint64_t offset, size_t size);

/* Brings `count` records from one size to another, in place: `bytes` has room for the larger. What
 * a smaller record lacks is zero, what a larger one has more is dropped. */
void dump_fit(void *bytes, size_t count, size_t from, size_t to);

/* Every field of every record; 0, or -1 with the error filled in. The arrays are those of `dump`,
 * with one PROCESS record. */
int dump_check_records(const struct dump_check *check, const struct dump *dump);

#endif
