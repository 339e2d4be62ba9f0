/* What a series says of its slope: Kendall's and Sen's figures against some computed by hand, and
 * verdicts of series that were made with a leak in them, a warm-up, or neither. Beside them what is
 * asked of a verdict (--fail-on). */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analyze/fail_on.h"
#include "analyze/growth.h"
#include "analyze/trend.h"
#include "common.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define near(a, b, tolerance)                                                                      \
    ck_assert_msg(fabs((a) - (b)) <= (tolerance), "%s is %.9g, not %.9g", #a, (double)(a),         \
                  (double)(b))
#define MIB 1048576.0

/* ---- the parts ---- */

START_TEST(test_kendall) {
    /* Pairs up: 1-2 1-3 1-2 2-3 1-3, down: 3-2; the two 2s are a tie. */
    static const double values[] = {1, 2, 3, 2};
    struct trend_kendall kendall = trend_kendall(values, COUNT(values));
    near(kendall.s, 4 - 1, 0);
    near(kendall.variance, (4 * 3 * 13 - 2 * 1 * 9) / 18.0, 1e-12);
    static const double same[] = {7, 7, 7, 7, 7};
    kendall = trend_kendall(same, COUNT(same));
    near(kendall.s, 0, 0);
    near(kendall.variance, 0, 1e-12);
    static const double up[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    kendall = trend_kendall(up, COUNT(up));
    near(kendall.s, 45, 0);
    near(kendall.variance, 125, 1e-12); /* 10 9 25 / 18 */
}
END_TEST

START_TEST(test_sen) {
    /* Slopes of the pairs: 1 (0-1), 2 (0-2), 8 (0-4), 3 (1-2), 31/3 (1-4), 14 (2-4). */
    static const struct trend_point points[] = {{0, 0}, {1, 1}, {2, 4}, {4, 32}};
    struct trend_sen sen = trend_sen(points, COUNT(points), 0);
    near(sen.slope, 5.5, 1e-12); /* between 3 and 8 */
    /* Ranks (6 - 2) / 2 = 2 and (6 + 2) / 2 + 1 = 5. */
    sen = trend_sen(points, COUNT(points), 2);
    near(sen.low, 2, 1e-12);
    near(sen.high, 31.0 / 3, 1e-12);
    /* Beyond the last there is none. */
    sen = trend_sen(points, COUNT(points), 100);
    near(sen.low, 1, 1e-12);
    near(sen.high, 14, 1e-12);
    /* Two of eight that are far off change nothing. */
    struct trend_point line[8];
    for (int i = 0; i < 8; i++)
        line[i] = (struct trend_point){i, i == 2 || i == 5 ? 1e9 : 3 * i + 1};
    near(trend_sen(line, 8, 0).slope, 3, 1e-9);
}
END_TEST

START_TEST(test_echo) {
    near(trend_echo(0, 0, 50), 1, 0);
    /* n = 4, lags 1 and no other: 1 + 2 / (4 3 2) (3 2 1) 0.5 */
    near(trend_echo(0.5, 0, 4), 1.25, 1e-12);
    /* n = 5, lags 1 and 2: 1 + 2 / 60 (4 3 2 0.5 + 3 2 1 0.25) */
    near(trend_echo(0.5, 0, 5), 1.45, 1e-12);
    /* A long series: (1 + r) / (1 - r) */
    near(trend_echo(0.5, 0, 100000), 3, 0.001);
    /* What swings cancels out, and is never taken for better than independent. */
    near(trend_echo(1.2, -0.9, 60), 1, 0);
}
END_TEST

/* ---- series ---- */

static double uniform(uint64_t *state) {
    return ((double)(unit_random(state) >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t *state) {
    return sqrt(-2 * log(uniform(state))) * cos(2 * M_PI * uniform(state));
}

/* What goes up and down. */
enum swing {
    DRIFTS, /* like the last second: an Ornstein-Uhlenbeck process */
    BURSTS, /* a floor, and work on top of it */
    SAWS,   /* fills and is emptied, as by a collector of garbage */
    WAVES,
};

struct made {
    enum swing swing;
    double deviation, lasts; /* bytes, seconds */
    double every, seconds;
    double leak;        /* bytes a second */
    double warm, fills; /* bytes, seconds */
    bool linear;        /* it fills evenly, and then no more */
    double drift, busy, height, begun;
};

static double swing(struct made *made, double time, uint64_t *state) {
    double stays = exp(-made->every / made->lasts), period = 3 * made->lasts;
    switch (made->swing) {
    case DRIFTS:
        if (time <= 0)
            made->drift = normal(state);
        made->drift = stays * made->drift + sqrt(1 - stays * stays) * normal(state);
        return made->deviation * made->drift;
    case BURSTS:
        made->busy -= made->every;
        if (made->busy <= 0 && uniform(state) < made->every / made->lasts) {
            made->busy = -log(uniform(state)) * made->lasts / 2;
            made->height = fabs(normal(state));
        }
        return made->busy > 0 ? 2 * made->deviation * made->height : 0;
    case SAWS:
        return made->deviation * sqrt(12) * (fmod(time + made->begun, period) / period - 0.5);
    case WAVES:
        return made->deviation * M_SQRT2 * sin(2 * M_PI * (time + made->begun) / period);
    }
    return 0;
}

/* On 50 MiB, and with 10 KiB of noise that is nobody's. */
static size_t make(struct made made, uint64_t seed, struct trend_point *points) {
    uint64_t state = seed * 7919;
    size_t count = 0;
    made.begun = 100 * uniform(&state);
    for (double time = 0; time <= made.seconds + 1e-9; time += made.every) {
        double value = 50 * MIB + swing(&made, time, &state) + 10240 * normal(&state);
        double filled = made.linear ? fmin(1, time / made.fills) : 1 - exp(-time / made.fills);
        if (made.warm > 0)
            value += made.warm * filled;
        points[count++] = (struct trend_point){time, value + made.leak * time};
    }
    return count;
}

static struct trend judge(const struct made *made, uint64_t seed) {
    static struct trend_point points[2000];
    struct trend trend;
    trend_judge(&trend, points, make(*made, seed, points));
    return trend;
}

/* What is to be told apart: 64 KiB a second in a minute, read ten times a second, against warm-ups
 * that come to their plateau in the minute. */
enum { REPLAYED = 50 };

static struct made replayed(unsigned number) {
    static const struct made swings[] = {
        {.swing = DRIFTS, .deviation = 1.0 * MIB, .lasts = 1},
        {.swing = DRIFTS, .deviation = 1.5 * MIB, .lasts = 0.3},
        {.swing = BURSTS, .deviation = 2 * MIB, .lasts = 2},
        {.swing = SAWS, .deviation = 1.5 * MIB, .lasts = 1},
        {.swing = WAVES, .deviation = 2 * MIB, .lasts = 1.5},
    };
    struct made made = swings[number / 2 % COUNT(swings)];
    made.every = 0.1;
    made.seconds = 60;
    if (number % 2 == 0) {
        made.leak = 65536;
    } else {
        made.warm = (10 + number) * MIB / 2;
        made.linear = number % 4 == 1;
        made.fills = made.linear ? 5 + number / 2.0 : 2 + number / 8.0;
    }
    return made;
}

START_TEST(test_replayed_series) {
    unsigned wrong = 0, turns = unit_full() ? 20 : 1, most = 0;
    for (unsigned turn = 0; turn < turns; turn++) {
        unsigned now = 0;
        for (unsigned number = 0; number < REPLAYED; number++) {
            struct made made = replayed(number);
            struct trend trend = judge(&made, 1 + turn * REPLAYED + number);
            bool bad = (trend.verdict == SITE_GROWING) != (made.leak > 0);
            now += bad;
            if (bad && turn == 0)
                fprintf(stderr, "series %u: %s, %.0f (%.0f to %.0f) bytes a second, p %.3g\n",
                        number, site_verdict_name(trend.verdict), trend.slope, trend.low,
                        trend.high, trend.p_value);
        }
        wrong += now;
        most = now > most ? now : most;
    }
    fprintf(stderr, "%u of %u series judged wrongly, at most %u of %d\n", wrong, turns * REPLAYED,
            most, REPLAYED);
    ck_assert_msg(wrong <= turns, "%u of %u series judged wrongly", wrong, turns * REPLAYED);
}
END_TEST

/* Of series without a slope few have one, however they swing, and the interval covers the truth. */
START_TEST(test_noise_is_no_growth) {
    static const double lasts[] = {0.3, 1, 3};
    unsigned turns = unit_full() ? 1000 : 150;
    for (size_t i = 0; i < COUNT(lasts); i++) {
        struct made made = {
            .swing = DRIFTS, .deviation = 2 * MIB, .lasts = lasts[i], .every = 0.1, .seconds = 60};
        unsigned growing = 0, covered = 0;
        for (unsigned turn = 0; turn < turns; turn++) {
            struct trend trend = judge(&made, 1000 + turn);
            growing += trend.verdict == SITE_GROWING;
            covered += trend.low <= 0 && trend.high >= 0;
        }
        ck_assert_msg(growing <= 0.03 * turns, "%g s: %u of %u grow", lasts[i], growing, turns);
        ck_assert_msg(covered >= 0.9 * turns, "%g s: %u of %u covered", lasts[i], covered, turns);
    }
}
END_TEST

START_TEST(test_slope_is_right) {
    struct made made = {.swing = DRIFTS,
                        .deviation = 0.5 * MIB,
                        .lasts = 1,
                        .every = 0.1,
                        .seconds = 120,
                        .leak = 65536};
    double slope = 0;
    unsigned covered = 0;
    for (unsigned turn = 0; turn < 50; turn++) {
        struct trend trend = judge(&made, 50 + turn);
        slope += trend.slope / 50;
        covered += trend.low <= made.leak && made.leak <= trend.high;
    }
    near(slope, 65536, 1500);
    ck_assert_uint_ge(covered, 43);
}
END_TEST

/* One shape, as it goes on: it warms up, and then it is steady. */
START_TEST(test_warm_up_ends) {
    struct made made = {.swing = DRIFTS,
                        .deviation = 0.2 * MIB,
                        .lasts = 0.5,
                        .every = 0.5,
                        .warm = 30 * MIB,
                        .fills = 8};
    made.seconds = 40;
    struct trend trend = judge(&made, 3);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "warming");
    ck_assert_int_ne(trend.bend, TREND_STRAIGHT);
    near(trend.rise, 30 * MIB, 6 * MIB);
    made.seconds = 300;
    trend = judge(&made, 3);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "steady");
    /* A leak that went on below it. */
    made.leak = 65536;
    trend = judge(&made, 3);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "growing");
    near(trend.slope, 65536, 8000);
}
END_TEST

START_TEST(test_plain_series) {
    struct trend_point points[100];
    struct trend trend;
    for (int i = 0; i < 100; i++)
        points[i] = (struct trend_point){i, 1 << 20};
    trend_judge(&trend, points, 100);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "steady");
    near(trend.slope, 0, 0);
    near(trend.p_value, 1, 0);
    for (int i = 0; i < 100; i++)
        points[i].value = 1000 * i;
    trend_judge(&trend, points, 100);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "growing");
    near(trend.slope, 1000, 1e-6);
    near(trend.low, 1000, 1e-6);
    near(trend.high, 1000, 1e-6);
    for (int i = 0; i < 100; i++)
        points[i].value = 1e6 - 1000 * i;
    trend_judge(&trend, points, 100);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "shrinking");
    /* By a byte a second: less than a page is nothing. */
    for (int i = 0; i < 100; i++)
        points[i].value = i;
    trend_judge(&trend, points, 100);
    ck_assert_str_eq(site_verdict_name(trend.verdict), "steady");
    /* A step is no slope, at whatever time it was. */
    for (int at = 10; at < 70; at += 10) {
        for (int i = 0; i < 100; i++)
            points[i].value = i < at ? 0 : 10 * MIB;
        trend_judge(&trend, points, 100);
        ck_assert_msg(trend.verdict == SITE_WARMING || trend.verdict == SITE_STEADY,
                      "step at %d: %s", at, site_verdict_name(trend.verdict));
    }
    /* Too few, or all at once. */
    for (size_t count = 0; count < TREND_POINTS_LEAST; count++) {
        trend_judge(&trend, points, count);
        ck_assert(!trend.enough);
        ck_assert_str_eq(site_verdict_name(trend.verdict), "noise");
    }
    for (int i = 0; i < 100; i++)
        points[i].time = 5;
    trend_judge(&trend, points, 100);
    ck_assert(!trend.enough);
}
END_TEST

/* ---- the heap and its classes ---- */

enum { CLASSES = 20, LEAKING = 7 };

/* Each class drifts; one of them leaks, and one loses what that gains, if it does. */
static enum site_verdict judge_heap(uint64_t seed, double leak, double loss, bool *by_class) {
    struct growth growth;
    struct growth_verdict verdict;
    uint64_t state = seed * 104729;
    double levels[CLASSES], stays = exp(-0.1 / 2);
    growth_begin(&growth, 1, 0.1);
    for (int c = 0; c < CLASSES; c++)
        levels[c] = normal(&state);
    for (double time = 0; time <= 60; time += 0.1) {
        struct memprof_dump_class classes[CLASSES] = {0};
        uint64_t live = 0;
        for (uint64_t c = 0; c < CLASSES; c++) {
            levels[c] = stays * levels[c] + sqrt(1 - stays * stays) * normal(&state);
            double bytes = (6 + 0.3 * levels[c]) * MIB;
            bytes += c == LEAKING ? leak * time : c == LEAKING + 1 ? -loss * time : 0;
            classes[c] = (struct memprof_dump_class){.size = 16 * (c + 1),
                                                     .live_bytes = (uint64_t)fmax(bytes, 0)};
            live += classes[c].live_bytes;
        }
        growth_add(&growth, time, live, classes, CLASSES);
    }
    growth_judge(&growth, &verdict);
    growth_free(&growth);
    *by_class = verdict.by_class;
    return verdict.verdict;
}

START_TEST(test_classes) {
    unsigned found = 0, by_classes = 0, wrong = 0, moved = 0;
    bool by_class;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        found += judge_heap(seed, 65536, 0, &by_class) == SITE_GROWING;
        by_classes += by_class;
        wrong += judge_heap(seed + 100, 0, 0, &by_class) == SITE_GROWING;
        moved += judge_heap(seed + 200, 65536, 65536, &by_class) == SITE_GROWING;
    }
    /* Of 300 each: 252, of these 122 by classes alone; 3; 9. The noise of all is 1.3 MiB, alike for
     * two seconds: by the sum alone fewer than half are found. */
    ck_assert_msg(found >= 21, "%u of 30 leaks, %u by classes", found, by_classes);
    ck_assert_uint_ge(by_classes, 6);
    ck_assert_uint_le(wrong, 1);
    ck_assert_uint_le(moved, 3);
}
END_TEST

START_TEST(test_points_thin_out) {
    struct growth growth;
    growth_begin(&growth, 1, 0.1);
    for (int i = 0; i < 10000; i++) {
        const struct memprof_dump_class class = {.size = i < 100 ? 16 : 32, .live_bytes = 64};
        growth_add(&growth, i * 0.1, (uint64_t)i, &class, 1);
        ck_assert_uint_le(growth.count, GROWTH_POINTS);
    }
    ck_assert_uint_ge(growth.count, GROWTH_POINTS / 2);
    near(growth.times[0], 0, 0);
    near(growth.times[growth.count - 1], 1000, 2 * growth.distance);
    for (size_t i = 0; i < growth.count; i++) {
        near(growth.columns[i], growth.times[i] * 10, 0.01);
        near(growth.columns[GROWTH_POINTS + i], growth.times[i] < 9.95 ? 64 : 0, 0);
        near(growth.columns[2 * GROWTH_POINTS + i], growth.times[i] < 9.95 ? 0 : 64, 0);
    }
    growth_forget(&growth);
    struct growth_verdict verdict;
    growth_judge(&growth, &verdict);
    ck_assert(!verdict.total.enough);
    growth_free(&growth);
}
END_TEST

/* ---- --fail-on ---- */

START_TEST(test_fail_on) {
    static const struct fail_on_name names[] = {
        {"growth", FAIL_ON_AMOUNT | FAIL_ON_RATE},
        {"leaked", FAIL_ON_AMOUNT},
        {"rss", FAIL_ON_AMOUNT | FAIL_ON_PERCENT},
    };
    static const struct fail_on_rules rules = {names, COUNT(names), "it is growth>1m/h"};
    static const struct {
        const char *text;
        int name; /* -1: it is refused */
        enum fail_on_form form;
        double limit;
    } cases[] = {
        {"growth>1m", 0, FAIL_ON_AMOUNT, MIB},
        {"growth>1m/h", 0, FAIL_ON_RATE, MIB / 3600},
        {"growth>6k/m", 0, FAIL_ON_RATE, 102.4},
        {"growth>5/s", 0, FAIL_ON_RATE, 5},
        {"growth>0/d", 0, FAIL_ON_RATE, 0},
        {"leaked>0", 1, FAIL_ON_AMOUNT, 0},
        {"rss>10%", 2, FAIL_ON_PERCENT, 10},
        {"rss>0.5%", 2, FAIL_ON_PERCENT, 0.5},
        {"rss>2g", 2, FAIL_ON_AMOUNT, 2048 * MIB},
        {.text = "", .name = -1},
        {.text = "growth", .name = -1},
        {.text = "growth>", .name = -1},
        {.text = ">1m", .name = -1},
        {.text = "growth>1m/", .name = -1},
        {.text = "growth>1m/w", .name = -1},
        {.text = "growth>1m/h/h", .name = -1},
        {.text = "growth>1x", .name = -1},
        {.text = "growth>-1", .name = -1},
        {.text = "growth>10%", .name = -1},
        {.text = "leaked>1/h", .name = -1},
        {.text = "rss>%", .name = -1},
        {.text = "rss>1e3%", .name = -1},
        {.text = "rss>.5%", .name = -1},
        {.text = "rss>1.2.3%", .name = -1},
        {.text = "rss>nan%", .name = -1},
        {.text = "grow>1", .name = -1},
        {.text = "growths>1", .name = -1},
        {.text = "growth>1 m", .name = -1},
        {.text = "growth>00000000000000000000000000000000000000000000000000000000000000001",
         .name = -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fail_on fail_on;
        struct tool_error error;
        int code = fail_on_parse(cases[i].text, &rules, &fail_on, &error);
        ck_assert_msg((code < 0) == (cases[i].name < 0), "%s", cases[i].text);
        if (code < 0)
            continue;
        ck_assert_int_eq((int)fail_on.name, cases[i].name);
        ck_assert_int_eq(fail_on.form, cases[i].form);
        near(fail_on.limit, cases[i].limit, 1e-9 * cases[i].limit);
    }
}
END_TEST

START_TEST(test_times) {
    static const struct {
        const char *text;
        double seconds; /* negative: it is refused */
    } cases[] = {{"10", 10},   {"10s", 10},    {"500ms", 0.5}, {"1.5m", 90},
                 {"1h", 3600}, {"2d", 172800}, {"", -1},       {"s", -1},
                 {"10x", -1},  {"-1", -1},     {"1 h", -1},    {".5", -1},
                 {"1e3", -1},  {"inf", -1},    {"0x10", -1},   {"1.2.3", -1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        double seconds = -1;
        bool good = tool_parse_time(cases[i].text, &seconds);
        ck_assert_msg(good == (cases[i].seconds >= 0), "%s", cases[i].text);
        if (good)
            near(seconds, cases[i].seconds, 1e-9);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("trend");
    TCase *parts = tcase_create("parts"), *series = tcase_create("series");
    tcase_set_timeout(series, 100);
    UNIT_CASE(parts, test_kendall);
    UNIT_CASE(parts, test_sen);
    UNIT_CASE(parts, test_echo);
    UNIT_CASE(parts, test_fail_on);
    UNIT_CASE(parts, test_times);
    UNIT_CASE(series, test_replayed_series);
    UNIT_CASE(series, test_noise_is_no_growth);
    UNIT_CASE(series, test_slope_is_right);
    UNIT_CASE(series, test_warm_up_ends);
    UNIT_CASE(series, test_plain_series);
    UNIT_CASE(series, test_classes);
    UNIT_CASE(series, test_points_thin_out);
    suite_add_tcase(suite, parts);
    suite_add_tcase(suite, series);
    return unit_main(suite);
}
