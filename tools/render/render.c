#include "render/render.h"

#include <stdio.h>
#include <string.h>

bool render_parse_format(const char *text, enum render_format *out) {
    static const char *const names[] = {"text", "json", "csv", "folded"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum render_format)i;
            return true;
        }
    }
    return false;
}

void render(FILE *stream, struct view *view, const struct render_options *options) {
    switch (options->format) {
    case RENDER_TEXT:
        render_text(stream, view, options);
        break;
    case RENDER_JSON:
        render_json(stream, view);
        break;
    case RENDER_CSV:
        render_csv(stream, view);
        break;
    case RENDER_FOLDED:
        render_folded(stream, view);
        break;
    }
}

struct render_figures render_figures(const struct view *view, const struct site *site) {
    struct render_figures figures = {
        .old_bytes = tool_integer(site->old_bytes),
        .new_bytes = tool_integer(site->new_bytes),
        .low = tool_integer(site->interval.low),
        .high = tool_integer(site->interval.high),
        .objects = tool_integer(site->objects),
    };
    /* Neither is negative, so this does not overflow. */
    figures.bytes = figures.new_bytes - figures.old_bytes;
    if (figures.low > figures.bytes)
        figures.low = figures.bytes;
    if (figures.high < figures.bytes)
        figures.high = figures.bytes;
    return figures;
}

const char *render_of(const struct view *view) {
    static const char *const names[] = {"live", "allocated", "peak", "mapped", "lifetimes"};
    return names[view->options.of];
}

const char *render_class(char out[TOOL_NUMBER], uint64_t size) {
    if (size > 0)
        snprintf(out, TOOL_NUMBER, "blocks of %llu bytes", (unsigned long long)size);
    else
        snprintf(out, TOOL_NUMBER, "large blocks");
    return out;
}

void render_name(struct tool_text *out, const struct frame *frame) {
    char number[TOOL_NUMBER];
    if (frame->function) {
        tool_text_add(out, frame->function, strlen(frame->function));
        return;
    }
    if (frame->module) {
        const char *base = *frame->module->base ? frame->module->base : "unknown";
        tool_text_add(out, base, strlen(base));
        if (frame->offset == 0) /* a module as a whole */
            return;
        tool_text_add(out, "+", 1);
    }
    snprintf(number, sizeof number, "0x%llx", (unsigned long long)frame->offset);
    tool_text_add(out, number, strlen(number));
}
