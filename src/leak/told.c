#include "leak/told.h"

#include <errno.h>
#include <string.h>

#include "heap/class.h"
#include "heap/pages.h"
#include "heap/thread.h"
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

int mp_told_root(uintptr_t start, size_t size) {
    mp_lock_take(&told_lock);
    struct range *there = find(&roots, start);
    int error = there || make_room(&roots) ? 0 : -ENOMEM;
    if (there)
        there->size = size;
    else if (!error)
        roots.at[roots.count++] = (struct range){start, size};
    mp_lock_drop(&told_lock);
    return error;
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
    mp_lock_take(&told_lock);
    int error = make_room(&ignored) ? 0 : -ENOMEM;
    if (!error)
        ignored.at[ignored.count++] = (struct range){address, 1};
    mp_lock_drop(&told_lock);
    return error;
}

_Atomic(uint32_t) mp_told_quiet;
static __thread uint32_t quiet_depth __attribute__((tls_model("initial-exec")));

void mp_told_begin_quiet(void) {
    if (quiet_depth++)
        return;
    atomic_fetch_add(&mp_told_quiet, 1);
    if (mp_tls.heap) {
        mp_slow_enter();
        mp_pages_trim(mp_tls.heap); /* no page is current: the fast path finds none */
        mp_slow_leave();
    }
}

void mp_told_end_quiet(void) {
    if (quiet_depth && --quiet_depth == 0)
        atomic_fetch_sub(&mp_told_quiet, 1);
}

void mp_told_handed_out(const void *block, size_t size) {
    if (!quiet_depth || !block)
        return;
    mp_told_ignore((uintptr_t)block);
    if (size <= MP_SMALL_MAX && mp_tls.heap) {
        mp_slow_enter();
        mp_pages_end_current(mp_tls.heap, mp_class_of(size ? size : 1));
        mp_slow_leave();
    }
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
