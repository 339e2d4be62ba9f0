/* What the tools make of samples: estimates and intervals against figures computed by hand and
 * against simulations, verdicts, and how sites of two dumps are matched. */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyze/blame.h"
#include "analyze/diff.h"
#include "analyze/estimate.h"
#include "analyze/totals.h"
#include "build_dump.h"
#include "common.h"
#include "reader/demangle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define near(a, b, tolerance)                                                                      \
    ck_assert_msg(fabs((a) - (b)) <= (tolerance), "%s is %.9g, not %.9g", #a, (double)(a),         \
                  (double)(b))

/* ---- random numbers ---- */

static double uniform(uint64_t *state) {
    return (double)(unit_random(state) >> 11) * 0x1p-53;
}

static unsigned poisson(uint64_t *state, double mean) {
    double limit = exp(-mean), product = uniform(state);
    unsigned count = 0;
    while (product > limit) {
        product *= uniform(state);
        count++;
    }
    return count;
}

/* ---- estimates ---- */

START_TEST(test_sums) {
    struct pile pile = {0};
    pile_add(&pile, 2, 100);
    pile_add(&pile, 3, 50);
    ck_assert_uint_eq(pile.samples, 2);
    near(pile.objects, 5, 0);
    near(pile.bytes, 350, 0);
    near(pile.objects_variance, 2 + 6, 0);
    near(pile.bytes_variance, 2 * 10000 + 6 * 2500, 0);
    near(pile.bytes_spread, 4 * 10000 + 9 * 2500, 0);
    near(pile.seen_bytes, 150, 0);
}
END_TEST

START_TEST(test_quantiles) {
    near(estimate_z(0.95), 1.959963985, 1e-8);
    near(estimate_z(0.99), 2.575829304, 1e-8);
    near(estimate_z(0.6826894921), 1, 1e-8);
}
END_TEST

START_TEST(test_interval) {
    /* k = 3.5 in units of 100: 100 (3.5 + z^2/2 -+ z sqrt(3.5 + z^2/4)) */
    struct interval interval = estimate_interval(350, 35000, 0, 1.959963985);
    near(interval.low, 128.1355, 0.01);
    near(interval.high, 956.0104, 0.01);
    /* What was seen is there. */
    interval = estimate_interval(350, 35000, 150, 1.959963985);
    near(interval.low, 150, 0);
    /* Nothing is uncertain where all was recorded. */
    interval = estimate_interval(350, 0, 350, 1.959963985);
    near(interval.low, 350, 0);
    near(interval.high, 350, 0);
}
END_TEST

static struct pile alike(unsigned samples, double weight, double size) {
    struct pile pile = {0};
    for (unsigned i = 0; i < samples; i++)
        pile_add(&pile, weight, size);
    return pile;
}

START_TEST(test_difference) {
    double z = estimate_z(0.95);
    /* k is 40.04 and 20.02, in units of 999. */
    struct pile came = alike(40, 1000, 1), went = alike(20, 1000, 1);
    struct interval d = estimate_difference(&came, &went, z);
    near(d.low, 4791.835, 0.01);
    near(d.high, 36083.544, 0.01);
    struct interval turned = estimate_difference(&went, &came, z);
    near(turned.low, -d.high, 1e-6);
    near(turned.high, -d.low, 1e-6);
}
END_TEST

START_TEST(test_empty_side) {
    double z = estimate_z(0.95);
    struct pile none = {0}, four = alike(4, 1000, 64), five = alike(5, 1000, 64);
    ck_assert(estimate_difference(&four, &none, z).low < 0);
    ck_assert(estimate_difference(&five, &none, z).low > 0);
    ck_assert(estimate_difference(&none, &five, z).high < 0);
    /* With every block recorded, none is none. */
    struct pile exact = alike(4, 1, 64);
    struct interval d = estimate_difference(&exact, &none, z);
    near(d.low, 256, 0);
    near(d.high, 256, 0);
}
END_TEST

START_TEST(test_p_values) {
    double least;
    struct pile none = {0}, a = alike(6, 1000, 64), b = alike(10, 50, 64), c = alike(3, 50, 64);
    near(estimate_p_value(&a, &none, &least), 0.03125, 1e-12); /* 2 / 2^6 */
    near(least, 0.03125, 1e-12);
    near(estimate_p_value(&b, &c, &least), 2 * 378.0 / 8192, 1e-12); /* P(X >= 10), n = 13 */
    near(estimate_p_value(&c, &b, &least), 2 * 378.0 / 8192, 1e-12);
    near(estimate_p_value(&c, &c, &least), 1, 1e-12);
    near(estimate_p_value(&none, &none, &least), 1, 0);
    near(least, 1, 0);
    /* Churn is churn, recorded in full or not: 105 against 95. */
    struct pile more = alike(105, 1, 64), less = alike(95, 1, 64);
    near(estimate_p_value(&more, &less, &least), 0.5246, 0.0005);
    /* Where the normal distribution takes over, it goes on as before. */
    struct pile below = {.bytes = 500700, .bytes_spread = 500700};
    struct pile beyond = {.bytes = 500701, .bytes_spread = 500701};
    struct pile other = {.bytes = 499299, .bytes_spread = 499299};
    near(estimate_p_value(&below, &other, &least), estimate_p_value(&beyond, &other, &least),
         0.001);
}
END_TEST

START_TEST(test_discoveries) {
    static const double published[] = {/* Benjamini and Hochberg 1995, table of 15 */
                                       0.0001, 0.0004, 0.0019, 0.0095, 0.0201,
                                       0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
                                       0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
    bool found[COUNT(published)];
    ck_assert_uint_eq(estimate_discoveries(published, COUNT(published), 0.05, found), 4);
    for (size_t i = 0; i < COUNT(published); i++)
        ck_assert_int_eq(found[i], i < 4);
    /* A step up: none of them passes alone. */
    static const double together[] = {0.05, 0.04, 0.03, 0.02, 0.011};
    ck_assert_uint_eq(estimate_discoveries(together, 5, 0.05, found), 5);
    ck_assert_uint_eq(estimate_discoveries(together, 0, 0.05, found), 0);
}
END_TEST

/* Blocks of a few sizes, each sampled by its own coin. */
static struct pile sampled(uint64_t *state, unsigned blocks, double rate, double *truth) {
    static const double sizes[] = {16, 48, 200, 480, 1000, 3000};
    struct pile pile = {0};
    *truth = 0;
    for (unsigned i = 0; i < blocks; i++) {
        double size = sizes[unit_random_to(state, COUNT(sizes) - 1)];
        double chance = -expm1(-size / rate);
        *truth += size;
        if (uniform(state) < chance)
            pile_add(&pile, 1 / chance, size);
    }
    return pile;
}

START_TEST(test_coverage) {
    static const double expected[] = {30, 100, 300};
    double z = estimate_z(0.95), mean_size = 4744.0 / 6;
    uint64_t state = 20240917;
    for (size_t e = 0; e < COUNT(expected); e++) {
        enum { TURNS = 3000, BLOCKS = 1500 };
        double rate = mean_size * BLOCKS / expected[e], share = 0;
        unsigned covered = 0, both = 0;
        for (int turn = 0; turn < TURNS; turn++) {
            double truth, other;
            struct pile pile = sampled(&state, BLOCKS, rate, &truth);
            struct interval interval = estimate_bytes(&pile, z);
            covered += interval.low <= truth && truth <= interval.high;
            share += pile.bytes / truth / TURNS;
            /* A third as many went. */
            struct pile went = sampled(&state, BLOCKS / 3, rate, &other);
            interval = estimate_difference(&pile, &went, z);
            both += interval.low <= truth - other && truth - other <= interval.high;
        }
        near(share, 1, 0.01);
        ck_assert_msg(covered >= 0.93 * TURNS && covered <= 0.97 * TURNS,
                      "%g expected: %u of %d intervals cover", expected[e], covered, TURNS);
        ck_assert_msg(both >= 0.93 * TURNS && both <= 0.98 * TURNS,
                      "%g expected: %u of %d differences cover", expected[e], both, TURNS);
    }
}
END_TEST

/* ---- dumps ---- */

enum { SITES = 20, SAMPLES = 4000, MODULES = 3 };

/* A process of one program and one library, with SITES stacks of two frames. */
struct made {
    uint32_t pid;
    uint64_t rate, bias;
    uint8_t build; /* of the program; 0: it has no build-id */
    size_t count;
    struct memprof_dump_sample samples[SAMPLES];
};

static void add_sample(struct made *made, uint32_t stack, uint64_t serial, uint64_t size) {
    if (made->count == SAMPLES)
        return;
    made->samples[made->count++] = (struct memprof_dump_sample){
        .serial = serial,
        .address = 0x7e0000000000 + serial * 65536,
        .size = size,
        .coin = size,
        .rate = made->rate,
        .stack = stack,
        .thread = 1,
    };
}

static char folder[] = "/tmp/memprof-analyze.XXXXXX";

static struct dump *open_made(const struct made *made, const char *name) {
    static struct build_texts texts;
    char path[200];
    struct memprof_dump_module modules[] = {
        {.start = 0x10000 + made->bias,
         .end = 0x20000 + made->bias,
         .bias = made->bias,
         .path = build_text(&texts, "/none/program"),
         .build_id_size = made->build ? 20 : 0,
         .build_id = {made->build}},
        {.start = 0x7f0000010000 + made->bias,
         .end = 0x7f0000020000 + made->bias,
         .bias = 0x7f0000000000 + made->bias,
         .path = build_text(&texts, "/none/library.so"),
         .build_id_size = 20,
         .build_id = {7, 7}},
    };
    uint64_t frames[2 * SITES];
    struct memprof_dump_stack stacks[SITES] = {0};
    for (uint32_t i = 0; i < SITES; i++) {
        frames[2 * i] = (uint64_t)2 << 48 | (modules[1].bias + 0x10100 + 16 * i);
        frames[2 * i + 1] = (uint64_t)1 << 48 | (modules[0].bias + 0x10200 + 16 * i);
        stacks[i] = (struct memprof_dump_stack){.frame = 2 * i, .depth = 2};
    }
    const struct memprof_dump_process process = {
        .time_ns = 1800000000000000000,
        .start_time_ns = 1700000000000000000 + made->pid,
        .pid = made->pid,
        .exe = build_text(&texts, "/none/program"),
        .rate = made->rate,
        .depth = 64,
        .page_size = 4096,
    };
#define SECTION(kind_, array, n)                                                                   \
    { .kind = MEMPROF_DUMP_##kind_, .size = sizeof *(array), .count = (n), .records = (array) }
    const struct build_section sections[] = {
        SECTION(PROCESS, &process, 1),
        build_texts_section(&texts),
        SECTION(MODULES, modules, COUNT(modules)),
        SECTION(FRAMES, frames, COUNT(frames)),
        SECTION(STACKS, stacks, SITES),
        SECTION(SAMPLES, made->samples, made->count),
        SECTION(CLASSES, (struct memprof_dump_class *)NULL, 0),
        SECTION(MAPS, (struct memprof_dump_map *)NULL, 0),
    };
    snprintf(path, sizeof path, "%s/%s", folder, name);
    build_dump_file(path, sections, COUNT(sections));
    struct dump *dump;
    struct dump_error error;
    ck_assert_msg(dump_open(&dump, path, &error) == 0, "%s", error.text);
    unlink(path);
    return dump;
}

struct pair {
    struct dump *old, *new;
    struct view view;
};

static void compare(struct pair *pair, const struct made *old, const struct made *new) {
    struct view_options options = {.confidence = 0.95};
    struct tool_error error;
    pair->old = open_made(old, "old");
    pair->new = open_made(new, "new");
    ck_assert_int_eq(view_make(&pair->view, pair->old, pair->new, &options, &error), 0);
}

static void end(struct pair *pair) {
    view_free(&pair->view);
    dump_close(pair->old);
    dump_close(pair->new);
}

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/memprof-analyze.XXXXXX");
    if (!mkdtemp(folder))
        abort();
}

static void remove_folder(void) {
    rmdir(folder);
}

/* The site of stack i has blocks of size 64 (i + 1). */
static const struct site *site_of_size(const struct pair *pair, uint64_t size) {
    for (size_t i = 0; i < pair->view.count; i++) {
        const struct site *site = pair->view.order[i];
        if ((site->stack + 1) * 64 == size)
            return site;
    }
    return NULL;
}

START_TEST(test_cancel) {
    static struct made old, new;
    old = new = (struct made){.pid = 5, .rate = 65536, .build = 1};
    for (uint64_t i = 0; i < 50; i++)
        add_sample(&old, 0, i, 64);
    for (uint64_t i = 50; i-- > 3;) /* in any order */
        add_sample(&new, 0, i, 64);
    add_sample(&old, 1, 90, 128);
    add_sample(&new, 1, 90, 120); /* resized where it lies */
    new.samples[new.count - 1].coin = 128;
    struct pair pair;
    compare(&pair, &old, &new);
    const struct site *site = site_of_size(&pair, 64);
    ck_assert_uint_eq(site->live[SITE_OLD].samples, 50);
    ck_assert_uint_eq(site->live[SITE_NEW].samples, 47);
    ck_assert_uint_eq(site->changed[SITE_OLD].samples, 3);
    ck_assert_uint_eq(site->changed[SITE_NEW].samples, 0);
    site = site_of_size(&pair, 128);
    ck_assert_uint_eq(site->changed[SITE_OLD].samples, 1);
    ck_assert_uint_eq(site->changed[SITE_NEW].samples, 1);
    end(&pair);
}
END_TEST

START_TEST(test_unchanged_is_steady) {
    static struct made old;
    old = (struct made){.pid = 5, .rate = 65536, .build = 1};
    for (uint64_t i = 0; i < 50; i++)
        add_sample(&old, 0, i, 64);
    struct pair pair;
    compare(&pair, &old, &old);
    ck_assert_int_eq(pair.view.order[0]->verdict, SITE_STEADY);
    near(pair.view.order[0]->interval.low, 0, 0);
    near(pair.view.order[0]->interval.high, 0, 0);
    end(&pair);
}
END_TEST

/* Another process of the same build, loaded elsewhere. */
START_TEST(test_match_by_offset) {
    static struct made old, new;
    old = (struct made){.pid = 5, .rate = 65536, .build = 1};
    new = (struct made){.pid = 6, .rate = 65536, .build = 1, .bias = 0x123000};
    for (uint64_t i = 0; i < 50; i++) {
        add_sample(&old, 2, i, 192);
        add_sample(&new, 2, i, 192);
    }
    add_sample(&new, 3, 50, 256);
    struct pair pair;
    compare(&pair, &old, &new);
    ck_assert_uint_eq(pair.view.count, 2);
    const struct site *site = site_of_size(&pair, 192);
    ck_assert_uint_eq(site->live[SITE_OLD].samples, 50);
    ck_assert_uint_eq(site->live[SITE_NEW].samples, 50);
    /* Serial numbers of different processes mean nothing to each other. */
    ck_assert_uint_eq(site->changed[SITE_NEW].samples, 50);
    ck_assert(site->interval.high > site->interval.low);
    uint64_t id = site->id;
    end(&pair);
    compare(&pair, &old, &old);
    ck_assert_uint_eq(pair.view.order[0]->id, id);
    end(&pair);
}
END_TEST

/* Another build whose names are unknown: nothing may be said to have grown. */
START_TEST(test_unknown_builds_are_not_judged) {
    static struct made old, new;
    old = (struct made){.pid = 5, .rate = 65536, .build = 1};
    new = (struct made){.pid = 6, .rate = 65536, .build = 2};
    for (uint64_t i = 0; i < 50; i++) {
        add_sample(&old, 2, i, 192);
        add_sample(&new, 3, i, 192);
    }
    struct pair pair;
    compare(&pair, &old, &new);
    ck_assert(pair.view.sites.blind);
    ck_assert_uint_eq(pair.view.growing, 0);
    end(&pair);
    /* The control: in one build, the same is growth. */
    new.build = 1;
    compare(&pair, &old, &new);
    ck_assert(!pair.view.sites.blind);
    ck_assert_uint_eq(pair.view.growing, 1);
    end(&pair);
}
END_TEST

/* Blocks that come and go at the same rate at each of SITES sites; at the last, if `leak`, some
 * that only come. */
static void churn(uint64_t *state, struct made *old, struct made *new, uint64_t rate, double leak) {
    old->count = new->count = 0;
    old->rate = new->rate = rate;
    uint64_t serial = 1;
    for (uint32_t s = 0; s < SITES; s++) {
        double mean = 1 + 3.0 * s;
        uint64_t size = 64 * (s + 1);
        for (unsigned i = poisson(state, mean); i > 0; i--)
            add_sample(old, s, serial++, size + 16 * unit_random_to(state, 3));
        for (unsigned i = poisson(state, mean); i > 0; i--)
            add_sample(new, s, serial++, size + 16 * unit_random_to(state, 3));
    }
    for (unsigned i = poisson(state, leak); i > 0; i--)
        add_sample(new, SITES - 1, serial++, 64 * SITES);
}

static unsigned grew(uint64_t rate, double leak, unsigned turns) {
    static struct made old, new;
    uint64_t state = 7 + rate;
    unsigned growing = 0;
    old = new = (struct made){.pid = 5, .build = 1};
    for (unsigned turn = 0; turn < turns; turn++) {
        struct pair pair;
        churn(&state, &old, &new, rate, leak);
        compare(&pair, &old, &new);
        growing += pair.view.growing > 0;
        if (leak > 0 && pair.view.growing > 0)
            ck_assert_uint_eq(pair.view.order[0]->stack, SITES - 1);
        end(&pair);
    }
    return growing;
}

START_TEST(test_churn_is_noise) {
    unsigned turns = unit_full() ? 5000 : 600;
    static const uint64_t rates[] = {524288, 1};
    for (size_t i = 0; i < COUNT(rates); i++) {
        unsigned growing = grew(rates[i], 0, turns);
        ck_assert_msg(growing <= 0.05 * turns, "rate %u: %u of %u runs", (unsigned)rates[i],
                      growing, turns);
    }
}
END_TEST

START_TEST(test_leak_is_found) {
    static const uint64_t rates[] = {524288, 1};
    for (size_t i = 0; i < COUNT(rates); i++)
        ck_assert_uint_ge(grew(rates[i], 100, 100), 99);
}
END_TEST

/* ---- names ---- */

START_TEST(test_demangle) {
    char out[64], bomb[400] = "_Z1f";
    demangle("_ZN3foo3barEi", out, sizeof out);
    ck_assert_str_eq(out, "foo::bar(int)");
    demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", out, sizeof out);
    ck_assert_str_eq(out, "core::fmt::Write::write_fmt");
    demangle("_D3std5stdio7writelnFZv", out, sizeof out);
    ck_assert_str_eq(out, "std.stdio.writeln()");
    demangle("main", out, sizeof out);
    ck_assert_str_eq(out, "main");
    demangle("_Znonsense", out, sizeof out);
    ck_assert_str_eq(out, "_Znonsense");
    /* Each parameter is a pair of the one before: 2^n words, in a few bytes. */
    strcat(bomb, "St4pairIiiE");
    for (int i = 0; i < 30; i++) {
        char pair[32];
        snprintf(pair, sizeof pair, "S_IS%c_S%c_E", i < 10 ? '0' + i : 'A' + i - 10,
                 i < 10 ? '0' + i : 'A' + i - 10);
        strcat(bomb, pair);
    }
    demangle(bomb, out, sizeof out);
    ck_assert_uint_eq(strlen(out), sizeof out - 1);
}
END_TEST

static const struct module own = {.path = "/x/p", .base = "p"};
static const struct module libc = {.path = "/lib/libc.so.6", .base = "libc.so.6", .runtime = true};

START_TEST(test_blame) {
    struct frame_list list = {0};
    const struct frame frames[] = {
        {.function = "operator new(unsigned long)", .module = &libc},
        {.function = "std::vector<int>::push_back(int const&)", .module = &own, .inlined = true},
        {.function = "void std::vector<int>::_M_realloc_insert<int>(int)", .module = &own},
        {.function = "xmalloc", .module = &own},
        {.function = "app::Store::add(std::string const&)", .module = &own},
        {.function = "main", .module = &own},
        {.function = "__libc_start_main", .module = &libc},
        {.function = "_start", .module = &own},
    };
    size_t first, last;
    for (size_t i = 0; i < COUNT(frames); i++)
        frame_list_add(&list, &frames[i]);
    ck_assert_uint_eq(blame_find(&list), 4);
    blame_trim(&list, &first, &last);
    ck_assert_uint_eq(first, 1);
    ck_assert_uint_eq(last, 6);
    /* A template of the program's own may well take one of std's. */
    list.at[4].function = "Table<std::string> make<std::string>(int)";
    ck_assert_uint_eq(blame_find(&list), 4);
    /* Where nothing is the program's own, the first that is no allocator. */
    list.count = 1;
    ck_assert_uint_eq(blame_find(&list), 0);
    list.at[0] = frames[6];
    list.at[1] = frames[6];
    list.count = 2;
    ck_assert_uint_eq(blame_find(&list), 0);
    blame_trim(&list, &first, &last);
    ck_assert_uint_eq(last, 2);
    frame_list_free(&list);
}
END_TEST

/* ---- totals ---- */

START_TEST(test_rss_adds_up) {
    uint64_t state = 99;
    for (int turn = 0; turn < 2000; turn++) {
        struct memprof_dump_map maps[8];
        struct memprof_dump_process process = {
            .live_bytes = unit_random_to(&state, 1000),
            .cached_bytes = unit_random_to(&state, 200),
            .fragmented_bytes = unit_random_to(&state, 200),
            .purgeable_bytes = unit_random_to(&state, 200),
            .metadata_bytes = unit_random_to(&state, 200),
            .rss_bytes = unit_random_to(&state, 3000),
        };
        for (unsigned i = 0; i < COUNT(maps); i++)
            maps[i] = (struct memprof_dump_map){
                .kind = (uint16_t)i, .rss_bytes = unit_random_to(&state, turn % 2 ? 600 : 0)};
        struct dump dump = {.process = &process, .maps = maps, .map_count = COUNT(maps)};
        struct rss_parts parts = totals_rss(&dump);
        uint64_t sum = 0;
        for (size_t i = 0; i + 1 < RSS_NAMES; i++)
            sum += totals_rss_part(&parts, i);
        ck_assert_uint_eq(sum, process.rss_bytes);
        ck_assert_uint_eq(parts.total, process.rss_bytes);
    }
}
END_TEST

START_TEST(test_limits) {
    struct memprof_dump_process a = {.live_bytes = 1000, .live_objects = 10, .rss_bytes = 4000};
    struct memprof_dump_process b = {.live_bytes = 1100, .live_objects = 10, .rss_bytes = 3000};
    struct memprof_dump_leaks leaks = {.leaked_bytes = 50, .indirect_bytes = 20};
    struct dump old = {.process = &a}, new = {.process = &b, .leaks = &leaks};
    static const struct {
        const char *text;
        int holds; /* -1: it is refused */
    } cases[] = {
        {"growth>99", 1},   {"growth>100", 0}, {"growth>9%", 1},   {"growth>10%", 0},
        {"growth>0", 1},    {"objects>0", 0},  {"rss>0%", 0},      {"growth>1k", 0},
        {"growth>0.5%", 1}, {"growth>", -1},   {"growth", -1},     {"growth>1m/h", -1},
        {"leaked>0", 1},    {"leaked>70", 0},  {"leaked>69", 1},   {"leaked>0%", -1},
        {"growth>-1", -1},  {"rss>%", -1},     {"growth>1 %", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fail_on limit;
        struct tool_error error;
        int code = fail_on_parse(cases[i].text, &totals_rules, &limit, &error);
        ck_assert_msg((code < 0) == (cases[i].holds < 0), "%s", cases[i].text);
        if (code == 0)
            ck_assert_msg(totals_exceed(&limit, &old, &new, &error) == cases[i].holds, "%s",
                          cases[i].text);
    }
}
END_TEST

/* ---- odds and ends ---- */

START_TEST(test_numbers) {
    char out[TOOL_NUMBER];
    uint64_t size;
    ck_assert_str_eq(tool_bytes(out, 0, true), "0 B");
    ck_assert_str_eq(tool_bytes(out, 1023, true), "+1023 B");
    ck_assert_str_eq(tool_bytes(out, -1024, true), "-1.0 KiB");
    ck_assert_str_eq(tool_bytes(out, 1048575, false), "1.0 MiB");
    ck_assert_str_eq(tool_count(out, 1234567, true), "+1,234,567");
    ck_assert_str_eq(tool_count(out, -123, false), "-123");
    ck_assert_str_eq(tool_duration(out, 3700), "1 h 1 min");
    ck_assert(tool_parse_size("64k", &size) && size == 65536);
    ck_assert(tool_parse_size("0", &size) && size == 0);
    ck_assert(!tool_parse_size("", &size) && !tool_parse_size("k", &size));
    ck_assert(!tool_parse_size("1kb", &size) && !tool_parse_size("-1", &size));
    ck_assert(!tool_parse_size("18446744073709551616", &size));
    ck_assert(!tool_parse_size("99999999999999g", &size));
    ck_assert_int_eq(tool_integer(1e300), INT64_MAX);
    ck_assert_int_eq(tool_integer(-0.4), 0);
}
END_TEST

START_TEST(test_utf8) {
    ck_assert_uint_eq(tool_utf8("a"), 1);
    ck_assert_uint_eq(tool_utf8("\xc3\xa9"), 2);
    ck_assert_uint_eq(tool_utf8("\xf0\x9f\x92\xa9"), 4);
    ck_assert_uint_eq(tool_utf8("\xc0\x80"), 0);         /* too long for what it says */
    ck_assert_uint_eq(tool_utf8("\xed\xa0\x80"), 0);     /* half of a pair */
    ck_assert_uint_eq(tool_utf8("\xf4\x90\x80\x80"), 0); /* beyond the last */
    ck_assert_uint_eq(tool_utf8("\xe2\x82"), 0);         /* cut off */
}
END_TEST

/* Ids of sites are kept by people and scripts: they do not change from one version to the next. */
START_TEST(test_hash_is_stable) {
    ck_assert_uint_eq(tool_hash_text(TOOL_HASH, "memprof"), 0xe604be7811896fd0u);
    ck_assert_uint_ne(tool_hash_number(1, 2), tool_hash_number(2, 1));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("analyze");
    TCase *estimates = tcase_create("estimates"), *sites = tcase_create("sites");
    TCase *rest = tcase_create("rest");
    tcase_set_timeout(estimates, 60);
    tcase_set_timeout(sites, 100);
    UNIT_CASE(estimates, test_sums);
    UNIT_CASE(estimates, test_quantiles);
    UNIT_CASE(estimates, test_interval);
    UNIT_CASE(estimates, test_difference);
    UNIT_CASE(estimates, test_empty_side);
    UNIT_CASE(estimates, test_p_values);
    UNIT_CASE(estimates, test_discoveries);
    UNIT_CASE(estimates, test_coverage);
    tcase_add_checked_fixture(sites, make_folder, remove_folder);
    UNIT_CASE(sites, test_cancel);
    UNIT_CASE(sites, test_unchanged_is_steady);
    UNIT_CASE(sites, test_match_by_offset);
    UNIT_CASE(sites, test_unknown_builds_are_not_judged);
    UNIT_CASE(sites, test_churn_is_noise);
    UNIT_CASE(sites, test_leak_is_found);
    UNIT_CASE(rest, test_demangle);
    UNIT_CASE(rest, test_blame);
    UNIT_CASE(rest, test_rss_adds_up);
    UNIT_CASE(rest, test_limits);
    UNIT_CASE(rest, test_numbers);
    UNIT_CASE(rest, test_utf8);
    UNIT_CASE(rest, test_hash_is_stable);
    suite_add_tcase(suite, estimates);
    suite_add_tcase(suite, sites);
    suite_add_tcase(suite, rest);
    return unit_main(suite);
}
