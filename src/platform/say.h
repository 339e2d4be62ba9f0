/* Text without stdio: a bounded line buffer, and the one way to tell the user something.
 * Nothing here allocates, takes a lock or touches errno; any context. */
#ifndef MP_PLATFORM_SAY_H
#define MP_PLATFORM_SAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_text {
    char *at;
    size_t room;                         /* bytes left, the final NUL included */
    size_t length;                       /* bytes written */
    void (*flush)(struct mp_text *text); /* called when full, if set; must make room */
    void *sink;
};

void mp_text_init(struct mp_text *text, char *buffer, size_t size);
/* %s %c %d %u (int), %zu %lu (64 bits), %zd, %x %p (hex, 0x before %p), %%; a width with %zu, %lu,
 * %u and %s (minus: left) only. What does not fit is cut. */
void mp_text_add(struct mp_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void mp_text_vadd(struct mp_text *text, const char *format, __builtin_va_list args);

/* One line "memprof: ..." to where `log` points (stderr, off, or a file), in one write. */
void mp_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Many lines to the same place, unprefixed. */
void mp_say_raw(const char *bytes, size_t size);

/* What an error of the file system means, for people. */
const char *mp_say_reason(int error);

/* Where mp_say writes: a descriptor (2 at first), -1 for nowhere, or a path that is opened for each
 * line, so that no descriptor stays open. The path must stay valid. */
void mp_say_to(int fd, const char *path);
/* The descriptor that lines go to; -1: they go to a file that is opened each time, or nowhere. */
int mp_say_descriptor(void);
/* The same, with the file opened; -1: nowhere. */
int mp_say_open(void);

#endif
