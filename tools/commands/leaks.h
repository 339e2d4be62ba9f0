/* `memprof leaks`: what has leaked, by a dump for which that was looked for. */
#ifndef COMMANDS_LEAKS_H
#define COMMANDS_LEAKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common.h"

#define LEAKS_SUPPRESSIONS 8

struct leaks_options {
    bool json, quiet, help;
    const char *output;                           /* NULL: the standard output */
    const char *suppressions[LEAKS_SUPPRESSIONS]; /* files */
    size_t suppressions_count;
    uint64_t min_bytes;
};

/* 0, and argv[optind] is what is left; -1 with the error. */
int leaks_parse(int argc, char **argv, struct leaks_options *options, struct tool_error *error);

/* These return the exit status, 0, 1 where there are leaks, or 2, and have said why. */
int leaks_file(const char *path, const void *options);
int leaks_help(void);

#endif
