#include "platform/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "platform/sys.h"

static int say_fd = 2;
static const char *say_path;

void mp_text_init(struct mp_text *text, char *buffer, size_t size) {
    memset(text, 0, sizeof *text);
    text->at = buffer;
    text->room = size;
    if (size)
        *buffer = '\0';
}

static void add_char(struct mp_text *text, char c) {
    if (text->room <= 1 && text->flush)
        text->flush(text);
    if (text->room <= 1)
        return;
    *text->at++ = c;
    *text->at = '\0';
    text->room--;
    text->length++;
}

static void add_padded(struct mp_text *text, const char *bytes, size_t n, int width) {
    for (int pad = width - (int)n; pad > 0; pad--)
        add_char(text, ' ');
    for (size_t i = 0; i < n; i++)
        add_char(text, bytes[i]);
    for (int pad = -width - (int)n; pad > 0; pad--)
        add_char(text, ' ');
}

static void add_number(struct mp_text *text, uint64_t value, unsigned base, bool negative,
                       int width) {
    char digits[24];
    size_t n = sizeof digits;
    do {
        digits[--n] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (negative)
        digits[--n] = '-';
    add_padded(text, digits + n, sizeof digits - n, width);
}

void mp_text_vadd(struct mp_text *text, const char *format, va_list args) {
    for (const char *f = format; *f; f++) {
        if (*f != '%') {
            add_char(text, *f);
            continue;
        }
        f++;
        bool left = *f == '-';
        if (left)
            f++;
        int width = 0;
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (*f - '0');
        if (left)
            width = -width;
        bool wide = *f == 'z' || *f == 'l';
        if (wide)
            f++;
        switch (*f) {
        case 's': {
            const char *s = va_arg(args, const char *);
            if (!s)
                s = "(null)";
            add_padded(text, s, strlen(s), width);
            break;
        }
        case 'c':
            add_char(text, (char)va_arg(args, int));
            break;
        case 'd': {
            int64_t v = wide ? va_arg(args, int64_t) : va_arg(args, int);
            add_number(text, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, v < 0, width);
            break;
        }
        case 'u':
            add_number(text, wide ? va_arg(args, uint64_t) : va_arg(args, unsigned), 10, false,
                       width);
            break;
        case 'x':
            add_number(text, wide ? va_arg(args, uint64_t) : va_arg(args, unsigned), 16, false,
                       width);
            break;
        case 'p':
            add_char(text, '0');
            add_char(text, 'x');
            add_number(text, (uintptr_t)va_arg(args, void *), 16, false, 0);
            break;
        case '%':
            add_char(text, '%');
            break;
        default: /* a mistake of ours: show it rather than read a wrong argument */
            add_char(text, '?');
            return;
        }
    }
}

void mp_text_add(struct mp_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mp_text_vadd(text, format, args);
    va_end(args);
}

void mp_say_to(int fd, const char *path) {
    say_fd = fd;
    say_path = path;
}

int mp_say_descriptor(void) {
    return say_path ? -1 : say_fd;
}

int mp_say_open(void) {
    return say_path ? (int)mp_sys_open(say_path, O_WRONLY | O_CREAT | O_APPEND, 0600) : say_fd;
}

/* Beyond the limit of files a write would not only fail, but raise SIGXFSZ, which ends programs. By
 * its size: where the next write to it goes is its end, mostly. */
static bool has_room(int fd, size_t size) {
    struct mp_file file;
    uint64_t limit = mp_sys_limit(RLIMIT_FSIZE);
    return limit == UINT64_MAX || mp_sys_look(fd, &file) != 0 || !S_ISREG(file.mode) ||
           (size <= limit && file.size <= limit - size);
}

void mp_say_raw(const char *bytes, size_t size) {
    int fd = say_fd;
    if (say_path) {
        long opened = mp_sys_open(say_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (opened < 0)
            return;
        fd = (int)opened;
    }
    if (fd < 0)
        return;
    while (size && has_room(fd, size)) {
        long n = mp_sys_write(fd, bytes, size);
        if (n <= 0)
            break;
        bytes += n;
        size -= (size_t)n;
    }
    if (say_path)
        mp_sys_close(fd);
}

void mp_say(const char *format, ...) {
    char line[1024];
    struct mp_text text;
    mp_text_init(&text, line, sizeof line - 1);
    mp_text_add(&text, "memprof: ");
    va_list args;
    va_start(args, format);
    mp_text_vadd(&text, format, args);
    va_end(args);
    line[text.length] = '\n';
    mp_say_raw(line, text.length + 1);
}

const char *mp_say_reason(int error) {
    switch (-error) {
    case ENOENT:
        return "no such directory";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EROFS:
        return "read-only file system";
    case ENOSPC:
    case EDQUOT:
        return "no space left";
    case EFBIG:
        return "larger than files may be (RLIMIT_FSIZE)";
    case EEXIST:
        return "something else than a file is there";
    case EISDIR:
        return "is a directory";
    case ENOTDIR:
        return "not a directory";
    case ENAMETOOLONG:
        return "name too long";
    case ENOMEM:
        return "no memory to spare, or none within the memory cgroup's limit";
    case ENOTSUP:
        return "not on a file system in memory (tmpfs)";
    case EBUSY:
        return "the last search is still at it";
    case EAGAIN:
        return "new threads come faster than they can be stopped, or there may be no more "
               "processes";
    case ECANCELED:
        return "its copy was ended by a signal, as when there is no memory left";
    case EREMOTE:
        return "there is no /proc, or its numbers of processes are not those of this one's "
               "namespace";
    case ELOOP:
        return "a symbolic link";
    default:
        return "input/output error";
    }
}
