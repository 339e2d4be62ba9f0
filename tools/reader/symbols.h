/* Names for frames: function, file and line, with inlined calls told apart, from the files of the
 * modules and the debug information found for them on this machine (nothing is fetched). A file
 * that is not the one the dump saw gives no names at all: better none than wrong ones. */
#ifndef READER_SYMBOLS_H
#define READER_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reader/dump.h"
#include "reader/modules.h"

/* One function of a frame. What is unknown is NULL, or 0 for the line. */
struct frame {
    const char *function;
    const char *file;
    unsigned line;
    const struct module *module;
    uint64_t offset; /* in the module's file; without a module the address */
    bool inlined;    /* into the function of the next one */
};

struct symbols;

/* The texts of frames live as long as this. */
struct symbols *symbols_new(struct modules *modules);
void symbols_free(struct symbols *symbols);

/* The functions of one frame of a dump that its modules know of, innermost first; at least one.
 * Says one line on stderr for each module whose file cannot be used. */
size_t symbols_find(struct symbols *symbols, const struct dump *dump, uint64_t frame,
                    const struct frame **out);

#endif
