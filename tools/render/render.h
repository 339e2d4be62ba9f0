/* What a view looks like, in each format. All write to a stream and leave its errors to
 * output_close. */
#ifndef RENDER_RENDER_H
#define RENDER_RENDER_H

#include <stdbool.h>
#include <stdio.h>

#include "analyze/diff.h"
#include "analyze/leaks.h"

enum render_format { RENDER_TEXT, RENDER_JSON, RENDER_CSV, RENDER_FOLDED };

/* Knows the names; `known` lists them for an error's sake. */
bool render_parse_format(const char *text, enum render_format *out);
#define RENDER_FORMATS "text, json, csv, folded"

struct render_options {
    enum render_format format;
    size_t top; /* sites that the text shows; 0: all */
    bool colour;
};

void render(FILE *stream, struct view *view, const struct render_options *options);

void render_text(FILE *stream, struct view *view, const struct render_options *options);
void render_json(FILE *stream, struct view *view);
void render_csv(FILE *stream, struct view *view);
void render_folded(FILE *stream, struct view *view);

/* What a site's integers are, the same in every format: the difference is that of the rounded
 * sides, and lies in its interval. */
struct render_figures {
    int64_t old_bytes, new_bytes, bytes, low, high, objects;
};
struct render_figures render_figures(const struct view *view, const struct site *site);

/* What a process is doing, without its stacks. */
void render_json_stats(FILE *stream, const struct dump *dump);
void render_text_stats(FILE *stream, const struct dump *dump, bool colour);

/* What has leaked. As text, it is the report that LeakSanitizer prints. */
void render_json_leaks(FILE *stream, struct leaks *leaks);
void render_text_leaks(FILE *stream, struct leaks *leaks, const struct suppressions *suppressions,
                       bool colour);
/* How threads were stopped. */
const char *render_world(uint32_t world);

/* What a view of one dump is of, in a word. */
const char *render_of(const struct view *view);

/* "blocks of 64 bytes" */
const char *render_class(char out[TOOL_NUMBER], uint64_t size);

/* A frame's short name: its function, or "module+0x1234", or an address. */
void render_name(struct tool_text *out, const struct frame *frame);

#endif
