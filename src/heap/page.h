/* The metadata of the address ranges: one 64-byte entry per 64 KiB slice, in an array apart from
 * the memory it describes, so that a program's overruns cannot reach it. The entry of a page's or
 * span's first slice describes the whole; the others point to it.
 *
 * Who may touch what:
 *
 *   SMALL            `remote` by anyone, atomically; `owner` read by anyone, written by the page's
 *                    owner; everything else by the page's owner alone, or by who visits its heap
 *                    (rescue.h). Ownership is the bit MP_OWNED of `remote`; heap/remote.h has the
 *                    protocol.
 *   MEDIUM, SAMPLES  under the lock of their shard (shared.h)
 *   FREE             under the lock of the pool
 *   LARGE            by whoever holds the block (its one pointer), until it is freed
 *   CONT             constant while its page or span lives
 *
 * A free block holds, in whatever list it stands:
 *
 *   +-------------+---------------------------+------
 *   | link        | key = own address + MP_KEY | stale
 *   +-------------+---------------------------+------
 *
 * The link says where in the page the next free block stands (16 bits in a small page, 32 in a
 * medium one); MP_END after the last. It cannot lead out of the page, whatever was written over it.
 * Only a free block has the key. malloc hands out no block without it and clears it; free takes no
 * block that has it. The census counts a block as free exactly when it has it (or a mark in its
 * place: rescue.h), so lists need not be walked and may be in any state. */
#ifndef MP_HEAP_PAGE_H
#define MP_HEAP_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/class.h"
#include "platform/arch.h"
#include "platform/sys.h"

enum mp_kind {
    MP_KIND_NONE, /* never used, or beyond the range */
    MP_KIND_FREE, /* the first or last slice of a free span */
    MP_KIND_SMALL,
    MP_KIND_MEDIUM,
    MP_KIND_SAMPLES, /* like MEDIUM, of a small class: every block is a sample */
    MP_KIND_LARGE,   /* a span that is one block */
    MP_KIND_CONT,    /* a further slice of a MEDIUM page or LARGE span */
};

/* mp_page.flags */
#define MP_PAGE_CURRENT 0x01 /* the page its owner allocates this class from */
#define MP_PAGE_QUEUED  0x02 /* in one of its owner's queues */
#define MP_PAGE_SPARSE  0x04 /* ... that of mostly empty pages */
#define MP_PAGE_LISTED  0x08 /* in the pool's list of ownerless pages; set under the pool's lock */
#define MP_PAGE_HOMING  0x20 /* on its way to the heap it was last owned by: see home.h */
#define MP_PAGE_LOST    0x40 /* its owner was lost in a fork: see pages.h */
#define MP_PAGE_EMPTIED 0x10 /* current, and its memory was given back: see rescue.h */
#define MP_SPAN_GONE    0x80 /* FREE: not mapped */
#define MP_SPAN_DIRTY   0x10 /* FREE: its memory may be resident and holds old bytes */
#define MP_SPAN_ZERO    0x20 /* MEDIUM, LARGE: memory came from the system untouched */

/* mp_page.owner: the owning thread's pointer plus one, to be compared with the freeing thread's
 * plus one if its pointer starts a block, and plus nothing if not. With check=full, two more, so
 * that it equals neither and every free in the page takes the slow path, which looks at everything.
 */
#define MP_OWNER_THREAD  ((uintptr_t)1)
#define MP_OWNER_CHECKED ((uintptr_t)2)

/* mp_page.remote: list head in the middle, its length in the top 16 bits, this bit at the bottom.
 */
#define MP_OWNED ((uintptr_t)1)

struct mp_block {
    union {
        uint16_t link;
        uint32_t link_medium;
    };
    uint32_t unused;
    uintptr_t key;
};

struct mp_page {
    _Atomic(uintptr_t) owner; /* SMALL: see MP_OWNER_THREAD; 0 without one, and for others */
    uintptr_t start;          /* address of the first slice */
    union {
        uint64_t inverse;  /* SMALL: of the block size, see class.h */
        uint64_t bytes;    /* LARGE: usable size */
        void *beside;      /* SAMPLES: what is kept of its blocks, or NULL: see beside.h */
        uint64_t freed_ms; /* FREE and dirty: since when */
    };
    union {
        struct mp_block *local_free; /* what the owner frees, and allocates; ends in mp_page_end */
        struct {
            uint32_t older, newer; /* FREE and dirty: neighbours by age, page numbers */
        };
    };
    union {
        uint32_t until;  /* SMALL, MEDIUM: frees by the owner until something is to be done */
        uint32_t slices; /* FREE, LARGE: length of the span */
    };
    uint16_t held;            /* used blocks beyond `until`: used = until + held */
    _Atomic(uint16_t) carved; /* blocks that have ever been made in this page */
    union {
        _Atomic(uintptr_t)
            remote; /* SMALL, MEDIUM: blocks freed by others, and whether it is owned */
        uint64_t sampled_blocks; /* MEDIUM: bit i: block i is a sample */
        struct {
            uint32_t head;       /* CONT, last slice of FREE: page number of the first slice */
            uint32_t last_pages; /* FREE: OS pages of the LARGE block that began here, or 0 */
        };
    };
    uint32_t next, prev; /* in a queue or list, page numbers; 0 ends. EMPTIED: what is left */
    union {
        uint32_t sampled; /* LARGE: is it one? */
        uint32_t heap;    /* SMALL: number of its owner's, or last owner's */
    };
    _Atomic(uint8_t) kind;
    uint8_t class;
    _Atomic(uint8_t) flags; /* see mp_page_set_flag */
    uint8_t node;           /* the pool it belongs to */
};

_Static_assert(sizeof(struct mp_page) == MP_CACHE_LINE, "one entry, one cache line");

/* Odd, so that it is no block; a program's own pointer would have to point exactly this far beyond
 * the block it is stored in. An immediate rather than a secret: one instruction instead of three.
 */
#define MP_KEY ((uintptr_t)0x5a3c96e1)
#define MP_END 1u
/* malloc looks for a key behind the end as well before it knows it for the end, i.e. into the first
 * block; where that may be protected, this is the end instead, in bytes that are no block's. */
#define MP_END_APART (MP_SLICE_SIZE - 31)

MP_INLINE uintptr_t mp_block_key(const void *block) {
    return (uintptr_t)block + MP_KEY;
}

/* Also of a list's end, which is no block and not aligned: what it reads then is bytes of the
 * page's first block, which another thread may be freeing. They are not the end's key, whatever
 * they are: a key's upper bytes are those of its own address, and these are a key's, or the
 * program's, shifted. */
typedef uintptr_t mp_unaligned_word __attribute__((aligned(1)));

MP_RACY_INLINE bool mp_block_is_free(const struct mp_block *block) {
    return *(const mp_unaligned_word *)((uintptr_t)block + 8) == mp_block_key(block);
}

/* A block that stands for a sample elsewhere (shared.h) is used, but not by the program: to a
 * census it is free, to its page it is not. */
MP_INLINE bool mp_block_is_twin(const struct mp_block *block) {
    return block->key == mp_block_key(block) + 2;
}

MP_INLINE void mp_block_make_twin(struct mp_block *block) {
    block->key = mp_block_key(block) + 2;
}

/* The program holds it, and may have taken away the right to read it: nobody has freed it then. A
 * system call where that may be. */
MP_INLINE bool mp_block_is_protected(const struct mp_block *block, uint32_t size) {
    return size >= MP_PROTECTED_MIN && (uintptr_t)block % MP_PROTECTED_MIN == 0 &&
           !mp_sys_can_read(block);
}

/* What the key of a free block is while malloc is to leave it alone for a moment: see rescue.h. */
MP_INLINE uintptr_t mp_block_mark(const void *block) {
    return mp_block_key(block) + 4;
}

MP_INLINE bool mp_block_is_marked(const struct mp_block *block) {
    return block->key == mp_block_mark(block);
}

MP_INLINE uintptr_t mp_page_owner(const struct mp_page *page) {
    return atomic_load_explicit(&page->owner, memory_order_relaxed);
}

/* The same as an operand of the one compare in free: the compilers do not fold an atomic load into
 * it. A word is read at once either way. */
MP_INLINE uintptr_t mp_page_owner_hot(const struct mp_page *page) {
#ifdef MP_TSAN
    return mp_page_owner(page);
#else
    return *(const uintptr_t *)(const void *)&page->owner;
#endif
}

MP_INLINE void mp_page_set_owner(struct mp_page *page, uintptr_t owner) {
    atomic_store_explicit(&page->owner, owner, memory_order_relaxed);
}

MP_INLINE enum mp_kind mp_page_kind(const struct mp_page *page) {
    return (enum mp_kind)atomic_load_explicit(&page->kind, memory_order_relaxed);
}

/* Release: whoever sees the kind sees the fields that it stands for. */
MP_INLINE void mp_page_set_kind(struct mp_page *page, enum mp_kind kind) {
    atomic_store_explicit(&page->kind, (uint8_t)kind, memory_order_release);
}

/* The owner has put one more block into local_free; true: it is time to look at the page. Release:
 * who sees the count sees the list (is_all_back in rescue.c), which x86-64 gives for a plain
 * store.
 */
MP_INLINE bool mp_page_count_free(struct mp_page *page) {
#if defined(__x86_64__) && !defined(MP_TSAN)
    atomic_signal_fence(memory_order_release);
    return --page->until == 0;
#else
    uint32_t until = page->until - 1;
    __atomic_store_n(&page->until, until, __ATOMIC_RELEASE);
    return until == 0;
#endif
}

/* How many blocks it has when all are made. */
MP_INLINE uint32_t mp_page_blocks(const struct mp_page *page) {
    return mp_classes[page->class].blocks;
}

/* Blocks used, i.e. handed to the program, or freed by others and not yet collected. Not of a
 * current page, of which only the free ones are known. */
MP_INLINE uint32_t mp_page_used(const struct mp_page *page) {
    return page->until + page->held;
}

/* Flags are written by the page's owner or a visitor, MP_PAGE_LISTED under the pool's lock; never
 * by two at once, since a new owner looks for LISTED first and takes the lock when it is there. So
 * no locked RMW. Setting and clearing are releases and testing an acquire: who sees EMPTIED reads
 * what is left, which was written before; who sees LISTED or LOST gone goes on to write what was
 * read or written before it went. */
MP_INLINE uint8_t mp_page_flags(const struct mp_page *page) {
    return atomic_load_explicit(&page->flags, memory_order_acquire);
}

MP_INLINE void mp_page_set_flag(struct mp_page *page, uint8_t flag) {
    atomic_store_explicit(&page->flags, mp_page_flags(page) | flag, memory_order_release);
}

MP_INLINE void mp_page_clear_flag(struct mp_page *page, uint8_t flag) {
    atomic_store_explicit(&page->flags, mp_page_flags(page) & (uint8_t)~flag, memory_order_release);
}

MP_INLINE bool mp_page_is_current(const struct mp_page *page) {
    return mp_page_flags(page) & MP_PAGE_CURRENT;
}

MP_INLINE bool mp_page_is_end(const struct mp_block *block) {
    return ((uintptr_t)block & 15) != 0;
}

MP_INLINE struct mp_block *mp_page_end(const struct mp_page *page) {
    bool apart = mp_classes[page->class].size >= MP_PROTECTED_MIN;
    return (struct mp_block *)(page->start | (apart ? MP_END_APART : MP_END));
}

/* The next free block behind one of a small page. */
MP_INLINE struct mp_block *mp_page_next_block(const struct mp_block *block) {
    return (struct mp_block *)mp_arch_merge16((uintptr_t)block, &block->link);
}

MP_INLINE void mp_page_link_block(struct mp_block *block, const struct mp_block *next) {
    block->link = (uint16_t)(uintptr_t)next;
}

/* Takes the first block of the current page's list, which is free. Whatever its key is by now is
 * cleared: rescue.h counts on it. The next call reads the next block, which others may have freed,
 * or this thread long ago: it is asked for now. (It may be the list's end: of no consequence.) */
MP_INLINE void mp_page_pop(struct mp_page *page, struct mp_block *block) {
    struct mp_block *next = mp_page_next_block(block);
    page->local_free = next;
    __builtin_prefetch(next, 1);
    block->key = 0;
}

/* ---- the primary range's metadata, for the fast path of free; see arena.h ---- */

extern MP_HIDDEN struct mp_page *mp_meta; /* entry of the range's first slice */
extern MP_HIDDEN uintptr_t mp_meta_mask;  /* (entries - 1) * 64: entries is a power of two */

/* The entry that describes `pointer` if it is in the primary range, and some other readable entry
 * if it is not: the caller compares `start`. The range is aligned to its largest size, so the
 * slice's number is plain bits of the address. */
MP_RACY_INLINE struct mp_page *mp_page_guess(uintptr_t pointer) {
    return (void *)((char *)mp_meta + ((pointer >> (MP_SLICE_SHIFT - 6)) & mp_meta_mask));
}

/* Also of an entry that is no page's yet, and may be becoming one. */
MP_RACY_INLINE uintptr_t mp_page_start_hot(const struct mp_page *page) {
    return page->start;
}

/* Also of an entry that is no small page's, where it is another field that somebody may be writing:
 * its owner is 0, so what this gives does not matter. */
MP_RACY_INLINE uint64_t mp_page_inverse_hot(const struct mp_page *page) {
    return page->inverse;
}

#endif
