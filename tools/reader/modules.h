/* The modules of all dumps that are looked at, each named once: what two dumps say of the same file
 * becomes one entry, so that frames of both can be compared, and a file's names are read once. */
#ifndef READER_MODULES_H
#define READER_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#include "reader/dump.h"

struct module {
    const char *path; /* of its dump; valid while that is open */
    const char *base; /* its last part */
    const uint8_t *build_id;
    uint32_t build_id_size;    /* bytes as the dump has them, cut where it cuts; 0: none */
    uint32_t identity;         /* equal for equal build-ids; without one, for equal bases */
    uint64_t identity_hash;    /* the same in every run of a tool */
    bool runtime;              /* the C or C++ library or the loader: not the program's own code */
    uint64_t time_ns;          /* the earliest dump that knows it */
    struct symbols_file *file; /* what symbols.c has read of it; NULL: not yet */
};

struct modules;

struct modules *modules_new(void);
void modules_free(struct modules *modules);

/* Makes a dump's modules known. The dump stays open at least as long. */
void modules_add(struct modules *modules, const struct dump *dump);

/* A frame's module, NULL where it lies in none. The dump is one that was added. */
struct module *modules_of_frame(struct modules *modules, const struct dump *dump, uint64_t frame);

/* Whether a module of that identity is in this dump. */
bool modules_in_dump(const struct modules *modules, const struct dump *dump, uint32_t identity);

/* Where a frame lies in its module's file: a virtual address there. */
uint64_t modules_offset(const struct dump *dump, uint64_t frame);

/* All of them, for who keeps something about each. */
struct module *modules_at(struct modules *modules, uint32_t number); /* NULL: past the last */

#endif
