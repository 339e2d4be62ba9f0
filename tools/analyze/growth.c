#include "analyze/growth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

void growth_begin(struct growth *growth, double every, double distance) {
    *growth = (struct growth){
        .every = every,
        .distance = distance,
        .times = tool_alloc(GROWTH_POINTS, sizeof(double)),
        .columns = tool_alloc((GROWTH_CLASSES + 1) * (size_t)GROWTH_POINTS, sizeof(double)),
    };
}

void growth_free(struct growth *growth) {
    free(growth->times);
    free(growth->columns);
    *growth = (struct growth){0};
}

void growth_forget(struct growth *growth) {
    memset(growth->columns, 0, (GROWTH_CLASSES + 1) * (size_t)GROWTH_POINTS * sizeof(double));
    growth->count = growth->class_count = 0;
}

static double *column(const struct growth *growth, size_t number) {
    return growth->columns + number * GROWTH_POINTS;
}

/* Of the class, from 1; 0: there is no room for another. What it had before it was first seen is
 * zero, as it is in a new column. */
static size_t column_of(struct growth *growth, const struct memprof_dump_class *class) {
    for (size_t i = 0; i < growth->class_count; i++) {
        if (growth->classes[i].size == class->size && growth->classes[i].kind == class->kind)
            return i + 1;
    }
    if (growth->class_count == GROWTH_CLASSES)
        return 0;
    growth->classes[growth->class_count++] = (struct growth_class){class->kind, class->size};
    return growth->class_count;
}

static void thin_out(struct growth *growth) {
    size_t kept = growth->count / 2;
    for (size_t i = 0; i < kept; i++)
        growth->times[i] = growth->times[2 * i];
    for (size_t c = 0; c <= growth->class_count; c++) {
        double *values = column(growth, c);
        for (size_t i = 0; i < kept; i++)
            values[i] = values[2 * i];
        memset(values + kept, 0, (GROWTH_POINTS - kept) * sizeof *values);
    }
    growth->count = kept;
    growth->distance *= 2;
}

void growth_add(struct growth *growth, double time, uint64_t live_bytes,
                const struct memprof_dump_class *classes, size_t count) {
    /* Clocks and sleeps are a little off. */
    if (growth->count > 0 && time < growth->times[growth->count - 1] + 0.9 * growth->distance)
        return;
    if (growth->count == GROWTH_POINTS)
        thin_out(growth);
    size_t at = growth->count++;
    growth->times[at] = time;
    column(growth, 0)[at] = (double)live_bytes;
    for (size_t i = 0; i < count; i++) {
        size_t number = classes[i].live_bytes ? column_of(growth, &classes[i]) : 0;
        if (number)
            column(growth, number)[at] += (double)classes[i].live_bytes;
    }
}

/* ---- the verdict ---- */

/* Whether it is worth a look: its correlation with time, as if there were no echo. Most classes are
 * not, and there are many. */
static bool leans(const struct trend_point *points, size_t count) {
    double n = (double)count, time = 0, value = 0, tt = 0, tv = 0, vv = 0;
    for (size_t i = 0; i < count; i++) {
        time += points[i].time / n;
        value += points[i].value / n;
    }
    for (size_t i = 0; i < count; i++) {
        double a = points[i].time - time, b = points[i].value - value;
        tt += a * a;
        tv += a * b;
        vv += b * b;
    }
    return tv * tv * n > 9 * tt * vv;
}

/* Of one column; false: nothing has ever changed in it. */
static bool judge(const struct growth *growth, size_t number, struct trend_point *points,
                  struct trend *trend) {
    const double *values = column(growth, number);
    bool changes = false;
    for (size_t i = 0; i < growth->count; i++) {
        points[i] = (struct trend_point){growth->times[i], values[i]};
        changes = changes || fabs(values[i] - values[0]) > 0;
    }
    if (number == 0 || (changes && leans(points, growth->count)))
        trend_judge(trend, points, growth->count);
    else
        *trend = (struct trend){.p_value = 1, .verdict = SITE_NOISE};
    return changes;
}

struct classes_trend {
    size_t changing, best;
    double gains, losses; /* bytes a second */
};

static struct classes_trend judge_classes(const struct growth *growth, struct trend_point *points,
                                          struct trend *trends) {
    struct classes_trend all = {0};
    bool changes[GROWTH_CLASSES + 1];
    for (size_t c = 1; c <= growth->class_count; c++) {
        changes[c] = judge(growth, c, points, &trends[c]);
        all.changing += changes[c];
    }
    for (size_t c = 1; c <= growth->class_count; c++) {
        struct trend *trend = &trends[c];
        if (!changes[c])
            continue;
        /* Here it is the other error that counts: to take a move for growth. */
        if (trend->slope < 0 && trend->p_value < 0.05)
            all.losses -= trend->slope;
        trend->p_value = fmin(1, trend->p_value * (double)all.changing);
        if (trend->verdict != SITE_GROWING || trend->p_value >= GROWTH_CLASS_P_MOST)
            continue;
        all.gains += trend->slope;
        if (!all.best || trend->slope > trends[all.best].slope)
            all.best = c;
    }
    return all;
}

/* Rounds begin a little late. */
static bool lasts(const struct growth *growth, unsigned rounds) {
    return growth->count > 0 &&
           growth->times[growth->count - 1] - growth->times[0] > (rounds - 0.5) * growth->every;
}

void growth_judge(const struct growth *growth, struct growth_verdict *verdict) {
    struct trend_point *points = tool_alloc(GROWTH_POINTS, sizeof *points);
    struct trend *trends = tool_alloc(GROWTH_CLASSES + 1, sizeof *trends);
    *verdict = (struct growth_verdict){.total.verdict = SITE_NOISE};
    if (lasts(growth, GROWTH_ROUNDS - 1))
        judge(growth, 0, points, &verdict->total);
    verdict->verdict = verdict->total.verdict;
    verdict->slope = verdict->total.slope;
    if (verdict->total.enough && lasts(growth, GROWTH_CLASS_ROUNDS) &&
        (verdict->verdict == SITE_STEADY || verdict->verdict == SITE_NOISE)) {
        struct classes_trend all = judge_classes(growth, points, trends);
        const struct trend *total = &verdict->total;
        if (all.best && all.losses < all.gains / 2 && total->high > all.gains / 2 &&
            all.gains > (total->high - total->low) / 2 * GROWTH_CLASS_SHARE) {
            verdict->verdict = SITE_GROWING;
            verdict->by_class = true;
            verdict->class = growth->classes[all.best - 1];
            verdict->part = trends[all.best];
            verdict->slope = all.gains;
        }
    }
    free(points);
    free(trends);
}
