#include "analyze/leaks.h"

#include <stdlib.h>

static void add(struct leaks *leaks, size_t *capacity, const struct leak *leak) {
    leaks->list = tool_grow(leaks->list, leaks->count, capacity, sizeof *leaks->list);
    leaks->list[leaks->count++] = *leak;
}

static int by_size(const void *a, const void *b) {
    const struct leak *x = a, *y = b;
    if (x->indirect != y->indirect)
        return x->indirect - y->indirect;
    if (x->bytes > y->bytes || x->bytes < y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    if (!x->site || !y->site)
        return !x->site - !y->site;
    return x->site->id < y->site->id ? -1 : x->site->id > y->site->id;
}

/* Of classes without a sample that leaked. */
static void add_unsampled(struct leaks *leaks, size_t *capacity,
                          const struct calibration *calibration, bool indirect) {
    if (calibration->unsampled_objects > 0)
        add(leaks, capacity,
            &(struct leak){
                .indirect = indirect,
                .bytes = calibration->unsampled_bytes,
                .objects = calibration->unsampled_objects,
            });
}

static void suppress(struct leaks *leaks, struct suppressions *suppressions) {
    for (size_t i = 0; i < leaks->count; i++) {
        struct leak *leak = &leaks->list[i];
        if (suppressions && leak->site)
            leak->suppressed = suppressions_match(
                suppressions, sites_frames(&leaks->sites, leak->site), leak->bytes, leak->objects);
        if (leak->suppressed)
            continue;
        leaks->found++;
        leaks->found_bytes += leak->bytes;
        leaks->found_objects += leak->objects;
    }
}

int leaks_find(struct leaks *leaks, const struct dump *dump, struct suppressions *suppressions,
               uint64_t min_bytes, struct tool_error *error) {
    size_t capacity = 0;
    struct calibration calibration[CALIBRATE_WAYS];
    *leaks = (struct leaks){.dump = dump};
    if (!dump->leaks)
        return tool_fail(error, "%s: leaks were not looked for when this was written", dump->path);
    sites_begin(&leaks->sites, SITE_BY_STACK, NULL, dump);
    for (int of = 0; of < CALIBRATE_WAYS; of++)
        calibrate_samples(&leaks->sites, (enum calibrate_of)of, &calibration[of]);
    for (size_t i = 0; i < leaks->sites.count; i++) {
        const struct site *site = &leaks->sites.list[i];
        for (int indirect = 0; indirect < 2; indirect++) {
            const struct pile *pile = &site->leaked[indirect];
            if (pile->samples > 0)
                add(leaks, &capacity,
                    &(struct leak){
                        .site = site,
                        .indirect = indirect,
                        .estimated = pile->objects_variance > 0 || dump->process->rate != 1,
                        .bytes = pile->bytes,
                        .objects = pile->objects,
                    });
        }
    }
    for (int indirect = 0; indirect < 2; indirect++)
        add_unsampled(leaks, &capacity,
                      &calibration[indirect ? CALIBRATE_INDIRECT : CALIBRATE_LEAKED], indirect);
    size_t kept = 0;
    for (size_t i = 0; i < leaks->count; i++) {
        if (leaks->list[i].bytes >= (double)min_bytes)
            leaks->list[kept++] = leaks->list[i];
    }
    leaks->count = kept;
    if (leaks->count)
        qsort(leaks->list, leaks->count, sizeof *leaks->list, by_size);
    suppress(leaks, suppressions);
    growing_find(&leaks->sites, dump, &leaks->growing, &leaks->growing_count);
    return 0;
}

void leaks_free(struct leaks *leaks) {
    sites_free(&leaks->sites);
    free(leaks->list);
    free(leaks->growing);
    *leaks = (struct leaks){0};
}

uint64_t leaks_unseen(const struct dump *dump) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < dump->map_count; i++) {
        const struct memprof_dump_map *map = &dump->maps[i];
        if ((map->access & MEMPROF_MAP_UNSEEN) && (map->access & MEMPROF_MAP_WRITE) &&
            map->kind != MEMPROF_MAP_METADATA)
            bytes += map->rss_bytes;
    }
    return bytes;
}
