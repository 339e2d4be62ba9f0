/* The options that memdiff and `memprof show` have in common, and what both do with a view. */
#ifndef COMMANDS_VIEW_H
#define COMMANDS_VIEW_H

#include <getopt.h>

#include "analyze/diff.h"
#include "render/render.h"

/* For their tables of long options: the rest is their own, from VIEW_OPTION_OWN on. */
enum {
    VIEW_OPTION_BY = 256,
    VIEW_OPTION_FOCUS,
    VIEW_OPTION_IGNORE,
    VIEW_OPTION_MIN_BYTES,
    VIEW_OPTION_CONFIDENCE,
    VIEW_OPTION_FORMAT,
    VIEW_OPTION_TOP,
    VIEW_OPTION_HELP,
    VIEW_OPTION_OWN,
};

#define VIEW_OPTIONS                                                                               \
    {"by", required_argument, NULL, VIEW_OPTION_BY},                                               \
        {"focus", required_argument, NULL, VIEW_OPTION_FOCUS},                                     \
        {"ignore", required_argument, NULL, VIEW_OPTION_IGNORE},                                   \
        {"min-bytes", required_argument, NULL, VIEW_OPTION_MIN_BYTES},                             \
        {"confidence", required_argument, NULL, VIEW_OPTION_CONFIDENCE},                           \
        {"format", required_argument, NULL, VIEW_OPTION_FORMAT},                                   \
        {"top", required_argument, NULL, VIEW_OPTION_TOP},                                         \
        {"output", required_argument, NULL, 'o'}, {                                                \
        "help", no_argument, NULL, VIEW_OPTION_HELP                                                \
    }

struct view_arguments {
    struct view_options view;
    struct render_options render;
    const char *output; /* NULL: the standard output */
    regex_t focus, ignore;
    bool has_focus, has_ignore;
};

void view_arguments_begin(struct view_arguments *arguments);
void view_arguments_end(struct view_arguments *arguments);

/* One option as getopt_long returned it; -1 with the error for a bad value. */
int view_arguments_take(struct view_arguments *arguments, int option, const char *value,
                        struct tool_error *error);

/* Why getopt_long returned '?', with `:` first in its short options and opterr 0. */
int view_arguments_refuse(int option, char **argv, struct tool_error *error);

/* Prints a text of its own onto the standard output; 0, or 2 with the error. */
int view_arguments_help(const char *text, struct tool_error *error);

/* The options of the view, which point into `arguments`. */
struct view_options view_arguments_view(const struct view_arguments *arguments);

/* Renders into the file or onto the standard output. */
int view_arguments_print(const struct view_arguments *arguments, struct view *view,
                         struct tool_error *error);

#endif
