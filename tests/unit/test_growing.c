/* Sites that only ever grow, by the ages of their blocks in one dump, and those that look like it.
 */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "analyze/calibrate.h"
#include "analyze/growing.h"
#include "build_dump.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define near(a, b, tolerance)                                                                      \
    ck_assert_msg(fabs((a) - (b)) <= (tolerance), "%s is %.9g, not %.9g", #a, (double)(a),         \
                  (double)(b))

static double uniform(uint64_t *state) {
    return ((double)(unit_random(state) >> 11) + 0.5) * 0x1p-53;
}

enum { SITES = 5, SAMPLES = 1000, UPTIME = 1000 };
enum { GROWS, CHURNS, SET_UP, TURNS_OVER, LEAKS };

static char folder[] = "/tmp/memprof-growing.XXXXXX";

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/memprof-growing.XXXXXX");
    if (!mkdtemp(folder))
        abort();
}

static void remove_folder(void) {
    rmdir(folder);
}

struct history {
    struct memprof_dump_sample samples[SAMPLES];
    struct memprof_dump_free frees[2];
    size_t count;
};

static void add(struct history *history, uint32_t stack, double born) {
    history->samples[history->count] = (struct memprof_dump_sample){
        .serial = history->count + 1,
        .address = 0x7e0000000000 + history->count * 65536,
        .size = 512,
        .coin = 512,
        .rate = 65536,
        .age_ns = (uint64_t)((UPTIME - born) * 1e9),
        .stack = stack,
        .thread = 1,
        .flags = stack == LEAKS ? MEMPROF_SAMPLE_LEAKED : 0,
    };
    history->count++;
}

/* A site's samples; how many are there of those that only grow. */
static void live(struct history *history, uint64_t seed, unsigned grown) {
    uint64_t state = seed;
    history->count = 0;
    for (unsigned i = 0; i < grown; i++) {
        add(history, GROWS, UPTIME * uniform(&state));
        add(history, LEAKS, UPTIME * uniform(&state));
        add(history, TURNS_OVER, UPTIME * uniform(&state));
        add(history, SET_UP, 50 * uniform(&state));
        add(history, CHURNS, UPTIME - fmin(-60 * log(uniform(&state)), UPTIME));
    }
    /* Lives of 2^38 ns, 275 s, and of 1 s: of a site that grows otherwise. */
    history->frees[0] = (struct memprof_dump_free){
        .stack = TURNS_OVER, .lifetime = 39, .samples = 50, .objects = 6400, .bytes = 3276800};
    history->frees[1] = (struct memprof_dump_free){
        .stack = GROWS, .lifetime = 30, .samples = 500, .objects = 64000, .bytes = 32768000};
}

static struct dump *open_history(const struct history *history) {
    static struct build_texts texts;
    char path[200];
    const struct memprof_dump_module module = {.start = 0x10000,
                                               .end = 0x20000,
                                               .path = build_text(&texts, "/none/program"),
                                               .build_id_size = 20,
                                               .build_id = {1}};
    const struct memprof_dump_class class = {
        .size = 512, .live_objects = 100000, .live_bytes = 51200000, .pages = 12500};
    uint64_t frames[SITES];
    struct memprof_dump_stack stacks[SITES] = {0};
    for (uint32_t i = 0; i < SITES; i++) {
        frames[i] = (uint64_t)1 << 48 | (0x10100 + 16 * i);
        stacks[i] = (struct memprof_dump_stack){.frame = i, .depth = 1};
    }
    const struct memprof_dump_process process = {
        .time_ns = 1800000000000000000,
        .start_time_ns = 1799999000000000000,
        .uptime_ns = (uint64_t)UPTIME * 1000000000,
        .pid = 5,
        .exe = build_text(&texts, "/none/program"),
        .rate = 65536,
        .depth = 64,
        .page_size = 4096,
    };
#define SECTION(kind_, array, n)                                                                   \
    { .kind = MEMPROF_DUMP_##kind_, .size = sizeof *(array), .count = (n), .records = (array) }
    const struct build_section sections[] = {
        SECTION(PROCESS, &process, 1),
        build_texts_section(&texts),
        SECTION(MODULES, &module, 1),
        SECTION(FRAMES, frames, SITES),
        SECTION(STACKS, stacks, SITES),
        SECTION(SAMPLES, history->samples, history->count),
        SECTION(CLASSES, &class, 1),
        SECTION(MAPS, (struct memprof_dump_map *)NULL, 0),
        SECTION(FREES, history->frees, COUNT(history->frees)),
    };
    snprintf(path, sizeof path, "%s/dump", folder);
    build_dump_file(path, sections, COUNT(sections));
    struct dump *dump;
    struct dump_error error;
    ck_assert_msg(dump_open(&dump, path, &error) == 0, "%s", error.text);
    unlink(path);
    return dump;
}

/* Whether the one that grows is found; no other ever is. */
static bool finds(const struct history *history, struct growing *found) {
    struct dump *dump = open_history(history);
    struct sites sites;
    struct calibration calibration;
    struct growing *list;
    size_t count;
    sites_begin(&sites, SITE_BY_STACK, NULL, dump);
    calibrate_samples(&sites, CALIBRATE_LIVE, &calibration);
    growing_find(&sites, dump, &list, &count);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(list[i].site->stack, GROWS);
    if (count)
        *found = list[0];
    free(list);
    sites_free(&sites);
    dump_close(dump);
    return count > 0;
}

START_TEST(test_growing_sites) {
    static struct history history;
    struct growing found = {0};
    unsigned hits = 0, few = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        live(&history, seed, 100);
        hits += finds(&history, &found);
        live(&history, seed, 8);
        few += finds(&history, &found);
    }
    ck_assert_uint_ge(hits, 48);
    ck_assert_uint_eq(few, 0);
    live(&history, 1, 100);
    ck_assert(finds(&history, &found));
    /* A fifth of 51.2 MB is the site's, nine tenths of it from after the warm-up, in 900 s. */
    near(found.bytes, 0.18 * 51.2e6, 0.02 * 51.2e6);
    near(found.objects, 18000, 2000);
    near(found.slope_bytes_per_hour, found.bytes * 4, 1);
    ck_assert(found.p_value < 0.01);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("growing");
    TCase *sites = tcase_create("sites");
    tcase_set_timeout(sites, 60);
    tcase_add_checked_fixture(sites, make_folder, remove_folder);
    UNIT_CASE(sites, test_growing_sites);
    suite_add_tcase(suite, sites);
    return unit_main(suite);
}
