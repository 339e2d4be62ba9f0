/* What samples say about all blocks: estimates, how sure they are, and when a difference is more
 * than chance. Pure arithmetic.
 *
 * A sample that was drawn with probability p has the weight w = 1/p and stands for w blocks of its
 * size s. So sum(w) estimates the objects, sum(w s) the bytes, without bias (Horvitz-Thompson), and
 * sum((w^2 - w) s^2) the variance of the bytes. */
#ifndef ANALYZE_ESTIMATE_H
#define ANALYZE_ESTIMATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The samples of one kind, added up. */
struct pile {
    uint64_t samples;
    double objects;
    double bytes;            /* as requested */
    double objects_variance; /* of the estimate, through sampling */
    double bytes_variance;
    double
        bytes_spread;  /* sum(w^2 s^2): the variance if the blocks themselves come by chance too */
    double seen_bytes; /* of the samples alone: there are at least these */
};

void pile_add(struct pile *pile, double weight, double size);
void pile_join(struct pile *pile, const struct pile *other);

/* Totals of `samples` samples that are known by their sums only, taken to be alike. */
struct pile pile_of_totals(uint64_t samples, double objects, double bytes);

struct interval {
    double low, high;
};

/* How many standard deviations hold this much of a normal distribution, in its middle. */
double estimate_z(double confidence);

/* The interval around one estimate: the score interval of a Poisson count of k = e^2/v, scaled. It
 * is exact where the variance is 0, and never falls below what was seen. */
struct interval estimate_interval(double estimate, double variance, double seen, double z);
struct interval estimate_bytes(const struct pile *pile, double z);
struct interval estimate_objects(const struct pile *pile, double z);

/* The interval around came - went, from the intervals of both (MOVER). */
struct interval estimate_difference(const struct pile *came, const struct pile *went, double z);

/* How likely blocks that come and go evenly are to differ by as much: two-sided, from the effective
 * counts. `least` is the smallest value that as many could give at all. */
double estimate_p_value(const struct pile *came, const struct pile *went, double *least);

/* The chance that at least `most` of `most + least` coins fall on the side on which each falls with
 * this chance. The counts need not be whole. */
double estimate_tail(double most, double least, double chance);

/* Benjamini-Hochberg: marks those of `count` p-values that are discoveries when at most the share
 * `rate` of discoveries may be false; how many there are. */
size_t estimate_discoveries(const double *p_values, size_t count, double rate, bool *found);

#endif
