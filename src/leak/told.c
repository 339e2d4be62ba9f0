#include "leak/told.h"

#include <errno.h>
#include <string.h>

#include "platform/lock.h"
#include "record/memory.h"

struct range {
    uintptr_t start;
    size_t size;
};

/* Grown by doubling; in no order. */
struct list {
    struct range *at;
    uint32_t count, room;
};

static struct mp_lock told_lock = MP_LOCK_INIT(MP_RANK_TOLD);
static struct list roots, ignored;

#define FIRST_ROOM 256u /* a page */

static bool make_room(struct list *list) {
    uint32_t room = list->room ? list->room * 2 : FIRST_ROOM;
    if (list->count < list->room)
        return true;
    struct range *larger = mp_record_alloc(room * sizeof *larger);
    if (!larger)
        return false;
    if (list->count)
        memcpy(larger, list->at, list->count * sizeof *larger);
    mp_record_free(list->at, list->room * sizeof *list->at);
    list->at = larger;
    list->room = room;
    return true;
}

static struct range *find(const struct list *list, uintptr_t start) {
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->at[i].start == start)
            return &list->at[i];
    }
    return NULL;
}

static int add(struct list *list, struct range range) {
    mp_lock_take(&told_lock);
    struct range *there = find(list, range.start);
    int error = there || make_room(list) ? 0 : -ENOMEM;
    if (there)
        *there = range;
    else if (!error)
        list->at[list->count++] = range;
    mp_lock_drop(&told_lock);
    return error;
}

int mp_told_root(uintptr_t start, size_t size) {
    return add(&roots, (struct range){start, size});
}

int mp_told_unroot(uintptr_t start) {
    mp_lock_take(&told_lock);
    struct range *there = find(&roots, start);
    if (there)
        *there = roots.at[--roots.count];
    mp_lock_drop(&told_lock);
    return there ? 0 : -ENOENT;
}

int mp_told_ignore(uintptr_t address) {
    return add(&ignored, (struct range){address, 1});
}

void mp_told_each_root(void (*visit)(uintptr_t start, uintptr_t end, void *context),
                       void *context) {
    for (uint32_t i = 0; i < roots.count; i++)
        visit(roots.at[i].start, roots.at[i].start + roots.at[i].size, context);
}

void mp_told_each_ignored(void (*visit)(uintptr_t address, void *context), void *context) {
    for (uint32_t i = 0; i < ignored.count; i++)
        visit(ignored.at[i].start, context);
}

void mp_told_forget(bool (*is_live)(uintptr_t address)) {
    mp_lock_take(&told_lock);
    for (uint32_t i = 0; i < ignored.count;) {
        if (is_live(ignored.at[i].start))
            i++;
        else
            ignored.at[i] = ignored.at[--ignored.count];
    }
    mp_lock_drop(&told_lock);
}

void mp_told_before_fork(void) {
    mp_lock_take(&told_lock);
}

void mp_told_after_fork(bool child) {
    if (child)
        mp_lock_reset(&told_lock);
    else
        mp_lock_drop(&told_lock);
}
