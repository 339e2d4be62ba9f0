/*
 * Uses up vm.max_map_count, then asks the heap for memory and gives some back. Every mmap, and
 * every munmap or mprotect that would split a mapping, fails with ENOMEM then. Malloc may give
 * memory or NULL with ENOMEM, free must neither fail nor lose anything, and all must be well again
 * as soon as the mappings are gone.
 */
#include "../threads/probe.h"

#include <sys/mman.h>

enum { HELD = 48, EXTRA = 4096 };

static size_t max_maps(void) {
    char text[32] = "";
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        probe_skip("vm.max_map_count cannot be read");
    close(fd);
    return strtoul(text, NULL, 10);
}

static char *field;
static size_t field_bytes, page;
static void *extra[EXTRA];
static size_t extras;

/* Mappings that the kernel cannot merge, until it allows no more. */
static void use_up_maps(void) {
    size_t count = max_maps();
    if (count > 2000000)
        probe_skip("vm.max_map_count is %zu", count);
    field_bytes = (count + 16) * page;
    field = mmap(NULL, field_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    probe_check(field != MAP_FAILED, "the field cannot be mapped");
    size_t at = page;
    while (at < field_bytes && mprotect(field + at, page, PROT_READ) == 0)
        at += 2 * page;
    /* The last free places, one mapping at a time. */
    while (extras < EXTRA) {
        int protection = extras % 2 == 0 ? PROT_READ : PROT_NONE;
        void *map = mmap(NULL, page, protection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            break;
        extra[extras++] = map;
    }
    probe_check(extras < EXTRA, "the mappings do not run out");
}

static void give_maps_back(void) {
    probe_check(munmap(field, field_bytes) == 0, "the field cannot be unmapped");
    while (extras > 0)
        munmap(extra[--extras], page);
}

/* Up to 24 MiB of a kind; NULL is right here if errno says ENOMEM. */
static size_t ask_for(enum probe_kind kind, struct probe_block **list) {
    uint64_t state = 5;
    size_t bytes = 0;
    while (bytes < 24 * PROBE_MIB) {
        errno = 0;
        struct probe_block *block = probe_block_new(probe_kind_size(kind, &state));
        if (block == NULL) {
            probe_check(errno == ENOMEM, "malloc gave NULL with errno %d without maps", errno);
            break;
        }
        block->next = *list;
        *list = block;
        bytes += block->size;
    }
    return bytes;
}

static void drop(struct probe_block **list) {
    for (struct probe_block *b = *list, *next; b != NULL; b = next) {
        next = b->next;
        probe_block_free(b);
    }
    *list = NULL;
}

/* Growing may fail then, and must leave the block as it was; shrinking may do either as well. */
static struct probe_block *resize(struct probe_block *block, size_t size) {
    size_t kept = block->size < size ? block->size : size;
    uint64_t seed = probe_block_seed(block);
    size_t contents = kept - sizeof(*block);
    errno = 0;
    struct probe_block *moved = realloc(block, size);
    if (moved == NULL) {
        probe_check(errno == ENOMEM, "realloc gave NULL with errno %d without maps", errno);
        probe_block_verify(block);
        return block;
    }
    /* A prefix of the old contents ends in whole words, so it verifies as a shorter fill. */
    probe_check(probe_intact(moved->contents, contents & ~(size_t)7, seed),
                "realloc lost the contents without maps");
    moved->size = size;
    probe_fill(moved->contents, size - sizeof(*moved), probe_block_seed(moved));
    return moved;
}

int main(void) {
    probe_begin(100);
    page = (size_t)sysconf(_SC_PAGESIZE);
    size_t base = probe_rss();
    struct probe_block *held[PROBE_KINDS][HELD];
    uint64_t state = 1;
    for (int i = 0; i < HELD; i++)
        for (int kind = 0; kind < PROBE_KINDS; kind++) {
            held[kind][i] = probe_block_new(probe_kind_size((enum probe_kind)kind, &state));
            probe_check(held[kind][i] != NULL, "malloc before the maps run out");
        }
    size_t peak = probe_rss();

    use_up_maps();
    /* Blocks that lie in one mapping with their neighbours: giving back would split it. */
    for (int i = 0; i < HELD; i += 2)
        for (int kind = 0; kind < PROBE_KINDS; kind++) {
            probe_block_free(held[kind][i]);
            held[kind][i] = NULL;
        }
    for (int i = 1; i < HELD; i += 4)
        for (int kind = 0; kind < PROBE_KINDS; kind++) {
            held[kind][i] = resize(held[kind][i], held[kind][i]->size * 2);
            held[kind][i] = resize(held[kind][i], held[kind][i]->size / 3 + 16);
        }
    struct probe_block *lists[PROBE_KINDS] = {NULL};
    size_t got[PROBE_KINDS];
    for (int round = 0; round < 3; round++) {
        for (int kind = 0; kind < PROBE_KINDS; kind++)
            got[kind] = ask_for((enum probe_kind)kind, &lists[kind]);
        /* What was freed a moment ago lies in the heap: the small kinds need no new mapping. */
        probe_check(got[PROBE_SMALL] > 0, "not one small block without maps");
        for (int kind = 0; kind < PROBE_KINDS; kind++)
            drop(&lists[kind]);
    }
    printf("without maps: %zu KiB small, %zu medium, %zu large, %zu huge\n",
           got[PROBE_SMALL] / PROBE_KIB, got[PROBE_MEDIUM] / PROBE_KIB,
           got[PROBE_LARGE] / PROBE_KIB, got[PROBE_HUGE] / PROBE_KIB);

    give_maps_back();
    for (int kind = 0; kind < PROBE_KINDS; kind++) {
        size_t bytes = ask_for((enum probe_kind)kind, &lists[kind]);
        probe_check(bytes >= 24 * PROBE_MIB, "kind %d gets %zu KiB after the maps came back", kind,
                    bytes / PROBE_KIB);
    }
    for (int kind = 0; kind < PROBE_KINDS; kind++) {
        drop(&lists[kind]);
        for (int i = 0; i < HELD; i++)
            if (held[kind][i] != NULL)
                probe_block_free(held[kind][i]);
    }
    /*
     * The C library leaves a mapping alone for ever when munmap refuses; the library may not. The
     * page tables of the field are gone, so what is resident beyond the start is the heap's.
     */
    size_t rss = probe_rss();
    for (int waited = 0; probe_preloaded() && waited < 30 && rss > base + (peak - base) / 10;
         waited++) {
        probe_sleep_ms(100);
        rss = probe_rss();
    }
    if (probe_preloaded())
        probe_check(rss <= base + (peak - base) / 10, "%zu KiB of %zu KiB stay resident",
                    (rss - base) / PROBE_KIB, (peak - base) / PROBE_KIB);
    probe_exercise(3, "at the end");
    return 0;
}
