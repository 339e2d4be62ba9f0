#include "heap/remote.h"

static struct mp_block *first_of(uintptr_t word) {
    return (struct mp_block *)(word & (((uintptr_t)1 << MP_REMOTE_COUNT_SHIFT) - 1) & ~MP_OWNED);
}

bool mp_remote_push(struct mp_page *page, struct mp_block *first, struct mp_block *last,
                    uint32_t count, uint32_t *waiting) {
    uintptr_t old = atomic_load_explicit(&page->remote, memory_order_relaxed);
    uintptr_t new;
    do {
        struct mp_block *next = first_of(old);
        mp_page_link_block(last, next ? next : mp_page_end(page));
        new = (old & ~(((uintptr_t)1 << MP_REMOTE_COUNT_SHIFT) - 1)) +
              ((uintptr_t)count << MP_REMOTE_COUNT_SHIFT) + ((uintptr_t)first | MP_OWNED);
        /* release: the collector sees the links and keys; acquire: a claimer sees what the last
         * owner left in the entry */
    } while (!atomic_compare_exchange_weak_explicit(&page->remote, &old, new, memory_order_acq_rel,
                                                    memory_order_relaxed));
    *waiting = (uint32_t)(new >> MP_REMOTE_COUNT_SHIFT);
    return !(old & MP_OWNED);
}

uint32_t mp_remote_collect(struct mp_page *page) {
    if (!first_of(atomic_load_explicit(&page->remote, memory_order_relaxed)))
        return 0;
    /* acquire: pairs with push */
    uintptr_t word = atomic_exchange_explicit(&page->remote, MP_OWNED, memory_order_acquire);
    struct mp_block *first = first_of(word);
    uint32_t count = (uint32_t)(word >> MP_REMOTE_COUNT_SHIFT);
    if (!mp_page_is_end(page->local_free)) {
        struct mp_block *last = first;
        for (uint32_t i = 1; i < count; i++) {
            struct mp_block *next = mp_page_next_block(last);
            if (mp_page_is_end(next))
                break; /* overwritten by the program: the rest is lost, not dangerous */
            last = next;
        }
        mp_page_link_block(last, page->local_free);
    }
    page->local_free = first;
    return count;
}

bool mp_remote_forget(struct mp_page *page, uintptr_t word) {
    return atomic_compare_exchange_strong_explicit(&page->remote, &word, MP_OWNED,
                                                   memory_order_acquire, memory_order_relaxed);
}

bool mp_remote_disown(struct mp_page *page) {
    uintptr_t expected = MP_OWNED;
    /* release: the next owner sees the entry as we leave it */
    return atomic_compare_exchange_strong_explicit(&page->remote, &expected, 0,
                                                   memory_order_release, memory_order_relaxed);
}

bool mp_remote_claim(struct mp_page *page) {
    uintptr_t old = atomic_load_explicit(&page->remote, memory_order_relaxed);
    while (!(old & MP_OWNED)) {
        if (atomic_compare_exchange_weak_explicit(&page->remote, &old, old | MP_OWNED,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    }
    return false;
}
