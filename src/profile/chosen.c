#include "profile/chosen.h"

#include <string.h>

#include "platform/options.h"
#include "platform/sys.h"

/* The set behind '['; *end: behind its ']'. NULL: it has no end, and '[' is a character like
 * others.
 */
static bool in_set(const char *at, char c, const char **end) {
    bool inverted = *at == '!' || *at == '^', found = false;
    at += inverted;
    for (bool first = true; *at && (*at != ']' || first); first = false) {
        char low = *at++, high = low;
        if (*at == '-' && at[1] && at[1] != ']') {
            high = at[1];
            at += 2;
        }
        found |= c >= low && c <= high;
    }
    *end = *at ? at + 1 : NULL;
    return found != inverted;
}

/* One character against one of the pattern; *next: the pattern behind it. */
static bool matches_one(const char *pattern, char c, const char **next) {
    const char *end;
    *next = pattern + 1;
    if (*pattern == '?')
        return true;
    if (*pattern == '[') {
        bool in = in_set(pattern + 1, c, &end);
        if (end) {
            *next = end;
            return in;
        }
    }
    if (*pattern == '\\' && pattern[1]) {
        *next = pattern + 2;
        return pattern[1] == c;
    }
    return *pattern == c;
}

/* Comes back to the last * only: what was before it has matched as early as it can. */
bool mp_chosen_matches(const char *pattern, const char *name) {
    const char *star = NULL, *from = NULL, *next;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            from = name;
        } else if (*pattern && matches_one(pattern, *name, &next)) {
            pattern = next;
            name++;
        } else if (star) {
            pattern = star;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

/* Of the last children= that says off, which is the one that counts. In its place: the environment
 * of what is started is a copy of ours, and allocating another could do harm here. */
static void tell_children(char *text) {
    static const char key[] = "children=";
    for (char *at = text; (at = strchr(at, 'c')) != NULL; at++) {
        char *value = at + sizeof key - 1;
        if (strncmp(at, key, sizeof key - 1) != 0)
            continue;
        value += *value == '\'' || *value == '"';
        if (strncmp(value, "off", 3) == 0)
            memcpy(value, "out", 3);
    }
}

static bool has_name(const char *pattern) {
    char path[4096];
    long length = mp_sys_readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return true; /* nobody knows */
    path[length] = '\0';
    const char *slash = strrchr(path, '/');
    return mp_chosen_matches(pattern, slash ? slash + 1 : path);
}

bool mp_chosen(char *text) {
    bool chosen = mp_options.children != MP_CHILDREN_OUT &&
                  (strcmp(mp_options.only, "*") == 0 || has_name(mp_options.only));
    /* What is not chosen by its name, a shell perhaps, may start what is. */
    if (chosen && mp_options.children == MP_CHILDREN_OFF && text)
        tell_children(text);
    return chosen;
}
