/* `memprof show`: who holds the memory, or who allocated it, by one dump. */
#ifndef COMMANDS_SHOW_H
#define COMMANDS_SHOW_H

#include "commands/view.h"

struct show_options {
    struct view_arguments shared;
    bool help; /* print it and nothing else */
};

/* The options before the file, for who shows something else than a file: 0, and argv[optind] is
 * the first that is none, or -1 with the error. Call show_end in either case. argv[0] is the
 * command's name. */
int show_parse(int argc, char **argv, struct show_options *options, struct tool_error *error);
void show_end(struct show_options *options);

/* These return the exit status, 0 or 2, and have said why. */
int show_file(const char *path, const struct show_options *options);
int command_show(int argc, char **argv);

#endif
