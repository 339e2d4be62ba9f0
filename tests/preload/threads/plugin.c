/*
 * A library that programs open at run time. It uses the heap in its constructor and destructor, and
 * blocks cross between it and the program in both directions: a block belongs to the process and
 * not to whoever asked for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void plugin_free(void *block);
EXPORT void *plugin_malloc(size_t size);
EXPORT void *plugin_realloc(void *block, size_t size);
EXPORT char *plugin_copy(const char *text);
EXPORT char *plugin_line(void);
EXPORT int plugin_constructed(void);

static char *made_early;
static void *volatile pieces[200];

__attribute__((constructor)) static void begin(void) {
    made_early = strdup("made in a constructor");
    for (int i = 0; i < 200; i++)
        pieces[i] = malloc((size_t)(i * i) + 1);
}

__attribute__((destructor)) static void end(void) {
    for (int i = 0; i < 200; i++)
        free(pieces[i]);
    free(made_early);
    free(malloc(100000));
}

void plugin_free(void *block) {
    free(block);
}

void *plugin_malloc(size_t size) {
    return malloc(size);
}

void *plugin_realloc(void *block, size_t size) {
    return realloc(block, size);
}

/* Here the C library itself allocates what the caller frees. */
char *plugin_copy(const char *text) {
    return strdup(text);
}

char *plugin_line(void) {
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/self/stat", "r");
    if (file == NULL || getline(&line, &room, file) <= 0)
        line = NULL;
    if (file != NULL)
        fclose(file);
    return line;
}

int plugin_constructed(void) {
    return made_early != NULL && strcmp(made_early, "made in a constructor") == 0;
}
