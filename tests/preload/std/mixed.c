/*
 * Everything at once, against a model: random calls over all functions and kinds, each live block
 * stamped and held against its stamp when it is resized or freed. Single-threaded; the same in
 * several threads that free each other's blocks is apart, in ../threads.
 */
#include "common.h"

enum { SLOTS = 3000 };

struct slot {
    unsigned char *block;
    size_t size;
    uint64_t tag;
};

static struct slot slots[SLOTS];
static uint64_t state;
static size_t live;

/* Small ones mostly, as in programs; a long tail of large ones; bounded in sum. */
static size_t any_size(void) {
    uint64_t r = t_random(&state);
    int bits = (int)(r % 100);
    if (bits < 60)
        return r >> 8 & 0xff;
    if (bits < 85)
        return r >> 8 & 0xfff;
    if (bits < 96)
        return r >> 8 & 0xffff;
    if (bits < 99 || live > 256 * MIB)
        return r >> 8 & 0x7ffff;
    return r >> 8 & 0x3ffffff;
}

/* Above a MiB the middle is left alone: its pages would cost more than they show. */
static void stamp(struct slot *slot) {
    if (slot->size <= MIB) {
        t_stamp(slot->block, slot->size, slot->tag);
        return;
    }
    t_stamp(slot->block, 4096, slot->tag);
    t_stamp(slot->block + slot->size - 4096, 4096, slot->tag ^ 1);
}

static bool intact(const struct slot *slot, size_t size) {
    if (slot->size <= MIB)
        return t_stamp_check(slot->block, size, slot->tag) == size;
    size_t head = size < 4096 ? size : 4096;
    if (t_stamp_check(slot->block, head, slot->tag) != head)
        return false;
    return size < slot->size ||
           t_stamp_check(slot->block + slot->size - 4096, 4096, slot->tag ^ 1) == 4096;
}

static void allocate(struct slot *slot, uint64_t tag) {
    size_t size = any_size(), alignment = (size_t)1 << (t_random(&state) % 15);
    void *block = NULL;
    bool zero = false;
    switch (t_random(&state) % 8) {
    case 0:
        block = calloc(1, size);
        zero = true;
        break;
    case 1:
        block = calloc(size / 8 + 1, 8);
        zero = true;
        break;
    case 2:
        block = aligned_alloc(alignment, size);
        NEED((uintptr_t)block % alignment == 0, "%p is not aligned to %zu", block, alignment);
        break;
    case 3:
        NEED(posix_memalign(&block, alignment < 8 ? 8 : alignment, size) == 0, "posix_memalign");
        break;
    case 4:
        block = realloc(NULL, size);
        break;
    default:
        block = malloc(size);
    }
    NEED(block != NULL, "no block of %zu bytes", size);
    NEED((uintptr_t)block % 16 == 0, "%p is not aligned", block);
    if (zero)
        NEED(t_first_other(block, size < MIB ? size : MIB, 0) >= (size < MIB ? size : MIB),
             "calloc of %zu bytes is not zero", size);
    slot->block = (unsigned char *)block;
    slot->size = size;
    slot->tag = tag;
    live += size;
    stamp(slot);
}

static void release(struct slot *slot) {
    NEED(intact(slot, slot->size), "a block of %zu bytes at %p changed", slot->size,
         (void *)slot->block);
    free(slot->block);
    live -= slot->size;
    slot->block = NULL;
}

static void resize(struct slot *slot, uint64_t tag) {
    size_t size = any_size() + 1, least = size < slot->size ? size : slot->size;
    unsigned char *moved = (unsigned char *)realloc(slot->block, size);
    NEED(moved != NULL, "realloc from %zu to %zu is NULL", slot->size, size);
    slot->block = moved;
    NEED(intact(slot, least), "realloc from %zu to %zu changed the contents", slot->size, size);
    live += size - slot->size;
    slot->size = size;
    slot->tag = tag;
    stamp(slot);
}

static void random_calls(void) {
    uint64_t calls = t_full ? 2000000 : 400000;
    for (uint64_t call = 0; call < calls && !t_case_failed; call++) {
        struct slot *slot = &slots[t_random(&state) % SLOTS];
        uint64_t what = t_random(&state) % 4;
        if (!slot->block)
            allocate(slot, call);
        else if (what == 0)
            resize(slot, call);
        else
            release(slot);
        /* Now and then all at once, as programs do at the end of a phase. */
        if (call % 100000 == 99999)
            for (size_t i = 0; i < SLOTS; i++)
                if (slots[i].block && i % 4)
                    release(&slots[i]);
    }
    for (size_t i = 0; i < SLOTS && !t_case_failed; i++)
        if (slots[i].block)
            release(&slots[i]);
}

int main(void) {
    t_init();
    const char *seed = getenv("MEMPROF_TEST_SEED");
    state = seed ? strtoull(seed, NULL, 0) : 20240229;
    RUN("random calls keep every block's contents", random_calls);
    return t_done();
}
