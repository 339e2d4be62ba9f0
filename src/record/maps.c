#include "record/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "platform/say.h"
#include "platform/sys.h"

#define LINE_MOST 4352u /* a path and what stands before it */

struct parser {
    mp_maps_visitor *visit;
    void *context;
    bool pending; /* a map whose lines are being read */
    struct memprof_dump_map map;
    char path[LINE_MOST];
};

static const char *number(const char *at, unsigned base, uint64_t *out) {
    *out = 0;
    for (;; at++) {
        unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
                         : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a') + 10
                                                    : 99;
        if (digit >= base)
            return at;
        *out = *out * base + digit;
    }
}

static void finish(struct parser *parser) {
    if (parser->pending)
        parser->visit(&parser->map, parser->path, parser->context);
    parser->pending = false;
}

/* "START-END rwxp OFFSET DEV INODE    PATH" */
static bool parse_head(struct parser *parser, const char *line) {
    struct memprof_dump_map map = {0};
    const char *at = number(line, 16, &map.start);
    if (at == line || *at != '-')
        return false;
    at = number(at + 1, 16, &map.end);
    if (*at != ' ' || strlen(at) < 5)
        return false;
    map.access =
        (uint16_t)((at[1] == 'r' ? MEMPROF_MAP_READ : 0) | (at[2] == 'w' ? MEMPROF_MAP_WRITE : 0) |
                   (at[3] == 'x' ? MEMPROF_MAP_EXEC : 0) | (at[4] == 's' ? MEMPROF_MAP_SHARED : 0));
    at = number(at + 5 + (at[5] == ' '), 16, &map.file_offset);
    for (int words = 0; words < 2; words++) { /* device and inode */
        at += strspn(at, " ");
        at += strcspn(at, " ");
    }
    at += strspn(at, " ");
    finish(parser);
    strcpy(parser->path, at);
    parser->map = map;
    parser->pending = true;
    return true;
}

/* "Rss:      120 kB" */
static void parse_field(const char *line, const char *name, uint64_t *out) {
    size_t length = strlen(name);
    uint64_t kib;
    if (strncmp(line, name, length) != 0)
        return;
    number(line + length + strspn(line + length, " "), 10, &kib);
    *out = kib * 1024;
}

static void parse_line(void *context, const char *line) {
    struct parser *parser = context;
    bool head = line[0] >= '0' && (line[0] <= '9' || (line[0] >= 'a' && line[0] <= 'f'));
    if ((head && parse_head(parser, line)) || !parser->pending)
        return;
    parse_field(line, "Rss:", &parser->map.rss_bytes);
    parse_field(line, "Private_Dirty:", &parser->map.dirty_bytes);
    parse_field(line, "Swap:", &parser->map.swap_bytes);
    /* MADV_DONTFORK and MADV_WIPEONFORK */
    if (strncmp(line, "VmFlags:", 8) == 0) {
        if (strstr(line, " dc") || strstr(line, " wf"))
            parser->map.access |= MEMPROF_MAP_UNSEEN;
        if (strstr(line, " mw"))
            parser->map.access |= MEMPROF_MAP_MAY_WRITE;
    }
}

/* Calls for each line of the file, without its newline. 0 or -errno. */
static int each_line(int fd, void (*take)(void *context, const char *line), void *context) {
    static char buffer[16384 + 1];
    size_t kept = 0;
    for (;;) {
        long n = mp_sys_read(fd, buffer + kept, sizeof buffer - 1 - kept);
        if (n <= 0)
            return (int)n;
        size_t end = kept + (size_t)n;
        buffer[end] = '\0';
        char *line = buffer, *newline;
        while ((newline = strchr(line, '\n')) != NULL) {
            *newline = '\0';
            if ((size_t)(newline - line) < LINE_MOST)
                take(context, line);
            line = newline + 1;
        }
        kept = end - (size_t)(line - buffer);
        if (kept >= sizeof buffer - 1)
            kept = 0; /* no line of the kernel's is as long: give it up */
        memmove(buffer, line, kept);
    }
}

long mp_maps_open(long pid, const char *file) {
    char path[64];
    struct mp_text text;
    mp_text_init(&text, path, sizeof path);
    if (pid)
        mp_text_add(&text, "/proc/%lu/%s", (uint64_t)pid, file);
    else
        mp_text_add(&text, "/proc/self/%s", file);
    return mp_sys_open(path, O_RDONLY, 0);
}

int mp_maps_each(long pid, mp_maps_visitor *visit, void *context) {
    static struct parser parser;
    memset(&parser, 0, sizeof parser);
    parser.visit = visit;
    parser.context = context;
    long fd = mp_maps_open(pid, "smaps");
    if (fd < 0)
        fd = mp_sys_open("/proc/self/maps", O_RDONLY, 0);
    if (fd < 0)
        return (int)fd;
    int error = each_line((int)fd, parse_line, &parser);
    mp_sys_close((int)fd);
    if (!error)
        finish(&parser);
    return error;
}

/* ---- by node ---- */

struct places {
    mp_placed_visitor *visit;
    void *context;
    char line[LINE_MOST]; /* the last one: its mapping ends where the next begins, or before */
};

/* "START POLICY ... N0=PAGES N1=PAGES ... kernelpagesize_kB=4", and words that do not matter. */
static void finish_places(struct places *places, uint64_t end) {
    struct mp_placed placed = {.end = end, .preferred = MP_NO_NODE};
    static const char prefer[] = "prefer:", size[] = "kernelpagesize_kB=";
    const char *at = number(places->line, 16, &placed.start), *word;
    uint64_t value, pages, kib = 4;
    if (at == places->line)
        return;
    at += strspn(at, " ");
    if (strncmp(at, prefer, sizeof prefer - 1) == 0) {
        number(at + sizeof prefer - 1, 10, &value);
        placed.preferred = (uint32_t)value;
    }
    for (word = at; (word = strchr(word, ' ')) != NULL; word++) {
        if (strncmp(word + 1, size, sizeof size - 1) == 0)
            number(word + sizeof size, 10, &kib);
    }
    for (word = at; (word = strchr(word, ' ')) != NULL; word++) {
        if (word[1] != 'N')
            continue;
        const char *equals = number(word + 2, 10, &value);
        if (equals == word + 2 || *equals != '=')
            continue;
        number(equals + 1, 10, &pages);
        placed.node = (uint32_t)value;
        placed.bytes = pages * kib * 1024;
        places->visit(&placed, places->context);
    }
}

static void take_places(void *context, const char *line) {
    struct places *places = context;
    uint64_t start;
    if (number(line, 16, &start) == line)
        return;
    finish_places(places, start);
    strcpy(places->line, line);
}

int mp_maps_each_placed(mp_placed_visitor *visit, void *context) {
    static struct places places;
    places = (struct places){.visit = visit, .context = context};
    long fd = mp_sys_open("/proc/self/numa_maps", O_RDONLY, 0);
    if (fd < 0)
        return (int)fd;
    int error = each_line((int)fd, take_places, &places);
    mp_sys_close((int)fd);
    if (!error)
        finish_places(&places, UINT64_MAX);
    return error;
}

uint64_t mp_maps_resident(long pid) {
    char line[128];
    uint64_t size, pages = 0;
    long fd = mp_maps_open(pid, "statm");
    if (fd < 0)
        return 0;
    long n = mp_sys_read((int)fd, line, sizeof line - 1);
    mp_sys_close((int)fd);
    if (n <= 0)
        return 0;
    line[n] = '\0';
    const char *at = number(line, 10, &size);
    if (*at == ' ')
        number(at + 1, 10, &pages);
    return pages * 4096;
}
