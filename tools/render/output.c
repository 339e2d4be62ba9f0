#include "render/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_temporary(struct output *output, struct tool_error *error) {
    size_t size = strlen(output->path) + sizeof ".XXXXXX";
    output->temporary = tool_alloc(1, size);
    snprintf(output->temporary, size, "%s.XXXXXX", output->path);
    int fd = mkstemp(output->temporary);
    if (fd < 0) {
        free(output->temporary);
        output->temporary = NULL;
        return tool_fail(error, "%s: %s", output->path, strerror(errno));
    }
    /* mkstemp's files are for the owner alone; this one is to be as any other. */
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    output->stream = fdopen(fd, "w");
    if (output->stream)
        return 0;
    tool_fail(error, "%s: %s", output->path, strerror(errno));
    close(fd);
    return -1;
}

int output_open(struct output *output, const char *path, struct tool_error *error) {
    struct stat status;
    *output = (struct output){.stream = stdout};
    if (!path)
        return 0;
    output->path = tool_copy(path);
    output->stream = NULL;
    int code = 0;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        code = tool_fail(error, "%s: %s", path, strerror(EISDIR));
    } else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        output->stream = fopen(path, "we");
        if (!output->stream)
            code = tool_fail(error, "%s: %s", path, strerror(errno));
    } else {
        code = open_temporary(output, error);
    }
    if (code < 0)
        output_drop(output);
    return code;
}

int output_close(struct output *output, struct tool_error *error) {
    const char *name = output->path ? output->path : "standard output";
    errno = 0;
    int failed = fflush(output->stream) != 0 || ferror(output->stream);
    int reason = errno;
    if (output->path && fclose(output->stream) != 0) {
        reason = failed ? reason : errno;
        failed = 1;
    }
    if (output->path)
        output->stream = NULL;
    if (!failed && output->temporary && rename(output->temporary, output->path) != 0) {
        failed = 1;
        reason = errno;
    }
    if (failed) {
        tool_fail(error, "%s: %s", name, reason ? strerror(reason) : "cannot be written");
        output_drop(output);
        return -1;
    }
    free(output->temporary);
    free(output->path);
    *output = (struct output){0};
    return 0;
}

void output_drop(struct output *output) {
    if (output->path && output->stream)
        fclose(output->stream);
    if (output->temporary)
        unlink(output->temporary);
    free(output->temporary);
    free(output->path);
    *output = (struct output){0};
}

void output_clean(FILE *stream, const char *text) {
    while (*text) {
        size_t length = tool_utf8(text);
        unsigned char first = (unsigned char)*text;
        /* C1 controls (U+0080 to U+009F) move cursors, too. */
        bool control =
            first < ' ' || first == 0x7f ||
            (first == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0);
        if (length == 0 || control)
            fputc('?', stream);
        else
            fwrite(text, 1, length, stream);
        text += length ? length : 1;
    }
}

void output_json(FILE *stream, const char *at) {
    if (!at) {
        fputs("null", stream);
        return;
    }
    fputc('"', stream);
    while (*at) {
        size_t length = tool_utf8(at);
        if (length == 0)
            fputs("\\ufffd", stream);
        else if (*at == '"' || *at == '\\')
            fprintf(stream, "\\%c", *at);
        else if ((unsigned char)*at < ' ' || *at == 0x7f)
            fprintf(stream, "\\u%04x", (unsigned)(unsigned char)*at);
        else
            fwrite(at, 1, length, stream);
        at += length ? length : 1;
    }
    fputc('"', stream);
}
