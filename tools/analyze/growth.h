/* The series of a whole heap as it is polled: its live bytes, and those of each size class. It is
 * judged by both.
 *
 * A leak is of a few sizes; a working set that goes up and down is mostly of others, or of all of
 * them a bit. The sum has the noise of all: 64 KiB a second under it can be beyond what any
 * arithmetic finds in a minute, and be plain in the one class that it is in. A class counts by
 * itself only as far as that cannot mislead:
 *
 *   - there are many, and the best of many looks good by chance: its p-value is multiplied by their
 *     number (Bonferroni)
 *   - a working set may move from one class to another: what others lose for certain is less than
 *     half of what these gain
 *   - of the sum it must not be known better: that it warms up, shrinks, or grows by less than the
 *     classes, by its interval
 *   - it is of weight beside the sum */
#ifndef ANALYZE_GROWTH_H
#define ANALYZE_GROWTH_H

#include <stdint.h>

#include "analyze/trend.h"
#include "reader/dump.h"

/* Below it a class is said to grow, with its p-value as below. */
#define GROWTH_CLASS_P_MOST 0.001
/* Of what is not known of the sum, half its interval: less is of no weight beside it. */
#define GROWTH_CLASS_SHARE 0.1

/* When there is no room every other point goes, and the distance doubles. */
#define GROWTH_POINTS  1200
#define GROWTH_CLASSES 160

/* How long memory stays alike shows only when that has passed several times, and how often a round
 * is to come says what is long: so many are waited for before there is a verdict, and before
 * classes count by themselves. */
#define GROWTH_ROUNDS       8
#define GROWTH_CLASS_ROUNDS 30

struct growth_class {
    uint32_t kind; /* enum memprof_dump_class_kind */
    uint64_t size;
};

struct growth {
    size_t count, class_count;
    double every;    /* seconds of a round, */
    double distance; /* and between points, at least */
    struct growth_class classes[GROWTH_CLASSES];
    double *times;   /* GROWTH_POINTS */
    double *columns; /* the heap's, then each class's: GROWTH_POINTS each */
};

void growth_begin(struct growth *growth, double every, double distance);
void growth_free(struct growth *growth);
/* All begins anew: it is another heap, or told of by another source. */
void growth_forget(struct growth *growth);

/* In the order of time; one that is too close to the last is left out. */
void growth_add(struct growth *growth, double time, uint64_t live_bytes,
                const struct memprof_dump_class *classes, size_t count);

struct growth_verdict {
    struct trend total;
    enum site_verdict verdict;
    bool by_class;             /* growing, by classes alone: */
    struct growth_class class; /* the one that grows most */
    struct trend part;         /* its trend; the p-value times the number of classes */
    double slope;              /* bytes a second: of the heap, or of the classes that grow */
};
void growth_judge(const struct growth *growth, struct growth_verdict *verdict);

#endif
