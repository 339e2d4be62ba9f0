#include "analyze/suppress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add(struct suppressions *suppressions, char *line, const char *path, size_t number,
               struct tool_error *error) {
    line += strspn(line, " \t");
    size_t length = strcspn(line, "\r\n");
    while (length > 0 && strchr(" \t", line[length - 1]))
        length--;
    line[length] = '\0';
    if (!*line || *line == '#')
        return 0;
    if (strncmp(line, "leak:", 5) != 0 || !line[5])
        return tool_fail(error, "%s: line %zu: it is \"leak:\" and a pattern, not \"%s\"", path,
                         number, line);
    suppressions->list = tool_grow(suppressions->list, suppressions->count, &suppressions->capacity,
                                   sizeof *suppressions->list);
    suppressions->list[suppressions->count++] =
        (struct suppression){.pattern = tool_copy(line + 5)};
    return 0;
}

int suppressions_read(struct suppressions *suppressions, const char *path,
                      struct tool_error *error) {
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    int result = 0;
    if (!file)
        return tool_fail(error, "%s: %s", path, strerror(errno));
    for (size_t number = 1; result == 0 && getline(&line, &room, file) >= 0; number++)
        result = add(suppressions, line, path, number, error);
    if (result == 0 && ferror(file))
        result = tool_fail(error, "%s: %s", path, strerror(errno));
    free(line);
    fclose(file);
    return result;
}

void suppressions_free(struct suppressions *suppressions) {
    for (size_t i = 0; i < suppressions->count; i++)
        free(suppressions->list[i].pattern);
    free(suppressions->list);
    *suppressions = (struct suppressions){0};
}

bool suppressions_were_used(const struct suppressions *suppressions) {
    bool used = false;
    for (size_t i = 0; i < suppressions->count; i++)
        used |= suppressions->list[i].objects > 0;
    return used;
}

/* The piece up to the next star at its first place from `name` on; NULL: it is nowhere. `at_end`:
 * it must be the name's end. */
static const char *find_piece(const char *name, const char *piece, size_t length, bool at_start,
                              bool at_end) {
    size_t left = strlen(name);
    if (at_end && !at_start) {
        if (left < length)
            return NULL;
        name += left - length;
        at_start = true;
    }
    for (; strlen(name) >= length; name++) {
        if (strncmp(name, piece, length) == 0 && (!at_end || !name[length]))
            return name + length;
        if (at_start || !*name)
            return NULL;
    }
    return NULL;
}

bool suppression_fits(const char *pattern, const char *name) {
    bool at_start = *pattern == '^';
    pattern += at_start;
    for (;;) {
        size_t length = strcspn(pattern, "*");
        bool last = !pattern[length];
        bool at_end = last && length > 0 && pattern[length - 1] == '$';
        name = find_piece(name, pattern, length - at_end, at_start, at_end);
        if (!name || last)
            return name != NULL;
        pattern += length + 1;
        at_start = false;
    }
}

static bool fits_frame(const char *pattern, const struct frame *frame) {
    return (frame->function && suppression_fits(pattern, frame->function)) ||
           (frame->file && suppression_fits(pattern, frame->file)) ||
           (frame->module && suppression_fits(pattern, frame->module->path));
}

const struct suppression *suppressions_match(struct suppressions *suppressions,
                                             const struct frame_list *frames, double bytes,
                                             double objects) {
    for (size_t s = 0; s < suppressions->count; s++) {
        struct suppression *suppression = &suppressions->list[s];
        for (size_t i = 0; i < frames->count; i++) {
            if (!fits_frame(suppression->pattern, &frames->at[i]))
                continue;
            suppression->bytes += bytes;
            suppression->objects += objects;
            return suppression;
        }
    }
    return NULL;
}
