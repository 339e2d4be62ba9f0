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

static void add_count(struct stratum *stratum, const struct memprof_dump_class *class,
                      enum calibrate_of of) {
    const uint64_t objects[] = {class->live_objects, class->leaked_objects,
                                class->indirect_objects};
    const uint64_t bytes[] = {class->live_bytes, class->leaked_bytes, class->indirect_bytes};
    stratum->objects += (double)objects[of];
    stratum->bytes += (double)bytes[of];
}

/* The larger ones first, then the classes by size; how many. */
static size_t list_strata(const struct dump *dump, enum calibrate_of of, struct stratum *strata) {
    size_t count = 1;
    strata[0] = (struct stratum){0};
    for (size_t i = 0; i < dump->class_count; i++) {
        const struct memprof_dump_class *class = &dump->classes[i];
        struct stratum *stratum = class->kind == MEMPROF_CLASS_SIZED ? &strata[count++] : strata;
        if (stratum != strata)
            *stratum = (struct stratum){.size = class->size};
        add_count(stratum, class, of);
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

/* Of a class: what its samples stand for beyond themselves, and by what that is multiplied. What
 * was seen is there for certain, and stays as it is. */
struct whole {
    double factor;
    double
        counted;  /* sum of (w - 1) counted; with one more like them, that is nobody's: see below */
    double extra; /* sum of (w^2 - w) counted^2, with that one */
};

/* The one more: were it not, a class of which all samples are one site's would be that site's for
 * certain, though there be only one sample. */
static struct whole whole_of(const struct stratum *stratum, const struct item *items,
                             size_t count) {
    double counted = 0, extra = 0, seen = 0;
    for (size_t i = 0; i < count; i++) {
        double weight = items[i].weight;
        counted += (weight - 1) * items[i].counted;
        seen += items[i].counted;
        extra += (weight * weight - weight) * items[i].counted * items[i].counted;
    }
    /* A copy of a running process may miss single blocks: no less than nothing is unseen. */
    double unseen = fmax((stratum->size ? stratum->objects : stratum->bytes) - seen, 0);
    return (struct whole){
        .factor = counted > 0 ? unseen / counted : 0,
        .counted = counted + counted / (double)count,
        .extra = extra + extra / (double)count,
    };
}

/* One site's of one class. The variance is that of a ratio: its own part counts by what it differs
 * from the class's mean, and all others', by that mean. */
static struct pile pile_of(const struct whole *whole, const struct item *items, size_t count) {
    struct pile pile = {.samples = count};
    double bytes = 0, objects = 0;           /* sum of w - 1, with size and without */
    double with_bytes = 0, with_objects = 0; /* sum of (w^2 - w) counted, the same */
    double square = whole->factor * whole->factor;
    for (size_t i = 0; i < count; i++) {
        double weight = items[i].weight, size = items[i].size;
        double extra = weight * weight - weight, now = 1 + whole->factor * (weight - 1);
        bytes += (weight - 1) * size;
        objects += weight - 1;
        with_bytes += extra * items[i].counted * size;
        with_objects += extra * items[i].counted;
        pile.bytes_variance += extra * size * size;
        pile.objects_variance += extra;
        pile.bytes_spread += now * now * size * size;
        pile.seen_bytes += size;
    }
    pile.objects = (double)count + whole->factor * objects;
    pile.bytes = pile.seen_bytes + whole->factor * bytes;
    if (!(whole->counted > 0)) {
        pile.bytes_variance = pile.objects_variance = 0;
        return pile;
    }
    bytes /= whole->counted;
    objects /= whole->counted;
    pile.bytes_variance = fmax(
        0, square * (pile.bytes_variance - 2 * bytes * with_bytes + bytes * bytes * whole->extra));
    pile.objects_variance = fmax(0, square * (pile.objects_variance - 2 * objects * with_objects +
                                              objects * objects * whole->extra));
    return pile;
}

static struct pile *target(struct site *site, enum calibrate_of of) {
    return of == CALIBRATE_LIVE ? &site->live[SITE_NEW] : &site->leaked[of == CALIBRATE_INDIRECT];
}

static void add_stratum(struct sites *sites, enum calibrate_of of, const struct stratum *stratum,
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
        pile_join(target(&sites->list[items[i].site], of), &pile);
    }
    calibration->rounding_bytes += stratum->bytes - bytes;
}

static bool counts(const struct memprof_dump_sample *sample, enum calibrate_of of) {
    return of == CALIBRATE_LIVE ||
           (sample->flags &
            (of == CALIBRATE_LEAKED ? MEMPROF_SAMPLE_LEAKED : MEMPROF_SAMPLE_INDIRECT));
}

void calibrate_samples(struct sites *sites, enum calibrate_of of, struct calibration *calibration) {
    const struct dump *dump = sites->dumps[SITE_NEW];
    struct stratum *strata = tool_alloc(dump->class_count + 1, sizeof *strata);
    struct item *items = tool_alloc(dump->sample_count, sizeof *items);
    size_t count = list_strata(dump, of, strata), item_count = 0, end = 0;
    *calibration = (struct calibration){.done = true};
    for (size_t i = 0; i < dump->sample_count; i++) {
        const struct memprof_dump_sample *sample = &dump->samples[i];
        if (!counts(sample, of))
            continue;
        struct site *site = sites_of_sample(sites, SITE_NEW, sample);
        struct item *item = &items[item_count++];
        *item = (struct item){
            .stratum = stratum_of(strata, count, sample),
            .site = (size_t)(site - sites->list),
            .weight = dump_sample_weight(sample),
            .size = (double)sample->size,
        };
        item->counted = strata[item->stratum].size ? 1 : (double)sample->coin;
    }
    if (item_count)
        qsort(items, item_count, sizeof *items, by_stratum_and_site);
    for (size_t s = 0; s < count; s++) {
        size_t begin = end;
        while (end < item_count && items[end].stratum == s)
            end++;
        add_stratum(sites, of, &strata[s], items + begin, end - begin, calibration);
    }
    free(items);
    free(strata);
}
