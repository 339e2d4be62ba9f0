#include "reader/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "reader/box.h"
#include "reader/records.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "dumps are little-endian, and so are the machines that memprof runs on"
#endif

/* A dump with what it owns. */
struct opened {
    struct dump dump; /* first: dump_close comes back from it */
    char *path;
    void *records[DUMP_KINDS];
};

struct reader {
    struct dump_check check; /* first, for what records.c asks */
    int fd;
    uint64_t size; /* of the file, when it was opened */
    struct memprof_dump_header header;
    struct memprof_dump_section table[MEMPROF_DUMP_SECTIONS_MAX];
};

#define HEADER_BYTE(field) offsetof(struct memprof_dump_header, field)

/* Where a field of the i-th entry of the section table is. */
#define ENTRY_BYTE(r, i, field)                                                                    \
    ((r)->header.header_size + (uint64_t)(i) * (r)->header.section_size +                          \
     offsetof(struct memprof_dump_section, field))

static bool is_zero(const unsigned char *bytes, size_t size, size_t *where) {
    for (*where = 0; *where < size; ++*where) {
        if (bytes[*where] != 0)
            return false;
    }
    return true;
}

/* ---- the file ---- */

static int read_at(struct reader *r, void *into, uint64_t offset, size_t size) {
    return dump_read_at(&r->check, r->fd, into, offset, size);
}

/* Only regular files have a size to hold the header's against. O_NONBLOCK: a FIFO without a writer
 * would be waited for. */
static int open_file(struct reader *r) {
    const char *path = r->check.path;
    struct stat status;
    r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (r->fd < 0)
        /* What open says of a socket or a device that is not there. */
        return dump_fail_whole(path, r->check.error,
                               errno == ENXIO ? "not a regular file" : strerror(errno));
    if (fstat(r->fd, &status) != 0)
        return dump_fail_whole(path, r->check.error, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return dump_fail_whole(path, r->check.error, strerror(EISDIR));
    if (!S_ISREG(status.st_mode))
        return dump_fail_whole(path, r->check.error, "not a regular file");
    r->size = (uint64_t)status.st_size;
    return 0;
}

/* ---- header and section table ---- */

static bool is_size(uint32_t size, size_t least) {
    return size >= least && size <= DUMP_RECORD_SIZE_MAX && size % 8 == 0;
}

/* The fields that must be right before the rest can be found. They are looked at before the
 * checksum, because a newer version may have another one. */
static int read_header(struct reader *r) {
    struct memprof_dump_header *h = &r->header;
    const struct dump_check *check = &r->check;
    size_t there = r->size < sizeof *h ? (size_t)r->size : sizeof *h;
    if (r->size == 0)
        return dump_fail(check, 0, "the file is empty");
    if (read_at(r, h, 0, there) != 0)
        return -1;
    size_t magic = there < sizeof h->magic ? there : sizeof h->magic;
    if (memcmp(h->magic, MEMPROF_DUMP_MAGIC, magic) != 0)
        return dump_fail(check, 0, "this is not a memprof dump");
    if (there < sizeof *h)
        return dump_fail(check, r->size, "the file ends within its header");
    if (h->version > MEMPROF_DUMP_VERSION)
        return dump_fail(check, HEADER_BYTE(version), "written by a newer memprof (format %u)",
                         h->version);
    if (h->version != MEMPROF_DUMP_VERSION)
        return dump_fail(check, HEADER_BYTE(version), "there is no format %u", h->version);
    if (!is_size(h->header_size, sizeof *h))
        return dump_fail(check, HEADER_BYTE(header_size), "a header of %u bytes", h->header_size);
    if (h->section_count == 0 || h->section_count > MEMPROF_DUMP_SECTIONS_MAX)
        return dump_fail(check, HEADER_BYTE(section_count), "%u sections; the most is %u",
                         h->section_count, MEMPROF_DUMP_SECTIONS_MAX);
    if (!is_size(h->section_size, sizeof(struct memprof_dump_section)))
        return dump_fail(check, HEADER_BYTE(section_size), "section table entries of %u bytes",
                         h->section_size);
    if (h->file_size != r->size)
        return dump_fail(check, HEADER_BYTE(file_size),
                         "the file has %ju bytes and should have %ju", (uintmax_t)r->size,
                         (uintmax_t)h->file_size);
    if (h->reserved != 0)
        return dump_fail(check, HEADER_BYTE(reserved), "a reserved field is not zero");
    return 0;
}

/* Header and table in one piece, as the checksum covers them. 520 KiB at most. */
static int read_table(struct reader *r) {
    struct memprof_dump_header *h = &r->header;
    const struct dump_check *check = &r->check;
    size_t size = h->header_size + (size_t)h->section_count * h->section_size;
    if (size > r->size)
        return dump_fail(check, HEADER_BYTE(section_count),
                         "the section table ends at byte %zu, the file at %ju", size,
                         (uintmax_t)r->size);
    unsigned char *bytes = malloc(size);
    if (!bytes)
        return dump_fail(check, 0, "not enough memory for %zu bytes", size);
    int result = read_at(r, bytes, 0, size);
    if (result == 0) {
        memset(bytes + HEADER_BYTE(checksum), 0, sizeof h->checksum);
        if (crc32_z(0, bytes, size) != h->checksum)
            result = dump_fail(check, HEADER_BYTE(checksum),
                               "the checksum of header and section table is wrong");
    }
    for (uint32_t i = 0; i < h->section_count && result == 0; i++)
        memcpy(&r->table[i], bytes + h->header_size + (size_t)i * h->section_size,
               sizeof r->table[i]);
    free(bytes);
    return result;
}

static int check_entry(const struct reader *r, uint32_t i, uint64_t expected) {
    const struct memprof_dump_section *s = &r->table[i];
    const struct dump_check *check = &r->check;
    const struct dump_kind *kind = dump_kind_find(s->kind);
    uint64_t bytes, padded;
    if (s->kind == 0)
        return dump_fail(check, ENTRY_BYTE(r, i, kind), "there is no section kind 0");
    for (uint32_t other = 0; other < i; other++) {
        if (r->table[other].kind == s->kind)
            return dump_fail(check, ENTRY_BYTE(r, i, kind), "a second section of kind %u", s->kind);
    }
    if (s->record_size == 0 || s->record_size > DUMP_RECORD_SIZE_MAX ||
        (kind && s->record_size < kind->minimum) ||
        (s->kind == MEMPROF_DUMP_STRINGS ? s->record_size != 1 : kind && s->record_size % 8 != 0))
        return dump_fail(check, ENTRY_BYTE(r, i, record_size), "records of %u bytes in %s",
                         s->record_size, kind ? kind->name : "a section of unknown kind");
    if (s->offset != expected)
        return dump_fail(check, ENTRY_BYTE(r, i, offset),
                         "a section at byte %ju, and %ju is where it should begin",
                         (uintmax_t)s->offset, (uintmax_t)expected);
    if (s->size > r->size - expected)
        return dump_fail(check, ENTRY_BYTE(r, i, size),
                         "a section of %ju bytes, and the file has %ju more", (uintmax_t)s->size,
                         (uintmax_t)(r->size - expected));
    if (__builtin_mul_overflow(s->count, s->record_size, &bytes) ||
        __builtin_add_overflow(bytes, 7, &padded) || (padded & ~(uint64_t)7) != s->size)
        return dump_fail(check, ENTRY_BYTE(r, i, count),
                         "%ju records of %u bytes in a section of %ju bytes", (uintmax_t)s->count,
                         s->record_size, (uintmax_t)s->size);
    if ((s->kind == MEMPROF_DUMP_PROCESS || s->kind == MEMPROF_DUMP_LEAKS) && s->count != 1)
        return dump_fail(check, ENTRY_BYTE(r, i, count), "%ju records in %s, not one",
                         (uintmax_t)s->count, kind->name);
    if (s->reserved != 0)
        return dump_fail(check, ENTRY_BYTE(r, i, reserved), "a reserved field is not zero");
    return 0;
}

static int check_table(struct reader *r) {
    const struct memprof_dump_header *h = &r->header;
    uint64_t expected = h->header_size + (uint64_t)h->section_count * h->section_size;
    bool seen[DUMP_KINDS] = {false};
    for (uint32_t i = 0; i < h->section_count; i++) {
        const struct memprof_dump_section *s = &r->table[i];
        if (check_entry(r, i, expected) != 0)
            return -1;
        expected += s->size;
        if (s->kind < DUMP_KINDS) {
            seen[s->kind] = true;
            r->check.places[s->kind] = (struct dump_place){s->offset, s->record_size};
        }
    }
    if (expected != r->size)
        return dump_fail(&r->check, expected, "the last section ends here, and the file goes on");
    for (uint32_t kind = 1; kind <= DUMP_KINDS_NEEDED; kind++) {
        if (!seen[kind])
            return dump_fail(&r->check, HEADER_BYTE(section_count), "there is no section %s",
                             dump_kind_find(kind)->name);
    }
    return 0;
}

/* ---- sections ---- */

static int wrong_checksum(const struct reader *r, const struct memprof_dump_section *s) {
    const struct dump_kind *kind = dump_kind_find(s->kind);
    return dump_fail(&r->check, s->offset, "the checksum of %s, %ju bytes from here, is wrong",
                     kind ? kind->name : "a section of unknown kind", (uintmax_t)s->size);
}

static int check_padding(const struct reader *r, const struct memprof_dump_section *s,
                         const unsigned char *end, size_t size) {
    size_t where;
    if (!is_zero(end, size, &where))
        return dump_fail(&r->check, s->offset + s->size - size + where,
                         "a padding byte is not zero");
    return 0;
}

/* Of a kind that came later: it is checked like any other and not kept. */
static int pass_section(struct reader *r, const struct memprof_dump_section *s) {
    unsigned char buffer[16384];
    uint64_t left = s->size;
    uLong checksum = 0;
    size_t some = 0;
    while (left > 0) {
        some = left < sizeof buffer ? (size_t)left : sizeof buffer;
        if (read_at(r, buffer, s->offset + s->size - left, some) != 0)
            return -1;
        checksum = crc32_z(checksum, buffer, some);
        left -= some;
    }
    if (checksum != s->checksum)
        return wrong_checksum(r, s);
    /* At most 7 bytes, and the buffer's size is a multiple of 8: they are in its last part. */
    size_t padding = (size_t)(s->size - s->count * s->record_size);
    return check_padding(r, s, buffer + some - padding, padding);
}

static int load_section(struct reader *r, const struct memprof_dump_section *s, void **records) {
    size_t known = dump_kind_find(s->kind)->size, room;
    if (__builtin_mul_overflow(s->count, known, &room) || room > PTRDIFF_MAX)
        return dump_fail(&r->check, s->offset, "not enough memory for %ju records",
                         (uintmax_t)s->count);
    if (room < s->size)
        room = s->size;
    unsigned char *bytes = malloc(room > 0 ? room : 1);
    if (!bytes)
        return dump_fail(&r->check, s->offset, "not enough memory for %zu bytes", room);
    *records = bytes;
    if (read_at(r, bytes, s->offset, s->size) != 0)
        return -1;
    if (crc32_z(0, bytes, s->size) != s->checksum)
        return wrong_checksum(r, s);
    size_t used = (size_t)s->count * s->record_size;
    if (check_padding(r, s, bytes + used, s->size - used) != 0)
        return -1;
    dump_fit(bytes, s->count, s->record_size, known);
    return 0;
}

static void set_records(struct dump *dump, uint32_t kind, const void *records, size_t count) {
    switch ((enum memprof_dump_kind)kind) {
    case MEMPROF_DUMP_PROCESS:
        dump->process = records;
        break;
    case MEMPROF_DUMP_STRINGS:
        dump->strings = records;
        dump->strings_size = count;
        break;
    case MEMPROF_DUMP_MODULES:
        dump->modules = records;
        dump->module_count = count;
        break;
    case MEMPROF_DUMP_FRAMES:
        dump->frames = records;
        dump->frame_count = count;
        break;
    case MEMPROF_DUMP_STACKS:
        dump->stacks = records;
        dump->stack_count = count;
        break;
    case MEMPROF_DUMP_SAMPLES:
        dump->samples = records;
        dump->sample_count = count;
        break;
    case MEMPROF_DUMP_CLASSES:
        dump->classes = records;
        dump->class_count = count;
        break;
    case MEMPROF_DUMP_MAPS:
        dump->maps = records;
        dump->map_count = count;
        break;
    case MEMPROF_DUMP_NODES:
        dump->nodes = records;
        dump->node_count = count;
        break;
    case MEMPROF_DUMP_FREES:
        dump->frees = records;
        dump->free_count = count;
        break;
    case MEMPROF_DUMP_REGIONS:
        dump->regions = records;
        dump->region_count = count;
        break;
    case MEMPROF_DUMP_SERIES:
        dump->points = records;
        dump->point_count = count;
        break;
    case MEMPROF_DUMP_LEAKS:
        dump->leaks = count ? records : NULL;
        break;
    }
}

static bool is_box(struct reader *r) {
    unsigned char magic[8];
    ssize_t n = pread(r->fd, magic, sizeof magic, 0);
    return n > 0 && box_is(magic, (size_t)n);
}

static int load_box(struct reader *r, struct opened *opened) {
    struct box box;
    int result = box_read(&box, r->fd, &r->check);
    if (result != 0) {
        box_free(&box);
        return result;
    }
    for (uint32_t kind = 1; kind < DUMP_KINDS; kind++) {
        opened->records[kind] = box.records[kind];
        set_records(&opened->dump, kind, box.records[kind], box.counts[kind]);
    }
    opened->dump.box = box.about;
    return dump_check_records(&r->check, &opened->dump);
}

static int load(struct reader *r, struct opened *opened) {
    if (open_file(r) != 0)
        return -1;
    if (is_box(r))
        return load_box(r, opened);
    if (read_header(r) != 0 || read_table(r) != 0 || check_table(r) != 0)
        return -1;
    for (uint32_t i = 0; i < r->header.section_count; i++) {
        const struct memprof_dump_section *s = &r->table[i];
        if (!dump_kind_find(s->kind)) {
            if (pass_section(r, s) != 0)
                return -1;
            continue;
        }
        if (load_section(r, s, &opened->records[s->kind]) != 0)
            return -1;
        set_records(&opened->dump, s->kind, opened->records[s->kind], s->count);
    }
    return dump_check_records(&r->check, &opened->dump);
}

/* ---- what others call ---- */

int dump_open(struct dump **out, const char *path, struct dump_error *error) {
    struct reader reader = {.check = {.path = path, .error = error}, .fd = -1};
    struct opened *opened = calloc(1, sizeof *opened);
    char *copy = strdup(path);
    *out = NULL;
    if (!opened || !copy) {
        free(opened);
        free(copy);
        return dump_fail_whole(path, error, strerror(ENOMEM));
    }
    opened->path = copy;
    opened->dump.path = copy;
    int result = load(&reader, opened);
    if (reader.fd >= 0)
        close(reader.fd);
    if (result == 0)
        *out = &opened->dump;
    else
        dump_close(&opened->dump);
    return result;
}

void dump_close(struct dump *dump) {
    if (!dump)
        return;
    struct opened *opened = (struct opened *)dump;
    for (unsigned kind = 0; kind < DUMP_KINDS; kind++)
        free(opened->records[kind]);
    free(opened->path);
    free(opened);
}

const char *dump_text(const struct dump *dump, uint32_t text) {
    return text < dump->strings_size ? dump->strings + text : "";
}

/* expm1, because 1 - exp(-x) of a small x is mostly rounding. */
double dump_sample_weight(const struct memprof_dump_sample *sample) {
    if (sample->rate == 1)
        return 1;
    double weight = -1 / expm1(-(double)sample->coin / (double)sample->rate);
    return weight > 1 ? weight : 1;
}

const struct memprof_dump_module *dump_frame_module(const struct dump *dump, uint64_t frame) {
    uint32_t module = MEMPROF_FRAME_MODULE(frame);
    return module > 0 && module <= dump->module_count ? &dump->modules[module - 1] : NULL;
}
