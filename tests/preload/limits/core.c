/*
 * Ends with a core dump, or waits to be dumped by a debugger, with known figures of memory in use
 * and memory freed. The dump must hold what the program used and not the heap's reserve: neither
 * on the disk nor as the length of a sparse file, which other tools copy whole.
 *
 *     core abort|wait MIB
 *
 * MIB are allocated and half is freed again. One block holds the text that the script looks for.
 */
#include "../threads/probe.h"

#include <pthread.h>

static void *fill_and_wait(void *argument) {
    size_t bytes = *(size_t *)argument;
    struct probe_block *list = NULL, *freed = NULL;
    uint64_t state = 1;
    for (size_t at = 0, i = 0; at < bytes; i++) {
        enum probe_kind kind = (enum probe_kind)(i % 64 == 0 ? PROBE_LARGE : i % 2);
        struct probe_block *block = probe_block_new(probe_kind_size(kind, &state));
        probe_check(block != NULL, "malloc");
        struct probe_block **to = i % 4 < 2 ? &list : &freed;
        block->next = *to;
        *to = block;
        at += block->size;
    }
    while (freed != NULL) {
        struct probe_block *next = freed->next;
        probe_block_free(freed);
        freed = next;
    }
    return list;
}

int main(int argc, char **argv) {
    probe_begin(60);
    if (argc < 3)
        probe_fail("usage: core abort|wait MIB");
    size_t bytes = strtoul(argv[2], NULL, 10) * PROBE_MIB / 2;
    char *text = malloc(100);
    /* In two parts, so that only the heap has the whole: not the program's constants. */
    snprintf(text, 100, "%s-%s", "a block of the heap", "is in this dump");

    pthread_t thread;
    probe_check(pthread_create(&thread, NULL, fill_and_wait, &bytes) == 0, "pthread_create");
    fill_and_wait(&bytes);
    pthread_join(thread, NULL);
    if (strcmp(argv[1], "abort") == 0)
        abort();
    printf("%d\n", getpid());
    fflush(stdout);
    pause();
    return 0;
}
