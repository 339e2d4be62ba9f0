#include "heap/beside.h"

#include "heap/arena.h"
#include "heap/hooks.h"
#include "platform/lock.h"

/* Powers of two, from a cache line on. Untouched parts of a table cost addresses only. */
#define ORDERS 32u

static struct mp_lock tables_lock = MP_LOCK_INIT(MP_RANK_BESIDE);
static void *unused[ORDERS]; /* each begins with the next */

static size_t entry_size(void) {
    return mp_hooks.every ? mp_hooks.every : sizeof(struct mp_block *);
}

static unsigned order_for(const struct mp_page *page) {
    size_t size = mp_page_blocks(page) * entry_size();
    return size <= MP_CACHE_LINE ? 6 : 64 - (unsigned)__builtin_clzll(size - 1);
}

void mp_beside_make(struct mp_page *page) {
    unsigned order = order_for(page);
    mp_lock_take(&tables_lock);
    void *table = unused[order];
    if (table) {
        unused[order] = *(void **)table;
        *(void **)table = NULL; /* an empty record reads zero */
    }
    mp_lock_drop(&tables_lock);
    page->beside = table ? table : mp_meta_alloc((size_t)1 << order);
}

void mp_beside_drop(struct mp_page *page) {
    void *table = page->beside;
    unsigned order = order_for(page);
    if (!table)
        return;
    page->beside = NULL;
    mp_lock_take(&tables_lock);
    *(void **)table = unused[order];
    unused[order] = table;
    mp_lock_drop(&tables_lock);
}

struct mp_block *mp_beside_twin(const struct mp_page *page, uint32_t index) {
    struct mp_block *const *twins = page->beside;
    return MP_UNLIKELY(mp_hooks.every || !twins) ? NULL : twins[index];
}

bool mp_beside_set_twin(const struct mp_page *page, uint32_t index, struct mp_block *twin) {
    struct mp_block **twins = page->beside;
    if (twins)
        twins[index] = twin;
    return twins != NULL;
}

void *mp_beside_record(const struct mp_page *page, uint32_t index) {
    char *records = page->beside;
    return MP_UNLIKELY(!records) ? NULL : records + (size_t)index * mp_hooks.every;
}
