#include "control/headroom.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "platform/say.h"
#include "platform/sys.h"

/* What a copy may come to: its tables of pages, its buffers, and what the program writes to while
 * it lasts. */
#define LEAST ((uint64_t)16 << 20)

static bool read_file(const char *path, char *buffer, size_t size) {
    long fd = mp_sys_open(path, O_RDONLY, 0);
    long n = fd < 0 ? fd : mp_sys_read((int)fd, buffer, size - 1);
    if (fd >= 0)
        mp_sys_close((int)fd);
    buffer[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* False: no number is there, as with "max". */
static bool read_number(const char *group, const char *file, uint64_t *out) {
    static char path[1200], text[32];
    struct mp_text name;
    mp_text_init(&name, path, sizeof path);
    mp_text_add(&name, "%s/%s", group, file);
    if (!read_file(path, text, sizeof text) || text[0] < '0' || text[0] > '9')
        return false;
    *out = 0;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++)
        *out = *out * 10 + (uint64_t)(*at - '0');
    return true;
}

static bool has_room(const char *group, const char *limit_file, const char *used_file) {
    uint64_t limit, used;
    return !read_number(group, limit_file, &limit) || !read_number(group, used_file, &used) ||
           (used < limit && limit - used >= LEAST);
}

/* Every level up to the root may have a limit. */
static bool has_room_up(const char *root, const char *path, const char *limit_file,
                        const char *used_file) {
    static char group[1100];
    struct mp_text text;
    mp_text_init(&text, group, sizeof group);
    mp_text_add(&text, "%s%s", root, path);
    size_t least = strlen(root);
    for (;;) {
        if (!has_room(group, limit_file, used_file))
            return false;
        char *slash = strrchr(group + least, '/');
        if (!slash)
            return true;
        *slash = '\0';
    }
}

/* "0::/path" of version 2, "N:memory:/path" of version 1. */
bool mp_headroom_is_there(void) {
    static char groups[2048];
    if (!read_file("/proc/self/cgroup", groups, sizeof groups))
        return true;
    for (char *line = groups, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path || strlen(path) > 1000)
            continue;
        *path++ = '\0';
        if (names[1] == '\0' &&
            !has_room_up("/sys/fs/cgroup", path, "memory.max", "memory.current"))
            return false;
        if (strcmp(names + 1, "memory") == 0 &&
            !has_room_up("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes",
                         "memory.usage_in_bytes"))
            return false;
    }
    return true;
}
