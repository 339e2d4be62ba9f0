/* `memprof stats`: what a process is doing with its memory, without stacks, by one dump. */
#ifndef COMMANDS_STATS_H
#define COMMANDS_STATS_H

#include <stdbool.h>

#include "common.h"

struct stats_options {
    bool json, help;
};

/* 0, and argv[optind] is what is left; -1 with the error. */
int stats_parse(int argc, char **argv, struct stats_options *options, struct tool_error *error);

/* These return the exit status, 0 or 2, and have said why. */
int stats_file(const char *path, const void *options);
int stats_help(void);

#endif
