#include "analyze/trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/estimate.h"
#include "common.h"

enum { W = TREND_WINDOWS };

/* Twice the logarithm of the likelihood ratio that makes a bend: two numbers more are fitted, one
 * of them the best of many, and 60 straight series in 1000 must not bend. */
#define BEND_LEAST 14.0
/* What of the best bend's likelihood makes another as good: 95 % of chi-square with one degree. */
#define AS_GOOD 3.84

struct window {
    double time, mean, low;
    size_t count;
};

/* A series of at most W, with what was fitted to it. */
struct series {
    size_t count;
    double time[W], value[W]; /* from 0 to 1 over all of it; bytes */
};

struct shape {
    enum trend_bend bend;
    double at; /* of a knot or step, its time; of a decay, tau */
};

struct fit {
    struct shape shape;
    double slope, amount; /* of the shape */
    double rest;          /* sum of squares of what is left */
    double inflation;     /* of the slope's variance, for the shape was fitted too */
};

/* ---- Kendall and Sen ---- */

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

struct trend_kendall trend_kendall(const double *values, size_t count) {
    double n = (double)count;
    struct trend_kendall kendall = {.variance = n * (n - 1) * (2 * n + 5)};
    double *sorted = tool_alloc(count ? count : 1, sizeof *sorted);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = values[i];
        for (size_t k = 0; k < i; k++)
            kendall.s += (values[i] > values[k]) - (values[i] < values[k]);
    }
    qsort(sorted, count, sizeof *sorted, by_value);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && by_value(&sorted[end], &sorted[i]) == 0; end++)
            ;
        double ties = (double)(end - i);
        kendall.variance -= ties * (ties - 1) * (2 * ties + 5);
    }
    kendall.variance /= 18;
    free(sorted);
    return kendall;
}

/* Of sorted values, by ranks from 1 that need not be whole. */
static double at_rank(const double *sorted, size_t count, double rank) {
    double place = fmin(fmax(rank - 1, 0), (double)count - 1);
    size_t below = (size_t)place, above = below + 1 < count ? below + 1 : below;
    double part = place - (double)below;
    return sorted[below] * (1 - part) + sorted[above] * part;
}

struct trend_sen trend_sen(const struct trend_point *points, size_t count, double deviation) {
    double *slopes = tool_alloc(count * count / 2 + 1, sizeof *slopes);
    size_t pairs = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            double time = points[i].time - points[k].time;
            if (time > 0)
                slopes[pairs++] = (points[i].value - points[k].value) / time;
        }
    }
    struct trend_sen sen = {0};
    if (pairs > 0) {
        double n = (double)pairs;
        qsort(slopes, pairs, sizeof *slopes, by_value);
        sen.slope = at_rank(slopes, pairs, (n + 1) / 2);
        sen.low = at_rank(slopes, pairs, (n - deviation) / 2);
        sen.high = at_rank(slopes, pairs, (n + deviation) / 2 + 1);
    }
    free(slopes);
    return sen;
}

double trend_echo(double weight, double partial, size_t count) {
    double n = (double)count, sum = 0, before = 1, now = weight / (1 - partial);
    for (size_t lag = 1; lag + 2 < count; lag++) {
        double k = (double)lag, next = weight * now + partial * before;
        sum += (n - k) * (n - k - 1) * (n - k - 2) * now;
        before = now;
        now = next;
    }
    return count > 2 ? fmax(1 + 2 * sum / (n * (n - 1) * (n - 2)), 1) : 1;
}

/* Two-sided, of a value that is distributed as Student's t: by the normal distribution of what
 * Wallace (1959) makes of it. */
static double two_sided(double t, double freedom) {
    double v = fmax(freedom, 1);
    double z = (8 * v + 1) / (8 * v + 3) * sqrt(v * log1p(t * t / v));
    return erfc(z / M_SQRT2);
}

/* The other way round: how far 95 % go. */
static double student_95(double freedom) {
    double low = 0, high = 100;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        *(two_sided(middle, freedom) > 0.05 ? &low : &high) = middle;
    }
    return low;
}

/* ---- lines that bend ---- */

/* What is added to a straight line: nothing once it has settled. */
static double shape_at(const struct shape *shape, double time) {
    switch (shape->bend) {
    case TREND_KNOT:
        return time < shape->at ? time - shape->at : 0;
    case TREND_STEP:
        return time < shape->at ? -1 : 0;
    case TREND_DECAY:
        return -exp(-time / shape->at);
    case TREND_STRAIGHT:
        break;
    }
    return 0;
}

/* Least squares. */
static struct fit fit_shape(const struct series *series, struct shape shape) {
    double shapes[W], n = (double)series->count, t = 0, s = 0, y = 0;
    double tt = 0, ts = 0, ss = 0, ty = 0, sy = 0, yy = 0;
    for (size_t i = 0; i < series->count; i++) {
        shapes[i] = shape_at(&shape, series->time[i]);
        t += series->time[i] / n;
        s += shapes[i] / n;
        y += series->value[i] / n;
    }
    for (size_t i = 0; i < series->count; i++) {
        double a = series->time[i] - t, b = shapes[i] - s, c = series->value[i] - y;
        tt += a * a;
        ts += a * b;
        ss += b * b;
        ty += a * c;
        sy += b * c;
        yy += c * c;
    }
    struct fit fit = {.shape = shape, .inflation = 1};
    double det = tt * ss - ts * ts;
    if (shape.bend != TREND_STRAIGHT && det > 1e-9 * tt * ss) {
        fit.slope = (ty * ss - sy * ts) / det;
        fit.amount = (sy * tt - ty * ts) / det;
        fit.inflation = tt * ss / det;
    } else {
        fit.slope = ty / tt;
    }
    fit.rest = fmax(yy - fit.slope * ty - fit.amount * sy, 0);
    return fit;
}

/* Of what the fit leaves: how a window follows from the two before it. */
struct echo {
    double weight, partial;
};

/* An AR(2) process swings where its roots are complex, by this angle from one value to the next:
 * thrice at least in all of the series. */
static bool swings(const struct echo *echo, double n) {
    double weight = echo->weight, partial = echo->partial;
    return partial < -0.4 && weight * weight < -4 * partial &&
           acos(weight / 2 / sqrt(-partial)) * n > 2.5 * 2 * M_PI;
}

static struct echo echo_of(const struct series *series, const struct fit *fit) {
    double rest[W], mean = 0, sum = 0, first = 0, second = 0, n = (double)series->count;
    for (size_t i = 0; i < series->count; i++) {
        rest[i] = series->value[i] - fit->slope * series->time[i] -
                  fit->amount * shape_at(&fit->shape, series->time[i]);
        mean += rest[i] / n;
    }
    for (size_t i = 0; i < series->count; i++) {
        rest[i] -= mean;
        sum += rest[i] * rest[i];
        first += i > 0 ? rest[i] * rest[i - 1] : 0;
        second += i > 1 ? rest[i] * rest[i - 2] : 0;
    }
    if (!(sum > 0))
        return (struct echo){0, 0};
    first /= sum;
    second /= sum;
    double partial = (second - first * first) / (1 - first * first);
    struct echo echo = {first * (1 - partial), fmax(partial, -0.98)};
    if (swings(&echo, n))
        return echo;
    /* Taking a line away takes some of the correlation away, by about (2 + 4 r) / n. */
    return (struct echo){fmin(fmax((first + 2 / n) / (1 - 4 / n), 0), 0.98), 0};
}

/* All bends that are tried; the last third is to be after them. */
#define SHAPES 128
static size_t list_shapes(struct shape *shapes) {
    size_t count = 0;
    for (unsigned i = 0; i < 16; i++) {
        double at = 0.05 + 0.04 * i;
        shapes[count++] = (struct shape){TREND_KNOT, at};
        shapes[count++] = (struct shape){TREND_STEP, at};
    }
    for (double tau = 0.02; tau < 0.5; tau *= 1.04)
        shapes[count++] = (struct shape){TREND_DECAY, tau};
    return count;
}

/* ---- what is left after the bend ---- */

struct settled {
    double slope, low, high, p, echo;
    double from;
    bool fading;
};

/* The part after the bend, without what the bend still adds there. */
static size_t after(const struct series *series, const struct fit *fit, struct trend_point *out) {
    bool cut = fit->shape.bend == TREND_KNOT || fit->shape.bend == TREND_STEP;
    size_t count = 0;
    for (size_t i = 0; i < series->count; i++) {
        double time = series->time[i];
        if (!cut || time >= fit->shape.at)
            out[count++] = (struct trend_point){
                time, series->value[i] - fit->amount * shape_at(&fit->shape, time)};
    }
    return count;
}

/* Does the slope of the first half die away in the second? Of a straight line each half has half
 * the windows and a slope's variance is 8 times that of all. */
static bool dies_away(const struct trend_point *points, size_t count, double deviation) {
    size_t half = count / 2;
    if (half < 4)
        return false;
    struct trend_sen first = trend_sen(points, half, 0),
                     second = trend_sen(points + half, count - half, 0);
    return first.slope > 0 && second.slope < 0.6 * first.slope &&
           first.slope - second.slope > 4 * 2 * deviation;
}

/* Of a line of that slope, by what it leaves. */
static double slope_variance(const struct trend_point *points, size_t count, double slope) {
    double n = (double)count, time = 0, value = 0, spread = 0, rest = 0;
    for (size_t i = 0; i < count; i++) {
        time += points[i].time / n;
        value += points[i].value / n;
    }
    for (size_t i = 0; i < count; i++) {
        double away = points[i].time - time, left = points[i].value - value - slope * away;
        spread += away * away;
        rest += left * left;
    }
    return rest / (n - 2) / spread;
}

static struct settled settle(const struct series *series, const struct fit *fit, struct echo echo) {
    struct trend_point points[W];
    double values[W];
    size_t count = after(series, fit, points);
    struct settled settled = {.p = 1, .echo = 1};
    if (count < 4)
        return settled;
    for (size_t i = 0; i < count; i++)
        values[i] = points[i].value;
    struct trend_kendall kendall = trend_kendall(values, count);
    settled.echo = trend_echo(echo.weight, echo.partial, count) * fit->inflation;
    double freedom = fmax((double)count / settled.echo - 2, 2);
    double sigma = sqrt(kendall.variance * settled.echo), t95 = student_95(freedom);
    struct trend_sen sen = trend_sen(points, count, t95 * sigma);
    double error = sqrt(slope_variance(points, count, sen.slope) * settled.echo);
    settled.slope = sen.slope;
    settled.low = sen.slope - t95 * error;
    settled.high = sen.slope + t95 * error;
    settled.from = points[0].time;
    if (sen.high - sen.low < settled.high - settled.low) {
        settled.low = sen.low;
        settled.high = sen.high;
    }
    if (sigma > 0 && fabs(kendall.s) > 1) /* S comes in steps of 2 */
        settled.p = two_sided((fabs(kendall.s) - 1) / sigma, freedom);
    if (error > 0)
        settled.p = fmin(settled.p, two_sided(fabs(sen.slope) / error, freedom));
    settled.fading = dies_away(points, count, (settled.high - settled.low) / 2 / t95);
    return settled;
}

/* The slope of a series, by the straight line or by all bends that fit. */
struct judgement {
    struct fit straight, best;
    struct settled settled;
    double error; /* of the slope, for the choice between summaries */
};

static void widen(struct settled *to, const struct settled *from) {
    to->low = fmin(to->low, from->low);
    to->high = fmax(to->high, from->high);
    to->fading = to->fading || from->fading;
    /* Up by one and down by another: neither. */
    to->p = (to->slope > 0) == (from->slope > 0) ? fmax(to->p, from->p) : 1;
}

/* A quiet series shows the least bend. It is none beside a slope that makes ten times as much. */
static bool matters(const struct fit *bent, const struct fit *straight) {
    double rise = bent->amount * (shape_at(&bent->shape, 1) - shape_at(&bent->shape, 0));
    return fabs(rise) > 0.1 * fabs(straight->slope);
}

static struct judgement judge(const struct series *series) {
    struct shape shapes[SHAPES];
    struct fit fits[SHAPES];
    size_t count = list_shapes(shapes), best = 0;
    struct judgement judgement = {.straight = fit_shape(series, (struct shape){TREND_STRAIGHT, 0})};
    const double n = (double)series->count;
    for (size_t i = 0; i < count; i++) {
        fits[i] = fit_shape(series, shapes[i]);
        if (fits[i].rest < fits[best].rest)
            best = i;
    }
    struct echo echo = echo_of(series, &fits[best]);
    double worth = n / trend_echo(echo.weight, echo.partial, series->count);
    double tiny = 1e-12 * judgement.straight.rest + 1e-9;
    double gain = log((judgement.straight.rest + tiny) / (fits[best].rest + tiny));
    judgement.best = judgement.straight;
    if (worth * gain > BEND_LEAST && matters(&fits[best], &judgement.straight)) {
        judgement.best = fits[best];
        judgement.settled = settle(series, &fits[best], echo);
        for (size_t i = 0; i < count; i++) {
            if (i != best &&
                worth * log((fits[i].rest + tiny) / (fits[best].rest + tiny)) < AS_GOOD) {
                struct settled other = settle(series, &fits[i], echo);
                widen(&judgement.settled, &other);
            }
        }
    } else {
        echo = echo_of(series, &judgement.straight);
        judgement.settled = settle(series, &judgement.straight, echo);
    }
    judgement.error = judgement.best.rest * trend_echo(echo.weight, echo.partial, series->count);
    return judgement;
}

/* ---- windows ---- */

static size_t make_windows(const struct trend_point *points, size_t count, struct window *windows) {
    /* Of a few readings each is a window. */
    size_t wanted = count < W ? count : W, made = 0;
    double first = points[0].time, all = points[count - 1].time - first;
    for (size_t i = 0, number = 0; i < count; i++) {
        size_t here = all > 0 ? (size_t)((points[i].time - first) / all * (double)wanted) : 0;
        if (here >= wanted)
            here = wanted - 1;
        if (i == 0 || here != number)
            windows[made++] = (struct window){.low = points[i].value};
        number = here;
        struct window *window = &windows[made - 1];
        window->count++;
        window->time += points[i].time;
        window->mean += points[i].value;
        window->low = fmin(window->low, points[i].value);
    }
    for (size_t i = 0; i < made; i++) {
        windows[i].time /= (double)windows[i].count;
        windows[i].mean /= (double)windows[i].count;
    }
    return made;
}

static struct series series_of(const struct window *windows, size_t count, double first, double all,
                               bool lows) {
    struct series series = {.count = count};
    for (size_t i = 0; i < count; i++) {
        series.time[i] = (windows[i].time - first) / all;
        series.value[i] = lows ? windows[i].low : windows[i].mean;
    }
    return series;
}

static double median(const struct trend_point *points, size_t count) {
    double *values = tool_alloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = points[i].value;
    qsort(values, count, sizeof *values, by_value);
    double result = at_rank(values, count, ((double)count + 1) / 2);
    free(values);
    return result;
}

/* ---- the verdict ---- */

static enum site_verdict verdict_of(const struct trend *trend, double first) {
    double after = first + trend->seconds - trend->settled, change = trend->slope * after;
    bool certain = trend->p_value < TREND_P_MOST && fabs(change) > TREND_RISE_LEAST;
    bool late = trend->settled - first > trend->seconds / 3;
    if (certain && change < 0)
        return SITE_SHRINKING;
    if (certain && !trend->fading)
        return SITE_GROWING;
    if (certain || (late && trend->rise > TREND_RISE_LEAST))
        return SITE_WARMING;
    double most = fmax(fabs(trend->low), fabs(trend->high)) * after;
    return most <= fmax(0.05 * trend->level, TREND_RISE_LEAST) ? SITE_STEADY : SITE_NOISE;
}

void trend_judge(struct trend *trend, const struct trend_point *points, size_t count) {
    *trend = (struct trend){.points = count, .p_value = 1, .verdict = SITE_NOISE};
    trend->seconds = count ? points[count - 1].time - points[0].time : 0;
    if (count < TREND_POINTS_LEAST || !(trend->seconds > 0))
        return;
    struct window windows[W];
    double first = points[0].time, all = trend->seconds;
    trend->windows = make_windows(points, count, windows);
    trend->enough = true;
    trend->level = median(points, count);
    struct series means = series_of(windows, trend->windows, first, all, false);
    struct judgement judgement = judge(&means);
    if (count > 2 * trend->windows) {
        struct series lows = series_of(windows, trend->windows, first, all, true);
        struct judgement other = judge(&lows);
        if (other.error < 0.6 * judgement.error) {
            judgement = other;
            trend->lows = true;
        }
    }
    const struct settled *settled = &judgement.settled;
    const struct shape *shape = &judgement.best.shape;
    trend->echo = settled->echo;
    trend->slope = settled->slope / all;
    trend->low = settled->low / all;
    trend->high = settled->high / all;
    trend->p_value = settled->p;
    trend->fading = settled->fading;
    trend->bend = shape->bend;
    double at = shape->bend == TREND_DECAY ? fmin(3 * shape->at, 1) : shape->at;
    trend->settled = first + at * all;
    trend->rise = judgement.best.amount * (shape_at(shape, 1) - shape_at(shape, 0));
    trend->verdict = verdict_of(trend, first);
}
