#include "heap/sample.h"

#include <string.h>

#include "heap/arena.h"
#include "platform/lock.h"

#define BITMAP_WORDS (MP_SLICE_SIZE / 16 / 64) /* for the smallest blocks; others use a part */

struct bitmap {
    union {
        _Atomic(uint64_t) word[BITMAP_WORDS];
        uint32_t next_free;
    };
};

/* Bitmaps by number, from 1, in chunks: a page's entry has room for a number only. */
#define CHUNK_BITMAPS 128u
#define CHUNKS        4096u

static struct mp_lock free_lock = MP_LOCK_INIT(MP_RANK_SAMPLE);
static struct bitmap *chunks[CHUNKS];
static uint32_t bitmap_count, first_free;

static struct bitmap *bitmap_of(uint32_t number) {
    return &chunks[(number - 1) / CHUNK_BITMAPS][(number - 1) % CHUNK_BITMAPS];
}

static uint32_t new_bitmap(void) {
    mp_lock_take(&free_lock);
    uint32_t number = first_free;
    if (number) {
        first_free = bitmap_of(number)->next_free;
    } else {
        uint32_t chunk = bitmap_count / CHUNK_BITMAPS;
        if (chunk < CHUNKS && !chunks[chunk])
            chunks[chunk] = mp_meta_alloc(CHUNK_BITMAPS * sizeof(struct bitmap));
        if (chunk < CHUNKS && chunks[chunk])
            number = ++bitmap_count;
    }
    mp_lock_drop(&free_lock);
    if (number)
        memset(bitmap_of(number), 0, sizeof(struct bitmap));
    return number;
}

static _Atomic(uint64_t) *word_of(const struct mp_page *page, uint32_t index) {
    return &bitmap_of(page->samples)->word[index / 64];
}

static uint32_t index_of(const struct mp_page *page, const struct mp_block *block) {
    return (uint32_t)(((uintptr_t)block - page->start) / mp_classes[page->class].size);
}

bool mp_sample_mark(struct mp_page *page, const struct mp_block *block) {
    if (!page->samples) {
        page->samples = new_bitmap();
        if (!page->samples)
            return false;
        mp_page_set_owner(page, mp_page_owner(page) | MP_OWNER_SAMPLED);
    }
    uint32_t index = index_of(page, block);
    /* relaxed: the block reaches another thread by the program's own synchronisation */
    atomic_fetch_or_explicit(word_of(page, index), (uint64_t)1 << (index % 64),
                             memory_order_relaxed);
    return true;
}

bool mp_sample_take(struct mp_page *page, const struct mp_block *block) {
    if (!page->samples)
        return false;
    uint32_t index = index_of(page, block);
    uint64_t bit = (uint64_t)1 << (index % 64);
    if (!(atomic_load_explicit(word_of(page, index), memory_order_relaxed) & bit))
        return false;
    return atomic_fetch_and_explicit(word_of(page, index), ~bit, memory_order_relaxed) & bit;
}

void mp_sample_drop(struct mp_page *page) {
    if (!page->samples)
        return;
    uint32_t number = page->samples;
    page->samples = 0;
    mp_lock_take(&free_lock);
    bitmap_of(number)->next_free = first_free;
    first_free = number;
    mp_lock_drop(&free_lock);
}
