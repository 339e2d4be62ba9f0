#include "analyze/estimate.h"

#include <math.h>
#include <stdlib.h>

#include "common.h"

void pile_add(struct pile *pile, double weight, double size) {
    double extra = weight * weight - weight;
    pile->samples++;
    pile->objects += weight;
    pile->bytes += weight * size;
    pile->objects_variance += extra;
    pile->bytes_variance += extra * size * size;
    pile->bytes_spread += weight * weight * size * size;
    pile->seen_bytes += size;
}

void pile_join(struct pile *pile, const struct pile *other) {
    pile->samples += other->samples;
    pile->objects += other->objects;
    pile->bytes += other->bytes;
    pile->objects_variance += other->objects_variance;
    pile->bytes_variance += other->bytes_variance;
    pile->bytes_spread += other->bytes_spread;
    pile->seen_bytes += other->seen_bytes;
}

struct pile pile_of_totals(uint64_t samples, double objects, double bytes) {
    struct pile pile = {.samples = samples, .objects = objects, .bytes = bytes};
    if (samples == 0 || objects <= 0)
        return pile;
    double n = (double)samples, weight = fmax(objects / n, 1);
    pile.objects_variance = n * (weight * weight - weight);
    pile.bytes_spread = bytes * bytes / n;
    pile.bytes_variance = pile.bytes_spread * (1 - 1 / weight);
    pile.seen_bytes = bytes / weight;
    return pile;
}

double estimate_z(double confidence) {
    double low = 0, high = 40, outside = 1 - confidence;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (erfc(middle / M_SQRT2) > outside)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

struct interval estimate_interval(double estimate, double variance, double seen, double z) {
    if (!(variance > 0) || !(estimate > 0))
        return (struct interval){estimate, estimate};
    double k = estimate * estimate / variance, unit = variance / estimate;
    double middle = k + z * z / 2, half = z * sqrt(k + z * z / 4);
    return (struct interval){
        .low = fmin(fmax((middle - half) * unit, seen), estimate),
        .high = (middle + half) * unit,
    };
}

struct interval estimate_bytes(const struct pile *pile, double z) {
    return estimate_interval(pile->bytes, pile->bytes_variance, pile->seen_bytes, z);
}

struct interval estimate_objects(const struct pile *pile, double z) {
    return estimate_interval(pile->objects, pile->objects_variance, (double)pile->samples, z);
}

/* A side without samples may still have had blocks, all of them missed. They would have been like
 * those of the other side, so its variance per byte is the unit in which they are counted, and the
 * score interval of a count of 0 reaches up to z^2. Taking 0 for certain instead would put every
 * site that was sampled once, on one side, above zero: churn that is sampled rarely does just that.
 * Five samples against none lie above zero at 95 %, as the sign test says too (nearly). Where all
 * blocks are sampled, the variance is 0, and so is this. */
static struct interval side(const struct pile *pile, const struct pile *other, double z) {
    if (pile->samples > 0 || !(other->bytes > 0))
        return estimate_bytes(pile, z);
    return (struct interval){0, z * z * other->bytes_variance / other->bytes};
}

struct interval estimate_difference(const struct pile *came, const struct pile *went, double z) {
    struct interval a = side(came, went, z), b = side(went, came, z);
    double difference = came->bytes - went->bytes;
    return (struct interval){
        .low = difference - hypot(came->bytes - a.low, b.high - went->bytes),
        .high = difference + hypot(a.high - came->bytes, went->bytes - b.low),
    };
}

/* ---- the test ---- */

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double result = d;
    for (int m = 1; m < 100000; m++) {
        for (int odd = 0; odd < 2; odd++) {
            double factor = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + factor * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + factor / c;
            c = fabs(c) < tiny ? tiny : c;
            result *= c * d;
        }
        if (fabs(c * d - 1) < 1e-14)
            break;
    }
    return result;
}

/* This is I(chance; most, least + 1), the incomplete beta function. */
double estimate_tail(double most, double least, double chance) {
    double a = most, b = least + 1, n = most + least;
    if (!(most > 0))
        return 1;
    /* Here the normal distribution is as good, and the fraction's many terms are not needed. */
    if (n > 1e6)
        return erfc((most - n * chance) / sqrt(2 * n * chance * (1 - chance))) / 2;
    double front =
        exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(chance) + b * log1p(-chance));
    if (chance < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, chance) / a;
    return 1 - front * beta_fraction(b, a, 1 - chance) / b;
}

/* If blocks come as they go, each of those that differ is as likely to be on either side: the
 * difference is a series of fair coins, whether all blocks were sampled or few. Hence the spread,
 * which counts the chance of coming and going besides that of being sampled: with every block
 * sampled a difference is certain, and still no sign of growth if it is small beside the churn.
 * Samples that differ in what they stand for count as fewer that are alike. */
double estimate_p_value(const struct pile *came, const struct pile *went, double *least) {
    double bytes = came->bytes + went->bytes, spread = came->bytes_spread + went->bytes_spread;
    *least = 1;
    if (!(bytes > 0) || !(spread > 0))
        return 1;
    double unit = spread / bytes, a = came->bytes / unit, b = went->bytes / unit;
    *least = fmin(1, 2 * exp((a + b) * log(0.5)));
    return fmin(1, 2 * estimate_tail(fmax(a, b), fmin(a, b), 0.5));
}

struct ranked {
    double p;
    size_t number;
};

static int by_p(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    return x->p < y->p ? -1 : x->p > y->p;
}

size_t estimate_discoveries(const double *p_values, size_t count, double rate, bool *found) {
    struct ranked *order = tool_alloc(count, sizeof *order);
    size_t last = 0;
    for (size_t i = 0; i < count; i++) {
        order[i] = (struct ranked){p_values[i], i};
        found[i] = false;
    }
    qsort(order, count, sizeof *order, by_p);
    for (size_t i = 0; i < count; i++) {
        if (order[i].p <= rate * (double)(i + 1) / (double)count)
            last = i + 1;
    }
    for (size_t i = 0; i < last; i++)
        found[order[i].number] = true;
    free(order);
    return last;
}
