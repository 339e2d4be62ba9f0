/* Suite: the profiler's parts one by one: the arithmetic of chance, the tables of stacks and of
 * live samples (also under threads), modules, and the writer, whose files the tools' reader opens.
 */
#include <errno.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memprof/dump.h>

#include "platform/sys.h"
#include "profile/chance.h"
#include "profile/live.h"
#include "profile/stacks.h"
#include "record/maps.h"
#include "record/memory.h"
#include "record/modules.h"
#include "record/writer.h"
#include "unit.h"

/* ---- chance ---- */

START_TEST(chances_are_those_of_the_formula) {
    for (double bytes = 1; bytes < 1e12; bytes = bytes * 1.37 + 1) {
        for (double rate = 2; rate <= 1 << 30; rate *= 3.1) {
            uint64_t b = (uint64_t)bytes, r = (uint64_t)rate;
            double wanted = -expm1(-(double)b / (double)r);
            ck_assert_double_le(fabs(mp_chance_of(b, r) / wanted - 1), 1e-14);
        }
    }
    ck_assert(mp_chance_of(1, 1) >= 1);
    ck_assert(mp_chance_of((uint64_t)1 << 40, 1 << 20) >= 1);
}
END_TEST

/* Mean and variance of a geometric count are 1/p and (1-p)/p^2. */
START_TEST(counts_to_the_next_sample_are_geometric) {
    enum { DRAWS = 200000 };
    for (uint64_t bytes = 16; bytes <= 8192; bytes *= 8) {
        uint64_t state = mp_chance_stream(7, bytes), first = 0;
        double sum = 0, squares = 0, p = mp_chance_of(bytes, 8192);
        for (int i = 0; i < DRAWS; i++) {
            double count = mp_chance_count(&state, bytes, 8192);
            sum += count;
            squares += count * count;
            first += count < 2;
        }
        double mean = sum / DRAWS, variance = squares / DRAWS - mean * mean;
        double spread = sqrt((1 - p) / p / p);
        ck_assert_double_le(fabs(mean - 1 / p), 5 * spread / sqrt(DRAWS));
        ck_assert_double_le(fabs(variance / (spread * spread) - 1), 0.05);
        ck_assert_double_le(fabs((double)first / DRAWS - p), 5 * sqrt(p / DRAWS));
    }
}
END_TEST

START_TEST(no_count_is_zero_or_means_none) {
    uint64_t state = 1;
    for (int i = 0; i < 1000000; i++) {
        uint32_t count = mp_chance_count(&state, 16, (uint64_t)1 << 30);
        ck_assert(count >= 1 && count <= 4000000000u);
        ck_assert_uint_eq(mp_chance_count(&state, 16, 1), 1);
    }
}
END_TEST

START_TEST(coins_show_heads_as_often_as_they_should) {
    enum { TOSSES = 400000 };
    uint64_t state = mp_chance_stream(3, 1);
    for (double p = 0.001; p < 1; p *= 3) {
        int heads = 0;
        for (int i = 0; i < TOSSES; i++)
            heads += mp_chance_toss(&state, p);
        ck_assert_double_le(fabs((double)heads / TOSSES - p), 5 * sqrt(p / TOSSES));
    }
    ck_assert(mp_chance_toss(&state, 1));
}
END_TEST

START_TEST(streams_of_a_seed_differ_and_can_be_had_again) {
    for (uint64_t seed = 0; seed < 3; seed++) {
        for (uint64_t i = 0; i < 100; i++) {
            ck_assert_uint_eq(mp_chance_stream(seed, i), mp_chance_stream(seed, i));
            ck_assert_uint_ne(mp_chance_stream(seed, i), mp_chance_stream(seed, i + 1));
            ck_assert_uint_ne(mp_chance_stream(seed, i), mp_chance_stream(seed + 1, i));
        }
    }
}
END_TEST

/* ---- stacks ---- */

static unsigned make_frames(uint64_t number, uint64_t *frames) {
    uint64_t state = number;
    unsigned depth = 1 + (unsigned)unit_random_to(&state, MP_DEPTH_MAX - 1);
    if (number % 3 == 0)
        depth = 1 + (unsigned)(number % 7);
    for (unsigned i = 0; i < depth; i++)
        frames[i] = unit_random(&state);
    return depth;
}

enum { STACKS = 30000 };
static uint32_t handles[STACKS];

START_TEST(a_stack_is_found_again_and_others_are_not) {
    uint64_t frames[MP_DEPTH_MAX];
    for (uint32_t i = 0; i < STACKS; i++) {
        unsigned depth = make_frames(i, frames);
        handles[i] = mp_stacks_find(frames, depth, i % 2);
        ck_assert_uint_ne(handles[i], 0);
        ck_assert_uint_eq(mp_stacks_count(), i + 1);
        ck_assert_uint_eq(mp_stacks_get(handles[i])->number, i);
    }
    for (uint32_t i = 0; i < STACKS; i++) {
        unsigned depth = make_frames(i, frames);
        const struct mp_stack *stack = mp_stacks_get(handles[i]);
        ck_assert_uint_eq(mp_stacks_find(frames, depth, i % 2), handles[i]);
        ck_assert_uint_eq(stack->depth, depth);
        ck_assert_int_eq(memcmp(stack->frames, frames, depth * sizeof *frames), 0);
    }
    ck_assert_uint_eq(mp_stacks_count(), STACKS);
    unsigned depth = make_frames(5, frames);
    ck_assert_uint_ne(mp_stacks_find(frames, depth, 0), handles[5]); /* the flags differ */
    ck_assert_uint_ne(mp_stacks_find(frames, depth - 1, 1), handles[5]);
}
END_TEST

struct counted {
    uint32_t next;
    uint64_t frames;
};

static void count_stack(const struct mp_stack *stack, void *context) {
    struct counted *counted = context;
    ck_assert_uint_eq(stack->number, counted->next++);
    counted->frames += stack->depth;
}

START_TEST(every_stack_is_visited_once_in_order) {
    uint64_t frames[MP_DEPTH_MAX], wanted = 0;
    struct counted counted = {0, 0};
    for (uint32_t i = 0; i < 5000; i++) { /* several chunks of them */
        unsigned depth = make_frames(i, frames);
        mp_stacks_find(frames, depth, 0);
        wanted += depth;
    }
    mp_stacks_each(count_stack, &counted);
    ck_assert_uint_eq(counted.next, 5000);
    ck_assert_uint_eq(counted.frames, wanted);
}
END_TEST

enum { THREADS = 4, SHARED = 4000 };
static uint32_t found[THREADS][SHARED];

static void *find_all(void *context) {
    uint64_t frames[MP_DEPTH_MAX];
    uint32_t *mine = context;
    for (uint32_t i = 0; i < SHARED; i++) {
        unsigned depth = make_frames(i, frames);
        mine[i] = mp_stacks_find(frames, depth, 0);
        mp_stack_allocated(mp_stacks_get(mine[i]), 1, i);
    }
    return NULL;
}

START_TEST(threads_that_meet_a_stack_at_once_agree_on_it) {
    pthread_t ids[THREADS];
    for (int t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_create(&ids[t], NULL, find_all, found[t]), 0);
    for (int t = 0; t < THREADS; t++)
        pthread_join(ids[t], NULL);
    ck_assert_uint_eq(mp_stacks_count(), SHARED);
    for (uint32_t i = 0; i < SHARED; i++) {
        const struct mp_stack_sums *sums = &mp_stacks_get(found[0][i])->counts->allocated;
        for (int t = 1; t < THREADS; t++)
            ck_assert_uint_eq(found[t][i], found[0][i]);
        ck_assert_uint_eq(sums->samples, THREADS);
        ck_assert_uint_eq(sums->objects, (uint64_t)(THREADS * MP_OBJECTS_ONE));
        ck_assert_uint_eq(sums->bytes, (uint64_t)(THREADS * i * MP_BYTES_ONE));
    }
}
END_TEST

/* ---- live samples ---- */

static void count_one(const struct mp_live *sample, void *count) {
    (void)sample;
    ++*(uint64_t *)count;
}

static uint64_t live_count(void) {
    uint64_t count = 0;
    mp_live_each(count_one, &count);
    return count;
}

static uintptr_t address_of(uint64_t i) {
    return 0x100000 + (uintptr_t)(i * 48);
}

START_TEST(a_live_sample_is_taken_once_as_it_was_added) {
    enum { LIVE = 50000 };
    struct mp_live sample;
    for (uint64_t i = 0; i < LIVE; i++) {
        sample = (struct mp_live){.address = address_of(i), .size = i, .serial = i + 1};
        ck_assert(mp_live_add(&sample));
    }
    ck_assert_uint_eq(live_count(), LIVE);
    for (uint64_t i = 0; i < LIVE; i++) {
        uint64_t at = i * 7919 % LIVE;
        ck_assert(mp_live_take(address_of(at), &sample));
        ck_assert_uint_eq(sample.address, address_of(at));
        ck_assert_uint_eq(sample.size, at);
        ck_assert_uint_eq(sample.serial, at + 1);
        ck_assert(!mp_live_take(address_of(at), &sample));
    }
    ck_assert_uint_eq(live_count(), 0);
}
END_TEST

static void *add_and_take(void *context) {
    uint64_t base = (uintptr_t)context * 1000000, state = base + 1;
    static const int rounds = 40000;
    bool *held = calloc(1000, 1);
    struct mp_live sample;
    for (int n = 0; n < rounds; n++) {
        size_t i = unit_random_to(&state, 999);
        if (held[i]) {
            must(mp_live_take(address_of(base + i), &sample));
            must(sample.size == base + i);
        } else {
            sample = (struct mp_live){.address = address_of(base + i), .size = base + i};
            must(mp_live_add(&sample));
        }
        held[i] = !held[i];
    }
    for (size_t i = 0; i < 1000; i++)
        must(mp_live_take(address_of(base + i), &sample) == held[i]);
    free(held);
    return NULL;
}

START_TEST(threads_share_the_table_of_live_samples) {
    pthread_t ids[THREADS];
    for (uintptr_t t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_create(&ids[t], NULL, add_and_take, (void *)t), 0);
    for (int t = 0; t < THREADS; t++)
        pthread_join(ids[t], NULL);
    ck_assert_uint_eq(live_count(), 0);
}
END_TEST

/* ---- without memory ---- */

static int refuse_mmap(const char *name) {
    return strcmp(name, "mmap") == 0 ? ENOMEM : 0;
}

START_TEST(without_memory_nothing_is_recorded_and_nothing_is_lost) {
    uint64_t frames[MP_DEPTH_MAX];
    struct mp_live sample = {0};
    uint64_t i = 0, n = 0;
    mp_sys_fault = refuse_mmap;
    ck_assert_uint_eq(mp_stacks_find(frames, make_frames(1, frames), 0), 0);
    mp_sys_fault = NULL;
    ck_assert_uint_ne(mp_stacks_find(frames, make_frames(1, frames), 0), 0);
    mp_sys_fault = refuse_mmap;
    for (; i < 100000; i++) {
        sample.address = address_of(i);
        if (!mp_live_add(&sample))
            break;
    }
    ck_assert_uint_lt(i, 100000);
    mp_sys_fault = NULL;
    ck_assert(mp_live_add(&sample));
    for (; n <= i; n++)
        ck_assert(mp_live_take(address_of(n), &sample));
    ck_assert_uint_eq(live_count(), 0);
}
END_TEST

/* ---- modules and maps ---- */

START_TEST(code_is_found_in_its_module) {
    mp_modules_start();
    uint32_t own = mp_modules_find((uintptr_t)address_of);
    /* one that no sanitizer has its own of */
    uint32_t libc = mp_modules_find((uintptr_t)&gnu_get_libc_version);
    ck_assert_uint_ne(own, 0);
    ck_assert_uint_ne(libc, own);
    ck_assert_uint_eq(mp_modules_find((uintptr_t)make_frames), own);
    ck_assert_uint_eq(mp_modules_find(0x10), 0);
    const struct mp_module *module = mp_modules_get(own);
    ck_assert_str_eq(module->path, mp_modules_program());
    ck_assert((uintptr_t)address_of >= module->start && (uintptr_t)address_of < module->end);
    ck_assert(mp_modules_is_loaded(module));
    ck_assert_ptr_nonnull(strstr(mp_modules_get(libc)->path, "libc"));
    ck_assert_uint_eq(mp_modules_get(libc)->build_id_size, 20);
}
END_TEST

static void look_for_this(struct memprof_dump_map *map, const char *path, void *context) {
    bool *seen = context;
    uintptr_t here = (uintptr_t)address_of;
    ck_assert_uint_lt(map->start, map->end);
    if (here >= map->start && here < map->end) {
        ck_assert_ptr_nonnull(strstr(path, "unit-profile"));
        ck_assert(map->access & MEMPROF_MAP_EXEC);
        ck_assert_uint_gt(map->rss_bytes, 0);
        *seen = true;
    }
}

START_TEST(the_memory_map_has_this_code) {
    bool seen = false;
    ck_assert_int_eq(mp_maps_each(getpid(), look_for_this, &seen), 0);
    ck_assert(seen);
    ck_assert_uint_gt(mp_maps_resident(getpid()), 1 << 20);
}
END_TEST

/* ---- the writer, where the file system says no ---- */

static char folder[128], path[256];

static void make_folder(void) {
    snprintf(folder, sizeof folder, "%s/unit-profile.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file.heap", folder);
}

static int write_some(size_t bytes) {
    static const char block[1000];
    int error = mp_writer_open(path, 2);
    if (error)
        return error;
    mp_writer_begin(MEMPROF_DUMP_FRAMES, 8);
    for (; bytes >= sizeof block; bytes -= sizeof block)
        mp_writer_add(block, sizeof block);
    mp_writer_end();
    mp_writer_text("a text");
    return mp_writer_close();
}

static void check_only(bool there) {
    struct stat info;
    ck_assert_int_eq(stat(path, &info) == 0, there);
    if (there)
        ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is left */
}

START_TEST(a_file_appears_when_it_is_whole) {
    make_folder();
    size_t before = mp_record_bytes();
    ck_assert_int_eq(write_some(500000), 0);
    ck_assert_uint_eq(mp_record_bytes(), before);
    check_only(true);
}
END_TEST

static const char *failing;
static int after;

static int fail_one(const char *name) {
    return strcmp(name, failing) == 0 && after-- == 0 ? ENOSPC : 0;
}

START_TEST(a_failing_call_leaves_nothing_behind) {
    static const char *const calls[] = {"open", "write", "pwrite", "rename", "mmap"};
    failing = calls[_i];
    for (int n = 0; n < 2; n++) {
        make_folder();
        after = n;
        mp_sys_fault = fail_one;
        int error = write_some(500000);
        mp_sys_fault = NULL;
        if (after < 0) /* there were so many calls */
            ck_assert_int_lt(error, 0);
        check_only(error == 0);
    }
}
END_TEST

static void within_a_limit(void *unused) {
    (void)unused;
    struct rlimit limit = {100000, 100000};
    uint64_t mask;
    mp_sys_block_all(&mask); /* as in a copy: SIGXFSZ would end it */
    setrlimit(RLIMIT_FSIZE, &limit);
    must(write_some(500000) == -EFBIG);
}

START_TEST(a_file_that_may_not_be_so_large_is_not_left_in_part) {
    make_folder();
    ck_assert_int_eq(unit_in_child(within_a_limit, NULL, 20), 0);
    check_only(false);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("profile");
    TCase *chance = tcase_create("chance");
    tcase_set_timeout(chance, 60);
    UNIT_CASE(chance, chances_are_those_of_the_formula);
    UNIT_CASE(chance, counts_to_the_next_sample_are_geometric);
    UNIT_CASE(chance, no_count_is_zero_or_means_none);
    UNIT_CASE(chance, coins_show_heads_as_often_as_they_should);
    UNIT_CASE(chance, streams_of_a_seed_differ_and_can_be_had_again);
    suite_add_tcase(suite, chance);
    TCase *tables = tcase_create("tables");
    tcase_set_timeout(tables, 60);
    UNIT_CASE(tables, a_live_sample_is_taken_once_as_it_was_added);
    UNIT_CASE(tables, threads_share_the_table_of_live_samples);
    UNIT_CASE(tables, threads_that_meet_a_stack_at_once_agree_on_it);
    UNIT_CASE_PRISTINE(tables, a_stack_is_found_again_and_others_are_not);
    UNIT_CASE_PRISTINE(tables, every_stack_is_visited_once_in_order);
    UNIT_CASE_PRISTINE(tables, without_memory_nothing_is_recorded_and_nothing_is_lost);
    suite_add_tcase(suite, tables);
    TCase *record = tcase_create("record");
    UNIT_CASE(record, code_is_found_in_its_module);
    UNIT_CASE(record, the_memory_map_has_this_code);
    UNIT_CASE(record, a_file_appears_when_it_is_whole);
    tcase_add_loop_test(record, a_failing_call_leaves_nothing_behind, 0, 5);
    UNIT_CASE_FORKING(record, a_file_that_may_not_be_so_large_is_not_left_in_part);
    suite_add_tcase(suite, record);
    return unit_main(suite);
}
