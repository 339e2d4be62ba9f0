#include "leak/leaks.h"

#include <errno.h>
#include <string.h>

#include "leak/present.h"
#include "platform/sys.h"

static struct mp_leaks_sums *sums_of(struct mp_leaks *leaks, const struct mp_block_found *block) {
    if (block->number >= mp_blocks.huge_first)
        return &leaks->mapped;
    if (block->whole)
        return &leaks->large;
    return &leaks->classes[mp_class_of(block->size)];
}

static void add(struct mp_leaks_sums *sums, enum mp_verdict verdict, size_t size) {
    sums->objects[verdict]++;
    sums->bytes[verdict] += size;
}

static void count(const struct mp_block_found *block, void *context) {
    struct mp_leaks *leaks = context;
    enum mp_verdict verdict = mp_verdict_of(&leaks->verdicts, block->number);
    add(sums_of(leaks, block), verdict, block->size);
    add(&leaks->all, verdict, block->size);
}

/* Nearly all blocks are reachable, as a rule: these are what remains of the census, which takes the
 * same ones for live at a fifth of the time. */
static void count_all(struct mp_leaks *leaks) {
    struct mp_leaks_sums *all = &leaks->all;
    mp_blocks_each(leaks->reached.reached, count, leaks);
    mp_census(&leaks->census);
    all->objects[MP_REACHABLE] =
        leaks->census.live_blocks - all->objects[MP_LEAKED] - all->objects[MP_LEAKED_INDIRECTLY];
    all->bytes[MP_REACHABLE] =
        leaks->census.live_bytes - all->bytes[MP_LEAKED] - all->bytes[MP_LEAKED_INDIRECTLY];
}

static int mark(struct mp_leaks *leaks, const struct mp_leaks_way *way) {
    int error = mp_marks_begin(&leaks->reached, NULL) ? 0 : -ENOMEM;
    if (!error)
        error = mp_roots_mark(&leaks->reached, way->stopped, &way->caller, &leaks->roots);
    if (!error)
        mp_mark_through(&leaks->reached);
    return error;
}

static bool begin(struct mp_leaks *leaks) {
    memset(leaks, 0, sizeof *leaks);
    mp_present_begin();
    return mp_blocks_begin();
}

int mp_leaks_find(struct mp_leaks *leaks, const struct mp_leaks_way *way) {
    uint64_t began_ns = mp_sys_precise_ns();
    int error = begin(leaks) ? mark(leaks, way) : -ENOMEM;
    if (!error && way->twice)
        error = mp_twice_confirm(way->twice, way->first, way->stopped->missed, &leaks->reached);
    if (!error && !mp_verdicts_begin(&leaks->verdicts, &leaks->reached))
        error = -ENOMEM;
    if (error) {
        mp_leaks_end(leaks);
        return error;
    }
    count_all(leaks);
    leaks->scan_ns = mp_sys_precise_ns() - began_ns;
    return 0;
}

void mp_leaks_find_first(struct mp_leaks *leaks, const struct mp_leaks_way *way) {
    int error = begin(leaks) ? mark(leaks, way) : -ENOMEM;
    mp_twice_note(way->twice, error ? NULL : &leaks->reached);
}

void mp_leaks_end(struct mp_leaks *leaks) {
    mp_verdicts_end(&leaks->verdicts);
    mp_marks_end(&leaks->reached);
    mp_blocks_end();
    mp_present_end();
}

enum mp_verdict mp_leaks_of(const struct mp_leaks *leaks, uintptr_t address) {
    struct mp_block_found block;
    return mp_blocks_find(address, &block) ? mp_verdict_of(&leaks->verdicts, block.number)
                                           : MP_REACHABLE;
}
