/*
 * Runs while vm.overcommit_memory is 2: every private writable mapping is charged when it is made,
 * touched or not. The charge must follow what the program holds, not what the heap reserves, and
 * what can never be backed is NULL with ENOMEM at once.
 *
 *     overcommit LIMIT-KIB
 *
 * LIMIT-KIB is the machine's CommitLimit. The program stays far below it on purpose: the machine
 * is shared.
 */
#include "../threads/probe.h"

#include <pthread.h>

enum { LIVE_MIB = 64, SPARE_MIB = 16 };

/* The sizes of all mappings whose flags say "ac": charged against the limit. */
static size_t charged_bytes(void) {
    static char text[1 << 20];
    size_t length = 0, total = 0, size = 0;
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    for (ssize_t n;
         length < sizeof(text) - 1 && (n = read(fd, text + length, sizeof(text) - 1 - length)) > 0;)
        length += (size_t)n;
    close(fd);
    text[length] = '\0';
    for (char *line = text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        if (strncmp(line, "Size:", 5) == 0)
            size = strtoul(line + 5, NULL, 10) * PROBE_KIB;
        else if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " ac") != NULL)
            total += size;
        line = end == NULL ? NULL : end + 1;
    }
    return total;
}

static void *thread_uses_heap(void *argument) {
    probe_exercise(1, "a thread under strict overcommit");
    return argument;
}

int main(int argc, char **argv) {
    probe_begin(30);
    if (argc < 2)
        probe_fail("usage: overcommit LIMIT-KIB");
    size_t limit = strtoul(argv[1], NULL, 10) * PROBE_KIB;
    struct probe_block *list = NULL;
    uint64_t state = 1;
    size_t before = charged_bytes();
    probe_check(before < SPARE_MIB * PROBE_MIB, "%zu MiB are charged at the start",
                before / PROBE_MIB);
    for (size_t at = 0, i = 0; at < LIVE_MIB * PROBE_MIB; i++) {
        struct probe_block *block =
            probe_block_new(probe_kind_size((enum probe_kind)(i % 64 == 0 ? 2 : i % 2), &state));
        probe_check(block != NULL, "malloc gave NULL far below the limit");
        block->next = list;
        list = block;
        at += block->size;
    }
    size_t charged = charged_bytes();
    probe_check(charged <= (LIVE_MIB + SPARE_MIB) * PROBE_MIB,
                "%zu MiB are charged for %d MiB in use", charged / PROBE_MIB, LIVE_MIB);

    errno = 0;
    probe_check(malloc(limit * 2) == NULL && errno == ENOMEM, "malloc of twice the limit");
    errno = 0;
    probe_check(calloc(limit / 1024, 2048) == NULL && errno == ENOMEM, "calloc of twice the limit");
    errno = 0;
    probe_check(realloc(list, limit * 2) == NULL && errno == ENOMEM, "realloc to twice the limit");
    probe_block_verify(list);

    pthread_t thread;
    probe_check(pthread_create(&thread, NULL, thread_uses_heap, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
    while (list != NULL) {
        struct probe_block *next = list->next;
        probe_block_free(list);
        list = next;
    }
    probe_exercise(2, "after freeing");
    printf("%zu MiB charged\n", charged / PROBE_MIB);
    return 0;
}
