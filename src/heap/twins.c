#include "heap/twins.h"

#include "heap/arena.h"
#include "platform/lock.h"

#define TABLE_BLOCKS (MP_SLICE_SIZE / 16)

/* Untouched parts of a table cost addresses only. */
struct table {
    union {
        struct mp_block *twin[TABLE_BLOCKS];
        uint32_t next_free;
    };
};

/* Tables by number, from 1: a page's entry has room for a number only. */
#define TABLES 65536u

static struct mp_lock tables_lock = MP_LOCK_INIT(MP_RANK_TWINS);
static struct table **tables;
static uint32_t table_count, first_free;

static uint32_t new_table(void) {
    uint32_t number = 0;
    mp_lock_take(&tables_lock);
    if (!tables)
        tables = mp_meta_alloc(TABLES * sizeof *tables);
    if (first_free) {
        number = first_free;
        first_free = tables[number]->next_free;
    } else if (tables && table_count + 1 < TABLES) {
        tables[table_count + 1] = mp_meta_alloc(sizeof(struct table));
        if (tables[table_count + 1])
            number = ++table_count;
    }
    mp_lock_drop(&tables_lock);
    return number;
}

bool mp_twins_set(struct mp_page *page, uint32_t index, struct mp_block *twin) {
    if (!page->twins)
        page->twins = new_table();
    if (!page->twins)
        return false;
    tables[page->twins]->twin[index] = twin;
    return true;
}

struct mp_block *mp_twins_get(const struct mp_page *page, uint32_t index) {
    return MP_UNLIKELY(!page->twins) ? NULL : tables[page->twins]->twin[index];
}

void mp_twins_drop(struct mp_page *page) {
    uint32_t number = page->twins;
    if (!number)
        return;
    page->twins = 0;
    mp_lock_take(&tables_lock);
    tables[number]->next_free = first_free;
    first_free = number;
    mp_lock_drop(&tables_lock);
}
