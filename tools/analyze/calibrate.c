#include "analyze/calibrate.h"

#include <math.h>
#include <stdlib.h>

#include "analyze/estimate.h"

struct item {
    size_t stratum, site;
    double weight, size;
    double counted; /* what the class is counted by: 1, or its bytes */
};

struct stratum {
    uint64_t size;         /* of the class; 0: all that is larger */
    double objects, bytes; /* counted */
};

static int by_size(const void *a, const void *b) {
    const struct stratum *x = a, *y = b;
    return x->size < y->size ? -1 : x->size > y->size;
}

/* The larger ones first, then the classes by size; how many. */
static size_t list_strata(const struct dump *dump, struct stratum *strata) {
    size_t count = 1;
    strata[0] = (struct stratum){0};
    for (size_t i = 0; i < dump->class_count; i++) {
        const struct memprof_dump_class *class = &dump->classes[i];
        struct stratum *stratum = class->kind == MEMPROF_CLASS_SIZED ? &strata[count++] : strata;
        if (stratum != strata)
            *stratum = (struct stratum){.size = class->size};
        stratum->objects += (double)class->live_objects;
        stratum->bytes += (double)class->live_bytes;
    }
    qsort(strata, count, sizeof *strata, by_size);
    return count;
}

static size_t stratum_of(const struct stratum *strata, size_t count,
                         const struct memprof_dump_sample *sample) {
    const struct stratum key = {.size = sample->coin};
    if (sample->flags & MEMPROF_SAMPLE_LARGE)
        return 0;
    const struct stratum *found = bsearch(&key, strata, count, sizeof *strata, by_size);
    return found ? (size_t)(found - strata) : 0;
}

static int by_stratum_and_site(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->stratum != y->stratum)
        return x->stratum < y->stratum ? -1 : 1;
    return x->site < y->site ? -1 : x->site > y->site;
}

/* What a class's samples come to, and by what they are multiplied. */
struct whole {
    double factor;
    double counted; /* by weight, with one more like them, that is nobody's: see below */
    double extra;   /* sum of (w^2 - w) counted^2, with that one */
};

/* The one more: were it not, a class of which all samples are one site's would be that site's for
 * certain, though there be only one sample. */
static struct whole whole_of(const struct stratum *stratum, const struct item *items,
                             size_t count) {
    double counted = 0, extra = 0, seen = 0;
    for (size_t i = 0; i < count; i++) {
        double weight = items[i].weight;
        counted += weight * items[i].counted;
        seen += items[i].counted;
        extra += (weight * weight - weight) * items[i].counted * items[i].counted;
    }
    return (struct whole){
        /* At least those that were seen: a copy of a running process may miss single blocks. */
        .factor = fmax(stratum->size ? stratum->objects : stratum->bytes, seen) / counted,
        .counted = counted + counted / (double)count,
        .extra = extra + extra / (double)count,
    };
}

/* One site's of one class. The variance is that of a ratio: its own part counts by what it differs
 * from the class's mean, and all others', by that mean. */
static struct pile pile_of(const struct whole *whole, const struct item *items, size_t count) {
    struct pile pile = {0};
    double with_bytes = 0, with_objects = 0; /* sum of (w^2 - w) counted size, and without size */
    for (size_t i = 0; i < count; i++) {
        double weight = items[i].weight, extra = (weight * weight - weight) * items[i].counted;
        pile_add(&pile, weight, items[i].size);
        with_bytes += extra * items[i].size;
        with_objects += extra;
    }
    double bytes = pile.bytes / whole->counted, objects = pile.objects / whole->counted;
    double square = whole->factor * whole->factor;
    pile.bytes_variance =
        square * (pile.bytes_variance - 2 * bytes * with_bytes + bytes * bytes * whole->extra);
    pile.objects_variance = square * (pile.objects_variance - 2 * objects * with_objects +
                                      objects * objects * whole->extra);
    pile.bytes_variance = fmax(pile.bytes_variance, 0);
    pile.objects_variance = fmax(pile.objects_variance, 0);
    pile.objects *= whole->factor;
    pile.bytes *= whole->factor;
    pile.bytes_spread *= square;
    pile.seen_bytes = fmin(pile.seen_bytes, pile.bytes);
    return pile;
}

static void add_stratum(struct sites *sites, const struct stratum *stratum,
                        const struct item *items, size_t count, struct calibration *calibration) {
    if (count == 0) {
        calibration->unsampled_bytes += stratum->bytes;
        calibration->unsampled_objects += stratum->objects;
        return;
    }
    struct whole whole = whole_of(stratum, items, count);
    double bytes = 0;
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && items[end].site == items[i].site; end++)
            ;
        struct pile pile = pile_of(&whole, items + i, end - i);
        bytes += pile.bytes;
        pile_join(&sites->list[items[i].site].live[SITE_NEW], &pile);
    }
    calibration->rounding_bytes += stratum->bytes - bytes;
}

void calibrate_samples(struct sites *sites, struct calibration *calibration) {
    const struct dump *dump = sites->dumps[SITE_NEW];
    struct stratum *strata = tool_alloc(dump->class_count + 1, sizeof *strata);
    struct item *items = tool_alloc(dump->sample_count, sizeof *items);
    size_t count = list_strata(dump, strata), end = 0;
    *calibration = (struct calibration){.done = true};
    for (size_t i = 0; i < dump->sample_count; i++) {
        const struct memprof_dump_sample *sample = &dump->samples[i];
        struct site *site = sites_of_sample(sites, SITE_NEW, sample);
        items[i] = (struct item){
            .stratum = stratum_of(strata, count, sample),
            .site = (size_t)(site - sites->list),
            .weight = dump_sample_weight(sample),
            .size = (double)sample->size,
        };
        items[i].counted = strata[items[i].stratum].size ? 1 : (double)sample->coin;
    }
    if (dump->sample_count)
        qsort(items, dump->sample_count, sizeof *items, by_stratum_and_site);
    for (size_t s = 0; s < count; s++) {
        size_t begin = end;
        while (end < dump->sample_count && items[end].stratum == s)
            end++;
        add_stratum(sites, &strata[s], items + begin, end - begin, calibration);
    }
    free(items);
    free(strata);
}
