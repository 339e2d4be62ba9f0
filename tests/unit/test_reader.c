/* Suite: the reader of dumps: what it makes of the golden file, field by field, files of later
 * versions, and files that are no dumps or change under its hands. Damage is in test_damage.c. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader/records.h"
#include "try_dump.h"
#include "unit.h"

#define GOLDEN       TESTS_FOLDER "/golden/v1-small.heap"
#define GOLDEN_NODES TESTS_FOLDER "/golden/v1-nodes.heap"

/* Exactly; Check's own way to say so is one that clang warns about. */
static void check_number(double have, double wanted) {
    ck_assert_double_ge(have, wanted);
    ck_assert_double_le(have, wanted);
}

/* ---- the golden file ---- */

static void check_file(const char *name) {
    uint8_t bytes[8192];
    FILE *file = fopen(name, "rb");
    ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    ck_assert_uint_eq(size, golden_size);
    ck_assert_mem_eq(bytes, golden, size);
}

START_TEST(the_golden_file_is_what_its_values_make) {
    check_file(GOLDEN);
}
END_TEST

START_TEST(so_is_that_with_nodes) {
    check_file(GOLDEN_NODES);
}
END_TEST

START_TEST(nodes_are_read_right) {
    check_opens(golden, golden_size);
    ck_assert_uint_eq(dump->node_count, 3);
    ck_assert_uint_eq(dump->nodes[1].node, 2);
    ck_assert_uint_eq(dump->nodes[1].misplaced_bytes, MEMPROF_NODE_UNKNOWN);
    ck_assert_uint_eq(dump->nodes[2].flags & MEMPROF_NODE_HOME, 0);
    ck_assert_uint_eq(dump->free_count, 3);
    ck_assert_uint_eq(dump->frees[1].on, 2);
    ck_assert_uint_eq(dump->frees[1].lifetime, 30);
    ck_assert_uint_eq(dump->frees[2].flags, MEMPROF_FREE_RESIZED);
    ck_assert_uint_eq(dump->samples[1].resizes, 3);
    ck_assert_uint_eq(dump->point_count, 2);
    ck_assert_uint_eq(dump->points[1].heap_bytes, 4194304);
    ck_assert_uint_eq(dump->process->peak_bytes, 9437184);
    check_number(dump->stacks[0].peak_bytes, 3145728);
    ck_assert_uint_eq(dump->samples[1].node, 2);
    check_golden_records();
}
END_TEST

static void open_golden(void) {
    if (dump_open(&dump, GOLDEN, &error) != 0)
        ck_abort_msg("%s", error.text);
}

#define check_text(text, wanted) ck_assert_str_eq(dump_text(dump, text), wanted)

START_TEST(the_golden_process_is_read_right) {
    open_golden();
    const struct memprof_dump_process *p = dump->process;
    ck_assert_str_eq(dump->path, GOLDEN);
    ck_assert_uint_eq(p->time_ns, 1700000060000000000);
    ck_assert_uint_eq(p->start_time_ns, 1700000000000000000);
    ck_assert_uint_eq(p->uptime_ns, 60000000123);
    ck_assert_uint_eq(p->pid, 4242);
    ck_assert_uint_eq(p->parent_pid, 4200);
    ck_assert_uint_eq(p->uid, 1000);
    ck_assert_uint_eq(p->dump_number, 2);
    check_text(p->exe, "/usr/bin/leaky");
    check_text(p->command, "leaky --port 80");
    check_text(p->host, "host.example");
    check_text(p->library, "0.1.0");
    ck_assert_uint_eq(p->rate, 524288);
    ck_assert_uint_eq(p->seed, 0x123456789abcdef0);
    ck_assert_uint_eq(p->unwinder, 3);
    ck_assert_uint_eq(p->depth, 64);
    ck_assert_uint_eq(p->page_size, 4096);
    ck_assert_uint_eq(p->threads, 3);
    ck_assert_uint_eq(p->samples_taken, 25);
    ck_assert_uint_eq(p->samples_dropped, 1);
    ck_assert_uint_eq(p->pause_ns, 1500000);
    ck_assert_uint_eq(p->live_bytes, 3145808);
    ck_assert_uint_eq(p->live_objects, 1500);
    ck_assert_uint_eq(p->allocated_objects, 90000);
    ck_assert_uint_eq(p->cached_bytes, 65536);
    ck_assert_uint_eq(p->fragmented_bytes, 98304);
    ck_assert_uint_eq(p->purgeable_bytes, 131072);
    ck_assert_uint_eq(p->metadata_bytes, 262144);
    ck_assert_uint_eq(p->profile_bytes, 196608);
    ck_assert_uint_eq(p->rss_bytes, 7340032);
    dump_close(dump);
}
END_TEST

static void check_module(size_t i, uint64_t start, uint64_t end, uint64_t bias, const char *path,
                         uint32_t flags, uint32_t build_id_size) {
    const struct memprof_dump_module *m = &dump->modules[i];
    ck_assert_uint_eq(m->start, start);
    ck_assert_uint_eq(m->end, end);
    ck_assert_uint_eq(m->bias, bias);
    check_text(m->path, path);
    ck_assert_uint_eq(m->flags, flags);
    ck_assert_uint_eq(m->build_id_size, build_id_size);
}

START_TEST(the_golden_modules_are_read_right) {
    open_golden();
    ck_assert_uint_eq(dump->module_count, 3);
    check_module(0, 0x555555554000, 0x555555560000, 0x555555554000, "/usr/bin/leaky", 0, 20);
    check_module(1, 0x7ffff7a00000, 0x7ffff7c00000, 0x7ffff7a00000, "/lib/libc.so.6", 0, 0);
    check_module(2, 0x7ffff7900000, 0x7ffff7910000, 0x7ffff78ff000, "/opt/plugin.so", 1, 8);
    ck_assert_mem_eq(dump->modules[0].build_id + 16, "\xde\xad\xbe\xef", 5);
    ck_assert_mem_eq(dump->modules[2].build_id, "\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7", 9);
    dump_close(dump);
}
END_TEST

START_TEST(the_golden_stacks_and_frames_are_read_right) {
    open_golden();
    ck_assert_uint_eq(dump->frame_count, 7);
    ck_assert_uint_eq(MEMPROF_FRAME_ADDRESS(dump->frames[0]), 0x555555555123);
    ck_assert_uint_eq(MEMPROF_FRAME_EXACT(dump->frames[0]), 0);
    ck_assert_ptr_eq(dump_frame_module(dump, dump->frames[0]), &dump->modules[0]);
    ck_assert_ptr_eq(dump_frame_module(dump, dump->frames[3]), &dump->modules[2]);
    ck_assert_uint_eq(MEMPROF_FRAME_ADDRESS(dump->frames[4]), 0x555555555789);
    ck_assert_uint_eq(MEMPROF_FRAME_EXACT(dump->frames[4]), 1);
    ck_assert_ptr_eq(dump_frame_module(dump, dump->frames[4]), &dump->modules[0]);
    ck_assert_ptr_null(dump_frame_module(dump, dump->frames[5]));

    ck_assert_uint_eq(dump->stack_count, 3);
    const struct memprof_dump_stack *s = dump->stacks;
    ck_assert_uint_eq(s[0].frame, 0);
    ck_assert_uint_eq(s[0].depth, 3);
    ck_assert_uint_eq(s[0].flags, 0);
    ck_assert_uint_eq(s[0].allocated_samples, 20);
    ck_assert_uint_eq(s[0].freed_samples, 18);
    check_number(s[0].allocated_objects, 80.5);
    check_number(s[0].allocated_bytes, 5242880.25);
    check_number(s[0].freed_objects, 72);
    check_number(s[0].freed_bytes, 4194304);
    ck_assert_uint_eq(s[1].frame, 3);
    ck_assert_uint_eq(s[1].flags, MEMPROF_STACK_CUT);
    ck_assert_uint_eq(s[2].frame, 6);
    ck_assert_uint_eq(s[2].depth, 1);
    ck_assert_uint_eq(s[2].flags, MEMPROF_STACK_BROKEN);
    check_number(s[2].allocated_objects, 5461.83);
    dump_close(dump);
}
END_TEST

START_TEST(the_golden_samples_are_read_right) {
    open_golden();
    ck_assert_uint_eq(dump->sample_count, 3);
    const struct memprof_dump_sample *s = dump->samples;
    ck_assert_uint_eq(s[0].serial, 7);
    ck_assert_uint_eq(s[0].address, 0x100000010000);
    ck_assert_uint_eq(s[0].size, 100000);
    ck_assert_uint_eq(s[0].coin, 131072);
    ck_assert_uint_eq(s[0].rate, 524288);
    ck_assert_uint_eq(s[0].age_ns, 30000000000);
    ck_assert_uint_eq(s[0].stack, 0);
    ck_assert_uint_eq(s[0].thread, 4242);
    ck_assert_uint_eq(s[1].serial, 24);
    ck_assert_uint_eq(s[1].rate, 1);
    ck_assert_uint_eq(s[2].serial, 25);
    ck_assert_uint_eq(s[2].stack, 2);
    ck_assert_double_eq_tol(dump_sample_weight(&s[0]), 4.5208116642, 1e-8);
    check_number(dump_sample_weight(&s[1]), 1);
    ck_assert_double_eq_tol(dump_sample_weight(&s[2]), 5461.833348592, 1e-8);
    dump_close(dump);
}
END_TEST

START_TEST(the_golden_classes_and_maps_are_read_right) {
    open_golden();
    ck_assert_uint_eq(dump->class_count, 3);
    const struct memprof_dump_class *c = dump->classes;
    ck_assert_uint_eq(c[0].size, 96);
    ck_assert_uint_eq(c[0].kind, MEMPROF_CLASS_SIZED);
    ck_assert_uint_eq(c[0].pages, 3);
    ck_assert_uint_eq(c[0].live_objects, 1498);
    ck_assert_uint_eq(c[0].live_bytes, 143808);
    ck_assert_uint_eq(c[0].free_objects, 548);
    ck_assert_uint_eq(c[0].stranded_bytes, 52608);
    ck_assert_uint_eq(c[1].kind, MEMPROF_CLASS_LARGE);
    ck_assert_uint_eq(c[2].kind, MEMPROF_CLASS_MAPPED);
    ck_assert_uint_eq(c[2].live_bytes, 1048576);

    ck_assert_uint_eq(dump->map_count, 3);
    const struct memprof_dump_map *m = dump->maps;
    ck_assert_uint_eq(m[0].start, 0x100000000000);
    ck_assert_uint_eq(m[0].end, 0x100000800000);
    ck_assert_uint_eq(m[0].rss_bytes, 3145728);
    ck_assert_uint_eq(m[0].dirty_bytes, 3145728);
    ck_assert_uint_eq(m[0].swap_bytes, 4096);
    ck_assert_uint_eq(m[0].kind, MEMPROF_MAP_HEAP);
    check_text(m[0].path, "");
    ck_assert_uint_eq(m[1].file_offset, 0x1000);
    ck_assert_uint_eq(m[1].kind, MEMPROF_MAP_FILE);
    ck_assert_uint_eq(m[1].access, MEMPROF_MAP_READ | MEMPROF_MAP_EXEC);
    check_text(m[1].path, "/usr/bin/leaky");
    check_text(m[2].path, "[stack]");
    ck_assert_uint_eq(m[2].kind, MEMPROF_MAP_STACK);
    dump_close(dump);
}
END_TEST

/* ---- weights ---- */

START_TEST(a_weight_is_one_over_the_chance) {
    static const struct {
        uint64_t coin, rate;
        double weight;
    } rows[] = {
        {16, 1, 1},
        {1, 1, 1},
        {16, 524288, 32768.5000025},
        {524288, 524288, 1.5819767068693265},
        {1 << 20, 524288, 1.1565176427496657},
        {(uint64_t)1 << 40, 524288, 1},
        {UINT64_MAX, 2, 1},
        {1, UINT64_MAX, 18446744073709551616.0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct memprof_dump_sample sample = {.coin = rows[i].coin, .rate = rows[i].rate};
        double weight = dump_sample_weight(&sample);
        ck_assert_double_ge(weight, 1);
        ck_assert_double_le(fabs(weight - rows[i].weight), 1e-9 * rows[i].weight);
    }
}
END_TEST

/* ---- later versions ---- */

START_TEST(larger_records_header_and_entries_are_read_as_far_as_known) {
    struct build_section sections[DUMP_KINDS];
    size_t size, count = golden_sections(sections);
    static const uint32_t all[] = {208, 1000, 3000, 4096};
    for (size_t a = 0; a < sizeof all / sizeof *all; a++) {
        for (size_t i = 0; i < count; i++) {
            if (sections[i].kind != MEMPROF_DUMP_STRINGS)
                sections[i].record_size = all[a];
        }
        const struct build_sizes sizes = {.header = all[a], .section = all[a]};
        uint8_t *bytes = build_dump(sections, count, &sizes, &size);
        check_opens(bytes, size);
        check_golden_records();
        free(bytes);
    }
}
END_TEST

START_TEST(sections_of_unknown_kind_are_checked_and_skipped) {
    struct build_section sections[DUMP_KINDS + 2];
    size_t size, count = golden_sections(sections);
    /* Longer than the buffer they are read through, odd, and empty; before, between, after. */
    char *junk = malloc(50001);
    memset(junk, 0x5a, 50001);
    memmove(sections + 1, sections, count * sizeof *sections);
    sections[0] = (struct build_section){1000, 1, 50001, junk, 0};
    sections[count + 1] = sections[4];
    sections[4] = (struct build_section){77, 24, 0, junk, 0};
    sections[count + 2] = (struct build_section){UINT32_MAX, 3, 3, junk, 0};
    uint8_t *bytes = build_dump(sections, count + 3, NULL, &size);
    check_opens(bytes, size);
    check_golden_records();

    size_t first = HEADER_SIZE + (count + 3) * ENTRY_SIZE;
    bytes[first + 50000] ^= 1;
    check_says(bytes, size, first,
               "the checksum of a section of unknown kind, 50008 bytes from here, is wrong");
    bytes[first + 50000] ^= 1;
    bytes[first + 50001] = 1;
    build_repair(bytes, size);
    check_says(bytes, size, first + 50001, "a padding byte is not zero");
    free(bytes);
    sections[0].kind = 77;
    bytes = build_dump(sections, count + 3, NULL, &size);
    check_says(bytes, size, HEADER_SIZE + 4 * ENTRY_SIZE, "a second section of kind 77");
    free(bytes);
    free(junk);
}
END_TEST

START_TEST(sections_may_come_in_any_order) {
    struct build_section sections[DUMP_KINDS], mixed[DUMP_KINDS];
    size_t size, count = golden_sections(sections);
    for (size_t i = 0; i < count; i++)
        mixed[i] = sections[(i * 3 + 5) % count];
    uint8_t *bytes = build_dump(mixed, count, NULL, &size);
    check_opens(bytes, size);
    check_golden_records();
    free(bytes);
}
END_TEST

START_TEST(records_are_brought_to_another_size_in_place) {
    enum { COUNT = 50 };
    for (size_t from = 8; from <= 72; from += 8) {
        for (size_t to = 8; to <= 72; to += 8) {
            uint8_t bytes[COUNT * 72];
            memset(bytes, 0xaa, sizeof bytes);
            for (size_t i = 0; i < COUNT * from; i++)
                bytes[i] = (uint8_t)(1 + (i / from * 7 + i % from * 11) % 255);
            dump_fit(bytes, COUNT, from, to);
            for (size_t i = 0; i < COUNT * to; i++) {
                size_t record = i / to, at = i % to;
                unsigned want = at < from ? 1 + (record * 7 + at * 11) % 255 : 0;
                if (bytes[i] != want)
                    ck_abort_msg("%zu to %zu: byte %zu is %u, not %u", from, to, i, bytes[i], want);
            }
        }
    }
}
END_TEST

/* ---- files that are none, or change ---- */

static void check_whole(const char *path, const char *text) {
    ck_assert_int_eq(dump_open(&dump, path, &error), -1);
    ck_assert_ptr_null(dump);
    ck_assert_uint_eq(error.offset, 0);
    ck_assert_str_eq(error.text, text);
}

static char folder[256];

static const char *in_folder(const char *name) {
    static char path[512];
    if (!folder[0]) {
        const char *top = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/memprof-reader.XXXXXX", top ? top : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(folder));
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void remove_folder(void) {
    if (folder[0])
        rmdir(folder);
    folder[0] = '\0';
}

START_TEST(what_is_no_regular_file_is_refused_at_once) {
    char want[600];
    const char *fifo = in_folder("fifo");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    snprintf(want, sizeof want, "%s: not a regular file", fifo);
    check_whole(fifo, want);
    unlink(fifo);
    check_whole("/dev/null", "/dev/null: not a regular file");
    check_whole("/dev/zero", "/dev/zero: not a regular file");
    check_whole("/", "/: Is a directory");
    check_whole("", ": No such file or directory");
    check_whole("/nowhere/dump", "/nowhere/dump: No such file or directory");
    check_whole("/dev/null/dump", "/dev/null/dump: Not a directory");
    check_says("", 0, 0, "the file is empty");
    ck_assert_int_eq(dump_open(&dump, "/proc/self/maps", &error), -1);
    ck_assert_str_eq(error.text, "/proc/self/maps: at byte 0: the file is empty");
}
END_TEST

START_TEST(an_error_shows_no_control_character_and_the_end_of_a_long_name) {
    char path[1000], want[1000];
    check_whole("/nowhere/a\x1b[31m\nb\x7f\xff", "/nowhere/a?[31m?b??: No such file or directory");
    memset(path, 'x', sizeof path);
    memcpy(path, "/nowhere/", 9);
    memcpy(path + 600, "/name", 6);
    ck_assert_int_eq(dump_open(&dump, path, &error), -1);
    snprintf(want, sizeof want, "...%s: %s", path + 605 - 252, strerror(errno));
    ck_assert_str_eq(error.text, want);
    ck_assert_ptr_nonnull(strstr(error.text, "/name: "));
}
END_TEST

START_TEST(other_files_are_not_taken_for_dumps) {
    char text[3000];
    memset(text, ' ', sizeof text);
    check_says(text, sizeof text, 0, "this is not a memprof dump");
    check_says(text, 1, 0, "this is not a memprof dump");
    check_says("\x7f"
               "ELF",
               4, 0, "this is not a memprof dump");
    memset(text, 0, sizeof text);
    check_says(text, sizeof text, 0, "this is not a memprof dump");
}
END_TEST

/* The golden dump with this much more behind it, so that reading takes a while. */
enum { BULK = 4 << 20 };

static uint8_t *large;
static size_t large_size;
static atomic_bool stop;

static void *cut_and_mend(void *bulk) {
    for (unsigned i = 0; !stop; i++) {
        size_t kept = large_size - BULK / 2;
        must(ftruncate(try_fd(), (off_t)kept) == 0);
        must(pwrite(try_fd(), large + kept, BULK / 2, (off_t)kept) == BULK / 2);
        usleep(i * 37 % 1500);
    }
    return bulk;
}

START_TEST(a_file_that_is_cut_while_it_is_read_is_an_error) {
    struct build_section sections[DUMP_KINDS + 1];
    size_t count = golden_sections(sections);
    uint8_t *bulk = calloc(1, BULK);
    bool seen = false;
    pthread_t thread;
    sections[count] = (struct build_section){99, 8, BULK / 8, bulk, 0};
    large = build_dump(sections, count + 1, NULL, &large_size);
    check_opens(large, large_size);
    check_golden_records();

    stop = false;
    ck_assert_int_eq(pthread_create(&thread, NULL, cut_and_mend, bulk), 0);
    for (unsigned round = 0; round < 100 || (!seen && round < 5000); round++) {
        if (dump_open(&dump, try_path(), &error) == 0) {
            check_golden_records();
        } else {
            check_refused(large_size);
            seen |= strstr(error.text, "the file ends here; it has shrunk meanwhile") != NULL;
        }
    }
    stop = true;
    pthread_join(thread, NULL);
    ck_assert(seen);
    free(large);
    free(bulk);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("reader");
    TCase *tcase = tcase_create("reader");
    try_setup(tcase);
    tcase_add_checked_fixture(tcase, NULL, remove_folder);
    UNIT_CASE(tcase, the_golden_file_is_what_its_values_make);
    UNIT_CASE(tcase, the_golden_process_is_read_right);
    UNIT_CASE(tcase, the_golden_modules_are_read_right);
    UNIT_CASE(tcase, the_golden_stacks_and_frames_are_read_right);
    UNIT_CASE(tcase, the_golden_samples_are_read_right);
    UNIT_CASE(tcase, the_golden_classes_and_maps_are_read_right);
    UNIT_CASE(tcase, a_weight_is_one_over_the_chance);
    UNIT_CASE(tcase, sections_of_unknown_kind_are_checked_and_skipped);
    UNIT_CASE(tcase, sections_may_come_in_any_order);
    UNIT_CASE(tcase, records_are_brought_to_another_size_in_place);
    UNIT_CASE(tcase, what_is_no_regular_file_is_refused_at_once);
    UNIT_CASE(tcase, an_error_shows_no_control_character_and_the_end_of_a_long_name);
    UNIT_CASE(tcase, other_files_are_not_taken_for_dumps);
    UNIT_CASE(tcase, a_file_that_is_cut_while_it_is_read_is_an_error);
    suite_add_tcase(suite, tcase);
    TCase *nodes = tcase_create("nodes");
    try_setup_nodes(nodes);
    UNIT_CASE(nodes, so_is_that_with_nodes);
    UNIT_CASE(nodes, nodes_are_read_right);
    UNIT_CASE(nodes, larger_records_header_and_entries_are_read_as_far_as_known);
    suite_add_tcase(suite, nodes);
    return unit_main(suite);
}
