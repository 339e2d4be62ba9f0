/* A black box (memprof/box.h) as the sections of a dump. It may be of a process that runs, and be
 * written to meanwhile: what does not fit together is read again, and refused if it never does. */
#ifndef READER_BOX_H
#define READER_BOX_H

#include <stdbool.h>

#include <memprof/box.h>

#include "reader/records.h"

struct box {
    void *records[DUMP_KINDS]; /* with malloc; NULL: none of that kind */
    size_t counts[DUMP_KINDS];
    struct dump_box about;
};

/* The first bytes of the file are `magic`: is it one? */
bool box_is(const unsigned char *magic, size_t size);

/* 0, or -1 with the error filled in; then, too, box_free is to be called. */
int box_read(struct box *box, int fd, const struct dump_check *check);
void box_free(struct box *box);

/* What the heap holds and no more: a few pages are read, however large the box is. */
struct box_glance {
    struct memprof_box_figures figures; /* the newest */
    uint64_t start_time_ns;             /* of the process; since 1970 */
};

/* 0; 1: there are no figures yet, or just now none that is whole; -1 with the error filled in. */
int box_glance(struct box_glance *glance, const char *path, struct dump_error *error);

#endif
