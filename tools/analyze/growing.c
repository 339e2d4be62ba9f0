#include "analyze/growing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/trend.h"
#include "common.h"

#define SLICES     4
#define SHARE      0.2
#define DISCOVERED 0.05
#define TIME_LEAST 10.0 /* seconds after the warm-up */
/* Freed after a life of that length, of what is there: a site with more of it turns over. */
#define TURNED_MOST 0.1

struct slices {
    double bytes[SLICES]; /* of samples, with their weights */
    double spread;        /* sum of their squares */
    double after;         /* bytes, as are the slices' together */
    double all;           /* with those of the warm-up, and those that leaked */
    double objects, all_objects;
    double turned; /* objects freed that had lived for longer than a slice */
};

/* Seconds since the start. */
static double warm_up(const struct dump *dump, double uptime) {
    struct trend_point *points = tool_alloc(dump->point_count + 1, sizeof *points);
    struct trend trend;
    for (size_t i = 0; i < dump->point_count; i++)
        points[i] = (struct trend_point){(double)dump->points[i].uptime_ns / 1e9,
                                         (double)dump->points[i].live_bytes};
    trend_judge(&trend, points, dump->point_count);
    free(points);
    double least = uptime / 10;
    if (!trend.enough || trend.bend == TREND_STRAIGHT)
        return least;
    return fmin(fmax(trend.settled, least), uptime / 2);
}

static void add_sample(struct slices *slices, const struct memprof_dump_sample *sample,
                       double uptime, double begin) {
    double weight = dump_sample_weight(sample), bytes = weight * (double)sample->size;
    double born = uptime - (double)sample->age_ns / 1e9;
    slices->all += bytes;
    slices->all_objects += weight;
    if (born < begin || (sample->flags & (MEMPROF_SAMPLE_LEAKED | MEMPROF_SAMPLE_INDIRECT)))
        return;
    size_t slice = (size_t)((born - begin) / (uptime - begin) * SLICES);
    slices->bytes[slice < SLICES ? slice : SLICES - 1] += bytes;
    slices->spread += bytes * bytes;
    slices->after += bytes;
    slices->objects += weight;
}

static double p_value(const struct slices *slices) {
    const double chance = SHARE / (SHARE + SLICES - 1);
    double most = 0, unit = slices->spread / slices->after;
    for (size_t i = 0; i < SLICES; i++) {
        double here = slices->bytes[i] / unit, rest = (slices->after - slices->bytes[i]) / unit;
        most = fmax(most, estimate_tail(here, rest, chance));
    }
    return most;
}

/* None is made here: others have pointers to those there are. */
static uint32_t site_of(const struct sites *sites, uint32_t stack) {
    uint32_t number = sites->of_stack[SITE_NEW][stack];
    return number ? number - 1 : UINT32_MAX;
}

/* Lives are known by the power of two. */
static void add_frees(const struct sites *sites, const struct dump *dump, struct slices *slices,
                      size_t count, double slice_seconds) {
    for (size_t i = 0; i < dump->free_count; i++) {
        const struct memprof_dump_free *freed = &dump->frees[i];
        double least = freed->lifetime > 0 ? ldexp(1, freed->lifetime - 1) / 1e9 : 0;
        uint32_t site = site_of(sites, freed->stack);
        if (site < count && least >= slice_seconds / 2)
            slices[site].turned += freed->objects;
    }
}

static int by_slope(const void *a, const void *b) {
    const struct growing *x = a, *y = b;
    if (x->slope_bytes_per_hour > y->slope_bytes_per_hour ||
        x->slope_bytes_per_hour < y->slope_bytes_per_hour)
        return x->slope_bytes_per_hour > y->slope_bytes_per_hour ? -1 : 1;
    return (x->site->id > y->site->id) - (x->site->id < y->site->id);
}

static struct growing growing_of(const struct site *site, const struct slices *slices,
                                 double seconds) {
    const struct pile *live = &site->live[SITE_NEW];
    struct growing growing = {
        .site = site,
        .bytes = live->bytes * slices->after / slices->all,
        .objects = live->objects * slices->objects / slices->all_objects,
    };
    growing.slope_bytes_per_hour = growing.bytes / seconds * 3600;
    return growing;
}

/* Those that may grow at all, each with its p-value; how many. */
static size_t judge(const struct sites *sites, const struct slices *slices, size_t count,
                    double seconds, struct growing *list) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(slices[i].after > 0) || slices[i].turned > TURNED_MOST * slices[i].objects)
            continue;
        list[found] = growing_of(&sites->list[i], &slices[i], seconds);
        list[found++].p_value = p_value(&slices[i]);
    }
    return found;
}

void growing_find(const struct sites *sites, const struct dump *dump, struct growing **out,
                  size_t *found) {
    double uptime = (double)dump->process->uptime_ns / 1e9, begin = warm_up(dump, uptime);
    *out = NULL;
    *found = 0;
    if (uptime - begin < TIME_LEAST || dump->sample_count == 0)
        return;
    size_t count = sites->count, kept = 0;
    struct slices *slices = tool_alloc(count, sizeof *slices);
    struct growing *list = tool_alloc(count, sizeof *list);
    for (size_t i = 0; i < dump->sample_count; i++) {
        uint32_t site = site_of(sites, dump->samples[i].stack);
        if (site < count)
            add_sample(&slices[site], &dump->samples[i], uptime, begin);
    }
    add_frees(sites, dump, slices, count, (uptime - begin) / SLICES);
    size_t candidates = judge(sites, slices, count, uptime - begin, list);
    double *p_values = tool_alloc(candidates + 1, sizeof *p_values);
    bool *discovered = tool_alloc(candidates + 1, sizeof *discovered);
    for (size_t i = 0; i < candidates; i++)
        p_values[i] = list[i].p_value;
    estimate_discoveries(p_values, candidates, DISCOVERED, discovered);
    for (size_t i = 0; i < candidates; i++) {
        if (discovered[i])
            list[kept++] = list[i];
    }
    if (kept)
        qsort(list, kept, sizeof *list, by_slope);
    free(discovered);
    free(p_values);
    free(slices);
    *out = list;
    *found = kept;
}
