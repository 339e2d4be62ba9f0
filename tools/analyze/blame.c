#include "analyze/blame.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

void frame_list_add(struct frame_list *list, const struct frame *frame) {
    list->at = tool_grow(list->at, list->count, &list->capacity, sizeof *list->at);
    list->at[list->count++] = *frame;
}

void frame_list_free(struct frame_list *list) {
    free(list->at);
    *list = (struct frame_list){0};
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

/* `operator new`, what is right above it, and what C libraries and programs call their malloc. */
static bool is_allocator(const char *function) {
    static const char *const names[] = {
        "malloc",        "calloc",  "realloc", "reallocarray", "memalign",
        "aligned_alloc", "valloc",  "pvalloc", "xmalloc",      "xcalloc",
        "xrealloc",      "xstrdup", "xmemdup", "xstrndup",     "posix_memalign",
    };
    static const char *const prefixes[] = {
        "operator new",
        "std::__new_allocator<",
        "__gnu_cxx::new_allocator<",
        "std::allocator<",
        "std::allocator_traits<",
        "g_malloc",
        "g_realloc",
        "g_strdup",
        "__rust_alloc",
        "__rust_realloc",
        "__rdl_alloc",
        "__rdl_realloc",
    };
    if (!function)
        return false;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (begins(function, prefixes[i]))
            return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(function, names[i]) == 0)
            return true;
    }
    return false;
}

/* Templates of a standard library, which end up in the program's own code. Their names may begin
 * with the type they return. */
static bool is_template(const char *function) {
    static const char *const spaces[] = {
        "std::",   "__gnu_cxx::", "alloc::",     "core::",       "<alloc::",
        "<core::", "<std::",      "hashbrown::", "<hashbrown::",
    };
    if (!function)
        return false;
    size_t length = strcspn(function, "(");
    for (const char *at = function; at;) {
        for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
            if (begins(at, spaces[i]))
                return true;
        }
        /* The type that comes before the name has no parameters yet. */
        at = strchr(at, ' ');
        if (at && (size_t)(++at - function) >= length)
            at = NULL;
        if (at && memchr(function, '<', (size_t)(at - function)))
            at = NULL;
    }
    return false;
}

static bool is_own(const struct frame *frame) {
    return !(frame->module && frame->module->runtime) && !is_allocator(frame->function) &&
           !is_template(frame->function) && !(frame->file && strstr(frame->file, "/include/c++/"));
}

size_t blame_find(const struct frame_list *list) {
    size_t first, end;
    blame_trim(list, &first, &end);
    for (size_t i = first; i < end; i++) {
        if (list->at[i].module && is_own(&list->at[i]))
            return i;
    }
    return first;
}

static bool is_start(const struct frame *frame) {
    if (frame->module && frame->module->runtime)
        return true;
    return frame->function && strcmp(frame->function, "_start") == 0;
}

void blame_trim(const struct frame_list *list, size_t *first, size_t *end) {
    *first = 0;
    *end = list->count;
    while (*first + 1 < *end && is_allocator(list->at[*first].function))
        ++*first;
    /* A stack that is the libraries' alone is shown as it is. */
    size_t last = *end;
    while (last > *first && is_start(&list->at[last - 1]))
        last--;
    if (last > *first)
        *end = last;
}
