/*
 * mlockall() and the heap. Locked memory counts address space, not what is touched: a reserve that
 * costs nothing elsewhere is charged against RLIMIT_MEMLOCK, and with the capability to lock
 * without a limit it is filled with pages. The script runs this with and without the library and
 * compares the figures.
 *
 *     mlock current|future|both before|after MIB
 *
 * "after": MIB are allocated before mlockall, else afterwards. The last line of the output is
 *     mlockall=ok|ERRNO lck=KIB rss=KIB got=KIB
 * where `got` is what could be allocated after a successful mlockall.
 */
#include "../threads/probe.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

static struct probe_block *list;

/* A kB line of /proc/self/status. */
static size_t status_kib(const char *key) {
    static char text[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *line = strstr(text, key);
    return line == NULL ? 0 : strtoul(line + strlen(key), NULL, 10);
}

/* Sizes that suit a limit of a few MiB: mostly small, at most 256 KiB. */
static size_t next_size(uint64_t *state) {
    switch (probe_random(state) % 16) {
    case 0:
        return probe_between(state, 64 * PROBE_KIB, 256 * PROBE_KIB);
    case 1:
    case 2:
        return probe_kind_size(PROBE_MEDIUM, state);
    default:
        return probe_kind_size(PROBE_SMALL, state);
    }
}

/* Allocates up to `most` bytes; fewer only when malloc gave NULL, which must set ENOMEM, again and
 * again: a large block may find no room between others, and that is no measure of what there is. */
static size_t fill(size_t most, uint64_t state) {
    size_t bytes = 0;
    int refused = 0;
    while (bytes < most) {
        errno = 0;
        struct probe_block *block = probe_block_new(next_size(&state));
        if (block == NULL) {
            probe_check(errno == ENOMEM, "malloc gave NULL with errno %d under mlockall", errno);
            if (++refused == 16)
                break;
            continue;
        }
        block->next = list;
        list = block;
        bytes += block->size;
    }
    return bytes;
}

static void drop(void) {
    for (struct probe_block *b = list, *next; b != NULL; b = next) {
        next = b->next;
        probe_block_free(b);
    }
    list = NULL;
}

int main(int argc, char **argv) {
    probe_begin(60);
    if (argc < 4)
        probe_fail("usage: mlock current|future|both before|after MIB");
    int flags = strcmp(argv[1], "current") == 0  ? MCL_CURRENT
                : strcmp(argv[1], "future") == 0 ? MCL_FUTURE
                                                 : MCL_CURRENT | MCL_FUTURE;
    bool after = strcmp(argv[2], "after") == 0;
    size_t most = strtoul(argv[3], NULL, 10) * PROBE_MIB;

    size_t start = probe_rss();
    size_t got = after ? fill(most, 1) : 0;
    errno = 0;
    int result = mlockall(flags);
    int error = errno;
    if (!after)
        got = fill(most, 1);
    size_t locked = status_kib("VmLck:"), rss = probe_rss();

    /*
     * What was freed can be had again, nothing is lost. The first filling under the lock is the
     * measure: what was allocated before it may not fit under the limit any more.
     */
    probe_check(got >= most || (result == 0 && (flags & MCL_FUTURE) != 0 && !after),
                "malloc gave NULL although nothing limits it");
    drop();
    size_t first = fill(most, 1);
    drop();
    for (int round = 0; round < 4; round++) {
        size_t again = fill(most, 1);
        probe_check(again >= first / 10 * 9, "%zu KiB after freeing, %zu KiB at first",
                    again / PROBE_KIB, first / PROBE_KIB);
        drop();
    }
    /* With something in every page, giving back must not lose it; the gaps serve others. */
    uint64_t state = 9;
    fill(got / 2, 5);
    for (int i = 0; i < 200; i++) {
        free(malloc(next_size(&state)));
        void *p = realloc(malloc(100), 5000);
        free(p);
    }
    drop();

    /* Locked pages go back as well: they are what such a program has least of. */
    if (got >= 256 * PROBE_MIB && probe_preloaded()) {
        size_t now = probe_rss();
        for (int waited = 0; waited < 30 && now > start + got / 10; waited++) {
            probe_sleep_ms(100);
            now = probe_rss();
        }
        probe_check(now <= start + got / 10, "%zu KiB of %zu KiB stay resident after all was freed",
                    (now - start) / PROBE_KIB, got / PROBE_KIB);
    }
    munlockall();
    probe_exercise(4, "after munlockall");
    printf("mlockall=%s lck=%zu rss=%zu got=%zu\n", result == 0 ? "ok" : strerror(error), locked,
           rss / PROBE_KIB, got / PROBE_KIB);
    return 0;
}
