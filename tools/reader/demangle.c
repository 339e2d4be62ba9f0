#include "reader/demangle.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>

/* Longer ones stay as they are. */
#define MANGLED_MAX   8192
#define MANGLED_MAX_D 1024 /* its demangler offers no way to stop it */

struct target {
    char *out;
    size_t length, size;
    jmp_buf full;
};

/* The demanglers hold nothing but their stack while they call this, so it may leave them. */
static void add(const char *piece, size_t length, void *context) {
    struct target *target = context;
    if (length >= target->size - target->length)
        longjmp(target->full, 1);
    memcpy(target->out + target->length, piece, length);
    target->length += length;
    target->out[target->length] = '\0';
}

typedef int engine(const char *, int, demangle_callbackref, void *);

static bool run(engine *demangler, const char *name, char *out, size_t size) {
    struct target target = {.out = out, .size = size};
    out[0] = '\0';
    if (setjmp(target.full))
        return false;
    return demangler(name, DMGL_PARAMS | DMGL_ANSI, add, &target) != 0 && out[0] != '\0';
}

void demangle(const char *name, char *out, size_t size) {
    size_t length = strlen(name);
    if (length <= MANGLED_MAX && (strncmp(name, "_R", 2) == 0 || strncmp(name, "_ZN", 3) == 0) &&
        run(rust_demangle_callback, name, out, size))
        return;
    if (length <= MANGLED_MAX && strncmp(name, "_Z", 2) == 0 &&
        run(cplus_demangle_v3_callback, name, out, size))
        return;
    if (length <= MANGLED_MAX_D && strncmp(name, "_D", 2) == 0) {
        char *made = dlang_demangle(name, DMGL_PARAMS | DMGL_ANSI);
        if (made) {
            snprintf(out, size, "%s", made);
            free(made);
            return;
        }
    }
    snprintf(out, size, "%s", name);
}
