#include "control/path.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "heap/arena.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "profile/about.h"
#include "record/modules.h"

#define PATH_MOST 4096u

static const char *directory = ""; /* where relative paths begin; "" or ends in / */

void mp_path_start(void) {
    char cwd[PATH_MOST];
    long n = mp_sys_getcwd(cwd, sizeof cwd - 1);
    if (n <= 1 || cwd[0] != '/')
        return;
    if (cwd[n - 2] != '/')
        strcpy(cwd + n - 1, "/");
    directory = mp_meta_copy(cwd);
}

const char *mp_path_absolute(const char *path) {
    char whole[2 * PATH_MOST];
    struct mp_text text;
    if (!*path || *path == '/')
        return path;
    mp_text_init(&text, whole, sizeof whole);
    mp_text_add(&text, "%s%s", directory, path);
    return mp_meta_copy(whole);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int mp_path_fill(const char *pattern, uint32_t count, char *path, size_t size) {
    struct mp_text text;
    uint64_t pid = (uint64_t)mp_sys_getpid();
    bool named = pid == (uint64_t)mp_about_first_pid();
    char host[256];
    mp_text_init(&text, path, size);
    if (*pattern != '/')
        mp_text_add(&text, "%s", directory);
    for (const char *at = pattern; *at; at++) {
        if (*at != '%' || !at[1]) {
            mp_text_add(&text, "%c", *at);
            continue;
        }
        switch (*++at) {
        case 'p':
            mp_text_add(&text, "%lu", pid);
            named = true;
            break;
        case 'n':
            mp_text_add(&text, "%u", count);
            break;
        case 't':
            mp_text_add(&text, "%lu", mp_sys_real_ns() / 1000000000);
            break;
        case 'e':
            mp_text_add(&text, "%s", base_name(mp_modules_program()));
            break;
        case 'h':
            mp_about_host(host, sizeof host);
            mp_text_add(&text, "%s", host);
            break;
        case '%':
            mp_text_add(&text, "%%");
            break;
        default: /* not ours: as it stands */
            mp_text_add(&text, "%%%c", *at);
        }
    }
    if (!named)
        mp_text_add(&text, ".%lu", pid);
    return text.room > 1 ? 0 : -ENAMETOOLONG;
}
