#include "try_dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "v1.h"

enum { KINDS = 13 };

struct dump *dump;
struct dump_error error;
uint8_t *golden;
size_t golden_size;

static int memory_fd = -1;
static char memory_path[32];

/* ---- the golden dump ---- */

static void make_golden(void) {
    golden = golden_v1(&golden_size);
}

static void make_golden_nodes(void) {
    golden = golden_v1_nodes(&golden_size);
}

static void drop_golden(void) {
    free(golden);
}

void try_setup(TCase *tcase) {
    tcase_add_checked_fixture(tcase, make_golden, drop_golden);
}

void try_setup_nodes(TCase *tcase) {
    tcase_add_checked_fixture(tcase, make_golden_nodes, drop_golden);
}

struct memprof_dump_section golden_entry(uint32_t kind) {
    struct memprof_dump_section entry;
    memcpy(&entry, golden + HEADER_SIZE + (kind - 1) * ENTRY_SIZE, sizeof entry);
    ck_assert_uint_eq(entry.kind, kind);
    return entry;
}

size_t golden_sections(struct build_section *sections) {
    struct memprof_dump_header header;
    memcpy(&header, golden, sizeof header);
    for (uint32_t kind = 1; kind <= header.section_count; kind++) {
        struct memprof_dump_section entry = golden_entry(kind);
        sections[kind - 1] =
            (struct build_section){kind, entry.record_size, entry.count, golden + entry.offset, 0};
    }
    return header.section_count;
}

void check_golden_records(void) {
    struct build_section sections[KINDS];
    size_t count = golden_sections(sections);
    const struct {
        const void *records;
        size_t count, size;
    } have[KINDS] = {
        {dump->process, 1, sizeof *dump->process},
        {dump->strings, dump->strings_size, 1},
        {dump->modules, dump->module_count, sizeof *dump->modules},
        {dump->frames, dump->frame_count, sizeof *dump->frames},
        {dump->stacks, dump->stack_count, sizeof *dump->stacks},
        {dump->samples, dump->sample_count, sizeof *dump->samples},
        {dump->classes, dump->class_count, sizeof *dump->classes},
        {dump->maps, dump->map_count, sizeof *dump->maps},
        {dump->nodes, dump->node_count, sizeof *dump->nodes},
        {dump->frees, dump->free_count, sizeof *dump->frees},
        {dump->points, dump->point_count, sizeof *dump->points},
        {dump->regions, dump->region_count, sizeof *dump->regions},
        {dump->leaks, dump->leaks != NULL, sizeof *dump->leaks},
    };
    for (size_t i = 0; i < KINDS; i++) {
        ck_assert_uint_eq(have[i].count, i < count ? sections[i].count : 0);
        for (size_t r = 0; r < have[i].count; r++)
            ck_assert_mem_eq((const char *)have[i].records + r * have[i].size,
                             (const char *)sections[i].records + r * sections[i].size,
                             sections[i].size);
    }
    dump_close(dump);
}

/* ---- trials ---- */

const char *try_path(void) {
    return memory_path;
}

int try_fd(void) {
    return memory_fd;
}

void try_put(const void *bytes, size_t size) {
    if (memory_fd < 0) {
        memory_fd = memfd_create("dump", MFD_CLOEXEC);
        ck_assert_int_ge(memory_fd, 0);
        snprintf(memory_path, sizeof memory_path, "/proc/self/fd/%d", memory_fd);
    }
    ck_assert_int_eq(ftruncate(memory_fd, 0), 0);
    ck_assert_int_eq(pwrite(memory_fd, bytes, size, 0), (ssize_t)size);
}

int try_open(const void *bytes, size_t size) {
    try_put(bytes, size);
    return dump_open(&dump, memory_path, &error);
}

void check_refused(size_t size) {
    char start[64];
    ck_assert_ptr_null(dump);
    snprintf(start, sizeof start, "%s: at byte %ju: ", memory_path, (uintmax_t)error.offset);
    if (strncmp(error.text, start, strlen(start)) != 0 || error.offset > size ||
        strchr(error.text, '\n') || strlen(error.text) < strlen(start) + 5)
        ck_abort_msg("'%s' (offset %ju)", error.text, (uintmax_t)error.offset);
}

void check_says(const void *bytes, size_t size, uint64_t offset, const char *reason) {
    char want[sizeof error.text];
    if (try_open(bytes, size) == 0)
        ck_abort_msg("accepted, and not: %s", reason);
    check_refused(size);
    snprintf(want, sizeof want, "%s: at byte %ju: %s", memory_path, (uintmax_t)offset, reason);
    ck_assert_str_eq(error.text, want);
}

void check_opens(const void *bytes, size_t size) {
    if (try_open(bytes, size) != 0)
        ck_abort_msg("%s", error.text);
}
