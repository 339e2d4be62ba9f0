/* Blocks from sites of known size and number, for holding one profiler's shares against another's.
 * Each site is a function of its own that holds some of what it allocates; between, blocks come and
 * go. The program ends with a dump by whichever profiler it runs under: by `memprof_dump`, or by
 * `mallctl("prof.dump")`, into FILE. It prints one line per site: NAME OBJECTS BYTES, of what is
 * live.
 *
 *     sites FILE */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int memprof_dump(const char *path) __attribute__((weak));
extern int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length)
    __attribute__((weak));

/* Keeps the call a call, and its place in the stack its own. */
#define SITE __attribute__((noinline, noclone))

static void *last; /* all held blocks, as a list through their first words */
static uint64_t state = 1;

static size_t jitter(size_t most) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % most;
}

static void hold(void *block, size_t size) {
    if (!block)
        abort();
    memset(block, 1, size < 64 ? size : 64);
    *(void **)block = last;
    last = block;
}

/* name, size = smallest + step * (0 .. steps - 1), objects held in a round. All are sizes that both
 * allocators have: one counts what was asked for, the other what it rounded that up to. */
#define SITES(X)                                                                                   \
    X(site_tiny, 16, 0, 1, 9000)                                                                   \
    X(site_nodes, 48, 0, 1, 6000)                                                                  \
    X(site_strings, 32, 16, 7, 4000)                                                               \
    X(site_records, 320, 0, 1, 1500)                                                               \
    X(site_buffers, 1024, 1024, 2, 400)                                                            \
    X(site_pages, 4096, 0, 1, 120)                                                                 \
    X(site_blobs, 20480, 4096, 3, 30)                                                              \
    X(site_images, 262144, 0, 1, 2)

enum { ROUNDS = 40 };

#define DEFINE(name, smallest, step, steps, count)                                                 \
    static size_t name##_bytes;                                                                    \
    SITE void name(void);                                                                          \
    SITE void name(void) {                                                                         \
        for (int i = 0; i < (count); i++) {                                                        \
            size_t bytes = (smallest) + (step)*jitter(steps);                                      \
            hold(malloc(bytes), bytes);                                                            \
            name##_bytes += bytes;                                                                 \
        }                                                                                          \
    }
SITES(DEFINE)

SITE void come_and_go(void);
SITE void come_and_go(void) {
    for (int i = 0; i < 20000; i++) {
        char *block = malloc(16 + jitter(2000));
        block[0] = 1;
        free(block);
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return fprintf(stderr, "usage: sites FILE\n"), 2;
    for (int round = 0; round < ROUNDS; round++) {
#define CALL(name, smallest, step, steps, count) name();
        SITES(CALL)
        come_and_go();
    }
    const char *path = argv[1];
    int failed = 1;
    if (memprof_dump)
        failed = memprof_dump(path);
    else if (mallctl)
        failed = mallctl("prof.dump", NULL, NULL, &path, sizeof path);
    if (failed)
        return fprintf(stderr, "sites: no dump was written\n"), 1;
#define PRINT(name, smallest, step, steps, count)                                                  \
    printf("%s %d %zu\n", #name, (count)*ROUNDS, name##_bytes);
    SITES(PRINT)
    return 0;
}
