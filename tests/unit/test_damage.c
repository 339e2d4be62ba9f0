/* Suite: dumps that are not as they should be: each rule of the format broken alone, every bit
 * changed, every length but the right one, and damage under checksums that are right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mutate.h"
#include "reader/records.h"
#include "try_dump.h"
#include "unit.h"

/* ---- what is refused ---- */

/* The golden file with one field of a record changed is refused at that field for this reason. */
static void check_field(uint32_t kind, size_t i, size_t field, size_t width, uint64_t value,
                        const char *reason) {
    struct memprof_dump_section entry = golden_entry(kind);
    uint64_t offset = entry.offset + i * entry.record_size + field;
    uint8_t *bytes = malloc(golden_size);
    memcpy(bytes, golden, golden_size);
    ck_assert_mem_ne(bytes + offset, &value, width);
    memcpy(bytes + offset, &value, width);
    build_repair(bytes, golden_size);
    check_says(bytes, golden_size, offset, reason);
    free(bytes);
}

#define FIELD(kind, i, type, field, value, reason)                                                 \
    check_field(MEMPROF_DUMP_##kind, i, offsetof(struct memprof_dump_##type, field),               \
                sizeof(((struct memprof_dump_##type *)0)->field), value, reason)

START_TEST(a_field_that_cannot_be_is_refused_by_name) {
    FIELD(PROCESS, 0, process, exe, 89, "exe: no text has offset 89; STRINGS has 89 bytes");
    FIELD(PROCESS, 0, process, command, 90, "command: no text has offset 90; STRINGS has 89 bytes");
    FIELD(PROCESS, 0, process, host, 0xffffffff,
          "host: no text has offset 4294967295; STRINGS has 89 bytes");
    FIELD(PROCESS, 0, process, library, 89, "library: no text has offset 89; STRINGS has 89 bytes");
    FIELD(PROCESS, 0, process, unwinder, 4, "there is no unwinder 4");
    FIELD(PROCESS, 0, process, depth, 257, "depth 257; the most is 256");
    FIELD(PROCESS, 0, process, page_size, 0, "page size 0 is no power of two");
    FIELD(PROCESS, 0, process, page_size, 4097, "page size 4097 is no power of two");
    FIELD(MODULES, 1, module, end, 0x7ffff7a00000, "module 1 ends before it starts");
    FIELD(MODULES, 2, module, path, 89, "path: no text has offset 89; STRINGS has 89 bytes");
    FIELD(MODULES, 0, module, build_id_size, 37, "a build-id of 37 bytes; 36 have room");
    FIELD(MODULES, 1, module, build_id[35], 1, "an unused byte is not zero");
    FIELD(MODULES, 0, module, build_id[20], 1, "an unused byte is not zero");
    FIELD(STACKS, 1, stack, depth, 257, "a stack of 257 frames; the most is 256");
    FIELD(STACKS, 2, stack, frame, 7, "1 frames from 7 on; FRAMES has 7");
    FIELD(STACKS, 1, stack, frame, UINT64_MAX,
          "3 frames from 18446744073709551615 on; FRAMES has 7");
    FIELD(STACKS, 0, stack, allocated_objects, 0x7ff0000000000000, "not a number of objects");
    FIELD(STACKS, 0, stack, allocated_bytes, 0x7ff8000000000000, "not a number of bytes");
    FIELD(STACKS, 0, stack, freed_objects, 0xbff0000000000000, "not a number of objects");
    FIELD(STACKS, 2, stack, freed_bytes, 0x7fefffffffffffff, "not a number of bytes");
    FIELD(SAMPLES, 0, sample, coin, 0, "a sample with no chance to be one: coin is 0");
    FIELD(SAMPLES, 1, sample, rate, 0, "a sample with no chance to be one: rate is 0");
    FIELD(SAMPLES, 2, sample, stack, 3, "stack 3 of 3");
    FIELD(CLASSES, 0, class, kind, 3, "there is no kind 3 of classes");
    FIELD(CLASSES, 0, class, size, 0, "a class of kind 0 with blocks of 0 bytes");
    FIELD(CLASSES, 1, class, size, 96, "a class of kind 1 with blocks of 96 bytes");
    FIELD(CLASSES, 2, class, reserved, 1, "a reserved field is not zero");
    FIELD(MAPS, 0, map, end, 0x0fffffffffff, "mapping 0 ends before it starts");
    FIELD(MAPS, 0, map, end, 0x100000000000, "mapping 0 ends before it starts");
    FIELD(MAPS, 1, map, path, 89, "path: no text has offset 89; STRINGS has 89 bytes");
    FIELD(MAPS, 2, map, kind, 8, "there is no kind 8 of mappings");
    check_field(MEMPROF_DUMP_FRAMES, 6, 0, 8, (uint64_t)4 << 48, "frame 6 is in module 4 of 3");
    check_field(MEMPROF_DUMP_STRINGS, 0, 0, 1, 'x', "STRINGS does not begin with the empty text");
    check_field(MEMPROF_DUMP_STRINGS, 88, 0, 1, 'x', "the last text of STRINGS has no end");
    check_field(MEMPROF_DUMP_STRINGS, 89, 0, 1, 1, "a padding byte is not zero");
    check_field(MEMPROF_DUMP_STRINGS, 95, 0, 1, 1, "a padding byte is not zero");
}
END_TEST

START_TEST(a_field_of_nodes_that_cannot_be_is_refused_by_name) {
    FIELD(STACKS, 0, stack, peak_objects, 0x7ff0000000000000, "not a number of objects");
    FIELD(STACKS, 2, stack, peak_bytes, 0xbff0000000000000, "not a number of bytes");
    FIELD(NODES, 1, node, node, 0, "node 0 stands behind node 0");
    FIELD(NODES, 2, node, node, 1, "node 1 stands behind node 2");
    FIELD(FREES, 1, free, stack, 3, "stack 3 of 3");
    FIELD(FREES, 0, free, reserved, 7, "a reserved field is not zero");
    FIELD(FREES, 0, free, lifetime, 65, "a lifetime of 65 bits");
    FIELD(FREES, 0, free, node, 1024, "memory of node 1024 freed on node 0; they are below 1024");
    FIELD(FREES, 2, free, objects, 0xbff0000000000000, "not a number of objects");
    FIELD(FREES, 2, free, bytes, 0x7ff8000000000000, "not a number of bytes");
    FIELD(REGIONS, 0, region, end, 0x7ffff0000000, "region 0 ends before it starts");
    FIELD(REGIONS, 1, region, stack, 3, "stack 3 of 3");
    FIELD(REGIONS, 1, region, kind, 5, "there is no kind 5 of regions");
    FIELD(REGIONS, 0, region, reserved, 1, "a reserved field is not zero");
    FIELD(LEAKS, 0, leaks, world, 4, "there is no way 4 of stopping threads");
    FIELD(LEAKS, 0, leaks, world, 0, "there is no way 0 of stopping threads");
    FIELD(LEAKS, 0, leaks, reserved, 1, "a reserved field is not zero");
    FIELD(SERIES, 1, point, uptime_ns, 999999999, "point 1 is earlier than the one before");
}
END_TEST

/* One further would be refused. */
START_TEST(a_field_may_be_as_large_as_its_bound) {
    enum { FRAMES = 256 };
    static uint64_t frames[FRAMES];
    struct build_section sections[DUMP_KINDS];
    size_t size, count = golden_sections(sections);
    const struct memprof_dump_process process = {.depth = FRAMES, .page_size = 1u << 31};
    struct memprof_dump_module module = {.start = 1, .end = 2, .build_id_size = 36};
    const struct memprof_dump_stack stacks[] = {
        {.frame = 0, .depth = FRAMES, .allocated_bytes = 0x1p96},
        {.frame = FRAMES, .depth = 0},
    };
    const struct memprof_dump_sample sample = {.coin = 1, .rate = UINT64_MAX, .stack = 1};
    const struct memprof_dump_map map = {.end = UINT64_MAX, .kind = MEMPROF_MAP_SPECIAL};
    memset(module.build_id, 0xff, sizeof module.build_id);
    for (size_t i = 0; i < FRAMES; i++)
        frames[i] = (uint64_t)1 << 48;
    const struct build_section made[] = {
        {MEMPROF_DUMP_PROCESS, sizeof process, 1, &process, 0},
        {MEMPROF_DUMP_MODULES, sizeof module, 1, &module, 0},
        {MEMPROF_DUMP_FRAMES, sizeof *frames, FRAMES, frames, 0},
        {MEMPROF_DUMP_STACKS, sizeof *stacks, 2, stacks, 0},
        {MEMPROF_DUMP_SAMPLES, sizeof sample, 1, &sample, 0},
        {MEMPROF_DUMP_MAPS, sizeof map, 1, &map, 0},
    };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        sections[made[i].kind - 1] = made[i];
    uint8_t *bytes = build_dump(sections, count, NULL, &size);
    check_opens(bytes, size);
    ck_assert_uint_eq(dump->stacks[0].depth, FRAMES);
    dump_close(dump);
    free(bytes);
}
END_TEST

START_TEST(what_follows_the_last_section_is_refused) {
    uint8_t *bytes = calloc(1, golden_size + 8);
    memcpy(bytes, golden, golden_size);
    build_repair(bytes, golden_size + 8);
    check_says(bytes, golden_size + 8, golden_size,
               "the last section ends here, and the file goes on");
    free(bytes);
}
END_TEST

/* The golden file with a field of header (entry < 0) or section table changed. */
static void check_frame(int entry, size_t field, size_t width, uint64_t value, uint64_t offset,
                        const char *reason) {
    uint8_t *bytes = malloc(golden_size);
    size_t at = (entry < 0 ? 0 : HEADER_SIZE + (size_t)entry * ENTRY_SIZE) + field;
    memcpy(bytes, golden, golden_size);
    ck_assert_mem_ne(bytes + at, &value, width);
    memcpy(bytes + at, &value, width);
    if (entry >= 0 || field != offsetof(struct memprof_dump_header, file_size))
        build_repair(bytes, golden_size);
    check_says(bytes, golden_size, offset ? offset : at, reason);
    free(bytes);
}

#define IN_HEADER(field, value, reason)                                                            \
    check_frame(-1, offsetof(struct memprof_dump_header, field),                                   \
                sizeof(((struct memprof_dump_header *)0)->field), value, 0, reason)
#define IN_TABLE(i, field, value, reason)                                                          \
    check_frame(i, offsetof(struct memprof_dump_section, field),                                   \
                sizeof(((struct memprof_dump_section *)0)->field), value, 0, reason)

START_TEST(a_header_or_table_that_cannot_be_is_refused_by_name) {
    IN_HEADER(magic[0], 'M', "this is not a memprof dump");
    IN_HEADER(version, 2, "written by a newer memprof (format 2)");
    IN_HEADER(version, 0, "there is no format 0");
    IN_HEADER(header_size, 32, "a header of 32 bytes");
    IN_HEADER(header_size, 44, "a header of 44 bytes");
    IN_HEADER(header_size, 4104, "a header of 4104 bytes");
    IN_HEADER(section_count, 0, "0 sections; the most is 64");
    IN_HEADER(section_count, 65, "65 sections; the most is 64");
    IN_HEADER(section_count, 64, "the section table ends at byte 2600, the file at 1608");
    IN_HEADER(section_size, 32, "section table entries of 32 bytes");
    IN_HEADER(section_size, 4104, "section table entries of 4104 bytes");
    IN_HEADER(section_size, 60, "section table entries of 60 bytes");
    IN_HEADER(file_size, 1600, "the file has 1608 bytes and should have 1600");
    IN_HEADER(reserved, 1, "a reserved field is not zero");
    IN_TABLE(0, kind, 0, "there is no section kind 0");
    IN_TABLE(4, kind, 2, "a second section of kind 2");
    IN_TABLE(2, record_size, 64, "records of 64 bytes in MODULES");
    IN_TABLE(2, record_size, 76, "records of 76 bytes in MODULES");
    IN_TABLE(2, record_size, 4104, "records of 4104 bytes in MODULES");
    IN_TABLE(1, record_size, 2, "records of 2 bytes in STRINGS");
    IN_TABLE(1, record_size, 0, "records of 0 bytes in STRINGS");
    IN_TABLE(1, offset, 552, "a section at byte 552, and 544 is where it should begin");
    IN_TABLE(7, size, 176, "a section of 176 bytes, and the file has 168 more");
    IN_TABLE(7, count, 4, "4 records of 56 bytes in a section of 168 bytes");
    IN_TABLE(7, count, ((uint64_t)1 << 61) + 3,
             "2305843009213693955 records of 56 bytes in a section of 168 bytes");
    IN_TABLE(1, count, UINT64_MAX,
             "18446744073709551615 records of 1 bytes in a section of 96 bytes");
    IN_TABLE(1, count, 88, "88 records of 1 bytes in a section of 96 bytes");
    IN_TABLE(0, reserved, 1, "a reserved field is not zero");
    /* A kind that is not known takes the place of one that must be there. */
    check_frame(7, 0, 4, 99, offsetof(struct memprof_dump_header, section_count),
                "there is no section MAPS");
}
END_TEST

START_TEST(wrong_checksums_are_told_apart) {
    uint8_t *bytes = malloc(golden_size);
    struct memprof_dump_section maps = golden_entry(MEMPROF_DUMP_MAPS);
    memcpy(bytes, golden, golden_size);
    bytes[maps.offset + 100] ^= 1;
    check_says(bytes, golden_size, maps.offset,
               "the checksum of MAPS, 168 bytes from here, is wrong");
    memcpy(bytes, golden, golden_size);
    bytes[HEADER_SIZE + 5] ^= 1;
    check_says(bytes, golden_size, 36, "the checksum of header and section table is wrong");
    free(bytes);
}
END_TEST

static const struct memprof_dump_process a_process = {.page_size = 4096};
static const struct memprof_dump_leaks some_leaks = {.world = MEMPROF_WORLD_PTRACE};
static const uint64_t no_records[100];

/* A dump with nothing in it but what must be. */
static size_t empty_sections(struct build_section *sections) {
    static const uint32_t sizes[DUMP_KINDS] = {
        [MEMPROF_DUMP_PROCESS] = sizeof(struct memprof_dump_process),
        [MEMPROF_DUMP_STRINGS] = 1,
        [MEMPROF_DUMP_MODULES] = sizeof(struct memprof_dump_module),
        [MEMPROF_DUMP_FRAMES] = sizeof(uint64_t),
        [MEMPROF_DUMP_STACKS] = sizeof(struct memprof_dump_stack),
        [MEMPROF_DUMP_SAMPLES] = sizeof(struct memprof_dump_sample),
        [MEMPROF_DUMP_CLASSES] = sizeof(struct memprof_dump_class),
        [MEMPROF_DUMP_MAPS] = sizeof(struct memprof_dump_map),
        [MEMPROF_DUMP_NODES] = sizeof(struct memprof_dump_node),
        [MEMPROF_DUMP_FREES] = sizeof(struct memprof_dump_free),
        [MEMPROF_DUMP_SERIES] = sizeof(struct memprof_dump_point),
        [MEMPROF_DUMP_REGIONS] = sizeof(struct memprof_dump_region),
        [MEMPROF_DUMP_LEAKS] = sizeof(struct memprof_dump_leaks),
    };
    for (uint32_t kind = 1; kind < DUMP_KINDS; kind++)
        sections[kind - 1] = (struct build_section){kind, sizes[kind], 0, no_records, 0};
    sections[0].records = &a_process;
    sections[0].count = 1;
    sections[1].count = 1;
    sections[MEMPROF_DUMP_LEAKS - 1].records = &some_leaks;
    sections[MEMPROF_DUMP_LEAKS - 1].count = 1;
    return DUMP_KINDS - 1;
}

START_TEST(a_dump_may_be_empty_but_has_every_needed_section) {
    struct build_section sections[DUMP_KINDS];
    size_t size, count = empty_sections(sections);
    uint8_t *bytes = build_dump(sections, count, NULL, &size);
    check_opens(bytes, size);
    ck_assert_uint_eq(dump->sample_count + dump->stack_count + dump->map_count, 0);
    ck_assert_str_eq(dump_text(dump, 0), "");
    ck_assert_str_eq(dump_text(dump, 1), "");
    ck_assert_ptr_null(dump_frame_module(dump, UINT64_MAX));
    dump_close(dump);
    free(bytes);

    for (size_t without = 0; without < count; without++) {
        char reason[64];
        struct build_section fewer[DUMP_KINDS];
        for (size_t i = 0; i < count - 1; i++)
            fewer[i] = sections[i + (i >= without)];
        bytes = build_dump(fewer, count - 1, NULL, &size);
        if (without < DUMP_KINDS_NEEDED) {
            snprintf(reason, sizeof reason, "there is no section %s",
                     dump_kind_find((uint32_t)without + 1)->name);
            check_says(bytes, size, 16, reason);
        } else {
            check_opens(bytes, size);
            dump_close(dump);
        }
        free(bytes);
    }
}
END_TEST

START_TEST(process_has_one_record_and_strings_one_text_at_least) {
    struct build_section sections[DUMP_KINDS];
    size_t size, count = empty_sections(sections);
    sections[1].count = 0;
    uint8_t *bytes = build_dump(sections, count, NULL, &size);
    check_says(bytes, size, HEADER_SIZE + count * ENTRY_SIZE + sizeof a_process,
               "STRINGS lacks the empty text that it begins with");
    free(bytes);
    sections[1].count = 1;
    for (size_t processes = 0; processes <= 2; processes += 2) {
        char reason[64];
        const struct memprof_dump_process two[2] = {a_process, a_process};
        sections[0].records = two;
        sections[0].count = processes;
        snprintf(reason, sizeof reason, "%zu records in PROCESS, not one", processes);
        bytes = build_dump(sections, count, NULL, &size);
        check_says(bytes, size, HEADER_SIZE + 16, reason);
        free(bytes);
    }
}
END_TEST

/* ---- damage ---- */

START_TEST(every_bit_of_a_dump_counts) {
    uint8_t *bytes = malloc(golden_size);
    memcpy(bytes, golden, golden_size);
    check_opens(bytes, golden_size);
    dump_close(dump);
    for (size_t at = 0; at < golden_size; at++) {
        for (unsigned change = 0; change <= 8; change++) {
            uint8_t flip = (uint8_t)(change < 8 ? 1u << change : 0xff);
            bytes[at] ^= flip;
            if (try_open(bytes, golden_size) == 0)
                ck_abort_msg("byte %zu xor %#x goes unnoticed", at, flip);
            check_refused(golden_size);
            bytes[at] ^= flip;
        }
    }
    free(bytes);
}
END_TEST

START_TEST(a_dump_of_any_other_length_is_refused) {
    uint8_t *bytes = calloc(2, golden_size);
    memcpy(bytes, golden, golden_size);
    for (size_t size = 0; size <= 2 * golden_size; size++) {
        if (size == golden_size)
            continue;
        if (try_open(bytes, size) == 0)
            ck_abort_msg("%zu bytes are as good as %zu", size, golden_size);
        check_refused(size);
    }
    free(bytes);
}
END_TEST

/* With checksums made right, so that each check behind them is on its own. */
START_TEST(a_forged_dump_is_refused_or_read_and_nothing_else) {
    enum { ROUNDS = 20000 };
    size_t room = golden_size + 4096;
    uint8_t *bytes = malloc(room);
    uint64_t random = 20260;
    unsigned accepted = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t size = golden_size;
        memcpy(bytes, golden, golden_size);
        for (unsigned changes = 1 + round % 4; changes > 0; changes--)
            size = mutate_dump(bytes, size, room, &random);
        build_repair(bytes, size);
        if (try_open(bytes, size) != 0) {
            check_refused(size);
            continue;
        }
        accepted++;
        for (size_t i = 0; i < dump->sample_count; i++)
            ck_assert(isfinite(dump_sample_weight(&dump->samples[i])));
        for (size_t i = 0; i < dump->map_count; i++)
            ck_assert_uint_lt(strlen(dump_text(dump, dump->maps[i].path)), room);
        dump_close(dump);
    }
    /* Else the damage is always of a kind that is noticed first, and this tests little. */
    ck_assert_uint_ge(accepted, ROUNDS / 10);
    ck_assert_uint_le(accepted, ROUNDS * 9 / 10);
    free(bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("damage");
    TCase *tcase = tcase_create("damage");
    try_setup(tcase);
    UNIT_CASE(tcase, a_field_that_cannot_be_is_refused_by_name);
    UNIT_CASE(tcase, a_field_may_be_as_large_as_its_bound);
    UNIT_CASE(tcase, what_follows_the_last_section_is_refused);
    UNIT_CASE(tcase, a_header_or_table_that_cannot_be_is_refused_by_name);
    UNIT_CASE(tcase, wrong_checksums_are_told_apart);
    UNIT_CASE(tcase, a_dump_may_be_empty_but_has_every_needed_section);
    UNIT_CASE(tcase, process_has_one_record_and_strings_one_text_at_least);
    UNIT_CASE(tcase, every_bit_of_a_dump_counts);
    UNIT_CASE(tcase, a_dump_of_any_other_length_is_refused);
    UNIT_CASE(tcase, a_forged_dump_is_refused_or_read_and_nothing_else);
    suite_add_tcase(suite, tcase);
    TCase *nodes = tcase_create("damage to nodes");
    try_setup_nodes(nodes);
    UNIT_CASE(nodes, a_field_of_nodes_that_cannot_be_is_refused_by_name);
    UNIT_CASE(nodes, every_bit_of_a_dump_counts);
    UNIT_CASE(nodes, a_dump_of_any_other_length_is_refused);
    suite_add_tcase(suite, nodes);
    return unit_main(suite);
}
