/* Does a series grow for good? What a series of readings of memory says of its slope: whether there
 * is one beyond chance, how large it is, and whether it lasts or was a warm-up. Pure arithmetic.
 *
 * What is hard about it is what memory looks like. A working set goes up and down by far more than
 * a leak adds in a minute, and each reading is like the last: sixty readings that hang together
 * tell as much as ten that do not. And nearly every program grows at first. So:
 *
 *   windows    The readings are put into WINDOWS windows of equal time, of each its mean and its
 *              lowest reading. Where memory is a floor with bursts on top the lowest are the far
 *              quieter series, where it swings both ways the means are: that is judged which lets
 *              the slope be known better, by what is left when the slope is taken away, and so
 *              without regard to the slope itself.
 *   bend       Is one straight line enough, by the likelihood ratio? If not, one that bends: at a
 *              moment, in a step, or as an approach to a plateau, exp(-t/tau). What counts is the
 *              slope that is left after the bend, and that for every bend that fits about as well
 *              as the best: where it shall be depends on chance.
 *   slope      Theil and Sen's: the median of the slopes of all pairs, which one window in four may
 *              miss by any amount. Its interval is Sen's, from the variance of Kendall's S.
 *   test       Mann and Kendall's: S counts the pairs that go up, less those that go down; ties
 *              lessen its variance.
 *   echo       Both take readings for independent. The variance of S is multiplied by how much less
 *              the windows tell, after Hamed and Rao (1998), with the autocorrelations of an AR(1)
 *              process: single lags of so short a series are mostly chance. That of the residuals
 *              is raised by what detrending has lowered it by. Few independent windows make for
 *              Student's distribution instead of the normal one.
 *
 * What it achieves (tests/unit/test_trend.c makes such series): of 50 with 64 KiB a second leaked
 * under a working set that swings by a standard deviation of 0.5 to 2 MiB, or with a warm-up that
 * comes to its plateau, polled for 60 s, 0.7 are judged wrongly on average (of 1000 series 14). Of
 * series that swing and do nothing else 1 % are called growing. What it cannot do is to find a
 * slope that is small beside what so many independent windows leave of the noise: with a deviation
 * of 1.5 MiB that hangs together for 2 s only four of ten such leaks show in the sum in 60 s, and
 * for 5 s two; there growth.h looks at the size classes, and more time helps most (its error falls
 * with the power of 1.5). */
#ifndef ANALYZE_TREND_H
#define ANALYZE_TREND_H

#include <stdbool.h>
#include <stddef.h>

#include "analyze/sites.h"

struct trend_point {
    double time;  /* seconds */
    double value; /* bytes */
};

#define TREND_WINDOWS 60
/* With fewer there is no verdict. */
#define TREND_POINTS_LEAST 8

/* Below it is called growth: the chance that what does not grow looks as if it did. */
#define TREND_P_MOST 0.01
/* A rise by less than this, in bytes, is none, however regular. */
#define TREND_RISE_LEAST 4096.0

enum trend_bend { TREND_STRAIGHT, TREND_KNOT, TREND_STEP, TREND_DECAY };

struct trend {
    size_t points, windows;
    double seconds;   /* from the first to the last */
    bool enough;      /* or there are too few to say anything: all below is zero */
    bool lows;        /* judged by the lowest readings */
    double echo;      /* by what the variance was multiplied: 1 for independent windows */
    double level;     /* the median reading */
    double slope;     /* bytes a second, after the bend */
    double low, high; /* its interval, at 95 % */
    double p_value;   /* two-sided: that a series without a slope has as much of one */
    enum trend_bend bend;
    double settled; /* time of the bend, or of a decay, when 5 % are left; else the first point's */
    double rise;    /* bytes that it rose by the bend, beside the slope that is left */
    bool fading;    /* the slope after the bend is itself dying away */
    enum site_verdict verdict;
};

/* Points in the order of time. */
void trend_judge(struct trend *trend, const struct trend_point *points, size_t count);

/* The parts, for their tests. Values equally far apart, or in the order of time. */
struct trend_kendall {
    double s, variance; /* with ties, without autocorrelation */
};
struct trend_kendall trend_kendall(const double *values, size_t count);

/* Median of the slopes of all pairs, and the slopes at the ranks that `deviation` (a multiple of
 * S's standard deviation) cuts off. */
struct trend_sen {
    double slope, low, high;
};
struct trend_sen trend_sen(const struct trend_point *points, size_t count, double deviation);

/* The factor on the variance of S where each value follows from the two before it, by so much. */
double trend_echo(double weight, double partial, size_t count);

#endif
