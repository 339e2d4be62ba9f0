#include "analyze/totals.h"

#include <stdlib.h>
#include <string.h>

const struct rss_name totals_rss_names[RSS_NAMES] = {
#define PART(name)                                                                                 \
    { #name, offsetof(struct rss_parts, name) }
    PART(live),   PART(cached), PART(fragmented), PART(purgeable), PART(metadata),
    PART(mapped), PART(stacks), PART(files),      PART(other),     PART(total),
#undef PART
};

uint64_t totals_rss_part(const struct rss_parts *parts, size_t part) {
    return *(const uint64_t *)(const void *)((const char *)parts + totals_rss_names[part].offset);
}

/* The part of `wanted` that the budget still has; takes it away. */
static uint64_t take(uint64_t wanted, uint64_t *budget) {
    uint64_t taken = wanted < *budget ? wanted : *budget;
    *budget -= taken;
    return taken;
}

static uint64_t mapped_blocks(const struct dump *dump) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < dump->class_count; i++) {
        if (dump->classes[i].kind == MEMPROF_CLASS_MAPPED)
            bytes += dump->classes[i].live_bytes;
    }
    return bytes;
}

/* The kernel counts by mapping, the heap by block. What the heap has to say is fitted into what is
 * resident of its mappings, the surest first: free memory was touched before it was freed, live
 * memory perhaps never. What is left of the mappings is no block at all (pages that were readied,
 * huge pages' ends) and goes to `other`, as does what the kernel counts beyond the mappings. */
struct rss_parts totals_rss(const struct dump *dump) {
    const struct memprof_dump_process *process = dump->process;
    struct rss_parts parts = {.total = process->rss_bytes};
    uint64_t of_kind[MEMPROF_MAP_SPECIAL + 1] = {0}, mapped = 0, budget = parts.total;
    for (size_t i = 0; i < dump->map_count; i++) {
        unsigned kind = dump->maps[i].kind;
        of_kind[kind <= MEMPROF_MAP_SPECIAL ? kind : MEMPROF_MAP_OTHER] += dump->maps[i].rss_bytes;
        mapped += dump->maps[i].rss_bytes;
    }
    uint64_t huge = mapped_blocks(dump);
    if (mapped == 0) { /* the map could not be read: as if all were resident */
        of_kind[MEMPROF_MAP_BLOCK] = huge;
        of_kind[MEMPROF_MAP_METADATA] = process->metadata_bytes + process->profile_bytes;
        of_kind[MEMPROF_MAP_HEAP] = parts.total;
    }
    parts.metadata = take(of_kind[MEMPROF_MAP_METADATA], &budget);
    parts.mapped = take(of_kind[MEMPROF_MAP_BLOCK], &budget);
    parts.stacks = take(of_kind[MEMPROF_MAP_STACK], &budget);
    uint64_t heap = take(of_kind[MEMPROF_MAP_HEAP], &budget);
    parts.files = take(of_kind[MEMPROF_MAP_FILE], &budget);
    uint64_t live = process->live_bytes > huge ? process->live_bytes - huge : 0;
    parts.purgeable = take(process->purgeable_bytes, &heap);
    uint64_t free_bytes = take(process->fragmented_bytes, &heap);
    parts.cached = take(process->cached_bytes, &free_bytes);
    parts.fragmented = free_bytes;
    parts.live = take(live, &heap);
    parts.other = budget + heap;
    return parts;
}

struct totals_of_stacks totals_stacks(const struct dump *dump) {
    struct totals_of_stacks totals = {0};
    for (size_t i = 0; i < dump->stack_count; i++) {
        totals.allocated += dump->stacks[i].allocated_bytes;
        totals.freed += dump->stacks[i].freed_bytes;
    }
    return totals;
}

/* ---- classes ---- */

const char *totals_class_name(uint32_t kind) {
    static const char *const names[] = {"sized", "large", "mapped"};
    return kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

static int by_size(const void *a, const void *b) {
    const struct class_row *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

static void join(struct memprof_dump_class *to, const struct memprof_dump_class *from) {
    to->pages += from->pages;
    to->live_objects += from->live_objects;
    to->live_bytes += from->live_bytes;
    to->free_objects += from->free_objects;
    to->stranded_bytes += from->stranded_bytes;
}

size_t totals_classes(const struct dump *old, const struct dump *new, struct class_row **out) {
    const struct dump *dumps[] = {old, new};
    size_t count = 0, kept = 0;
    struct class_row *rows =
        tool_alloc((old ? old->class_count : 0) + new->class_count + 1, sizeof *rows);
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; dumps[side] && i < dumps[side]->class_count; i++) {
            const struct memprof_dump_class *class = &dumps[side]->classes[i];
            if (!class->pages && !class->live_objects)
                continue;
            rows[count] = (struct class_row){.size = class->size, .kind = class->kind};
            *(side ? &rows[count].new : &rows[count].old) = *class;
            count++;
        }
    }
    qsort(rows, count, sizeof *rows, by_size);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && by_size(&rows[kept - 1], &rows[i]) == 0) {
            join(&rows[kept - 1].old, &rows[i].old);
            join(&rows[kept - 1].new, &rows[i].new);
        } else {
            rows[kept++] = rows[i];
        }
    }
    *out = rows;
    return kept;
}

/* ---- --fail-on ---- */

static const struct fail_on_name names[] = {
    [TOTALS_GROWTH] = {"growth", FAIL_ON_AMOUNT | FAIL_ON_PERCENT},
    [TOTALS_OBJECTS] = {"objects", FAIL_ON_AMOUNT | FAIL_ON_PERCENT},
    [TOTALS_RSS] = {"rss", FAIL_ON_AMOUNT | FAIL_ON_PERCENT},
    [TOTALS_LEAKED] = {"leaked", FAIL_ON_AMOUNT},
};

const struct fail_on_rules totals_rules = {
    .names = names,
    .count = sizeof names / sizeof *names,
    .examples = "it is growth, objects, rss or leaked, then >, then an amount: growth>1m, "
                "objects>1000, rss>10%, leaked>0",
};

int totals_exceed(const struct fail_on *limit, const struct dump *old, const struct dump *new,
                  struct tool_error *error) {
    const struct memprof_dump_process *a = old->process, *b = new->process;
    uint64_t before = 0, after = 0;
    switch ((enum totals_name)limit->name) {
    case TOTALS_GROWTH:
        before = a->live_bytes;
        after = b->live_bytes;
        break;
    case TOTALS_OBJECTS:
        before = a->live_objects;
        after = b->live_objects;
        break;
    case TOTALS_RSS:
        before = a->rss_bytes;
        after = b->rss_bytes;
        break;
    case TOTALS_LEAKED: /* all that has, and not what has since the older dump */
        if (!new->leaks)
            return tool_fail(error, "%s: leaks were not looked for when this was written",
                             new->path);
        after = new->leaks->leaked_bytes + new->leaks->indirect_bytes;
        break;
    }
    if (after <= before)
        return 0;
    double least =
        limit->form == FAIL_ON_PERCENT ? limit->limit / 100 * (double)before : limit->limit;
    return (double)(after - before) > least;
}
