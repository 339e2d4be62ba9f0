/* Where results go: the standard output, or a file that appears under its name only when it is
 * whole. */
#ifndef RENDER_OUTPUT_H
#define RENDER_OUTPUT_H

#include <stdio.h>

#include "common.h"

struct output {
    FILE *stream;
    char *path;      /* NULL: the standard output */
    char *temporary; /* NULL: nothing to rename (a device, a pipe) */
};

/* `path` NULL: the standard output. */
int output_open(struct output *output, const char *path, struct tool_error *error);

/* Makes sure that all was written, and renames; on failure nothing is left. */
int output_close(struct output *output, struct tool_error *error);

/* Gives up: nothing is left. */
void output_drop(struct output *output);

/* Text for people: control characters and bytes that are no UTF-8 as '?'. */
void output_clean(FILE *stream, const char *text);

/* A JSON string; null for NULL. Bytes that are no UTF-8 become U+FFFD: names come from files, and
 * files from anywhere. */
void output_json(FILE *stream, const char *text);

#endif
