#include "mutate.h"

#include <stdbool.h>
#include <string.h>

#include <memprof/dump.h>

/* splitmix64 */
static uint64_t next(uint64_t *random) {
    uint64_t z = (*random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. count - 1; 0 if there is none. */
static size_t pick(uint64_t *random, size_t count) {
    return count > 0 ? (size_t)(next(random) % count) : 0;
}

/* ---- fields ---- */

/* What stands at the edges of what a field may be. */
static uint64_t edge(uint64_t *random, uint64_t was, size_t size) {
    static const uint64_t values[] = {
        0,
        1,
        2,
        7,
        8,
        255,
        256,
        257,
        4095,
        4096,
        32767,
        32768,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        (uint64_t)1 << 32,
        ((uint64_t)1 << 48) - 1,
        (uint64_t)1 << 48,
        (uint64_t)1 << 61,
        (uint64_t)1 << 63,
        UINT64_MAX - 7,
        UINT64_MAX,
        0x7ff0000000000000, /* infinity */
        0x7ff8000000000000, /* no number */
        0xbff0000000000000, /* -1.0 */
        0x7fefffffffffffff, /* the largest double */
    };
    switch (pick(random, 8)) {
    case 0:
        return was + 1;
    case 1:
        return was - 1;
    case 2:
        return was ^ (uint64_t)1 << pick(random, 64);
    case 3:
        return size;
    case 4:
        return pick(random, 64);
    case 5:
        return next(random) >> pick(random, 64);
    default:
        return values[pick(random, sizeof values / sizeof *values)];
    }
}

/* Changes one field within bytes[from .. from + size), of 1, 2, 4 or 8 bytes. */
static void change_field(uint8_t *bytes, size_t from, size_t size, size_t whole, uint64_t *random) {
    static const size_t widths[] = {1, 2, 4, 4, 4, 8, 8, 8};
    size_t width = widths[pick(random, sizeof widths / sizeof *widths)];
    if (width > size)
        width = 1;
    if (size == 0)
        return;
    uint8_t *field = bytes + from + pick(random, size / width) * width;
    uint64_t value = 0;
    memcpy(&value, field, width);
    value = edge(random, value, whole);
    memcpy(field, &value, width);
}

/* ---- sections ---- */

struct table {
    size_t start, entry_size;
    uint32_t count;
};

static bool find_table(const uint8_t *bytes, size_t size, struct table *table) {
    struct memprof_dump_header header;
    if (size < sizeof header)
        return false;
    memcpy(&header, bytes, sizeof header);
    table->start = header.header_size;
    table->entry_size = header.section_size;
    table->count = header.section_count;
    return table->count > 0 && table->count <= MEMPROF_DUMP_SECTIONS_MAX &&
           table->entry_size >= sizeof(struct memprof_dump_section) && table->start <= size &&
           table->entry_size <= (size - table->start) / table->count;
}

static struct memprof_dump_section get_entry(const uint8_t *bytes, const struct table *table,
                                             uint32_t i) {
    struct memprof_dump_section entry;
    memcpy(&entry, bytes + table->start + i * table->entry_size, sizeof entry);
    return entry;
}

static void put_entry(uint8_t *bytes, const struct table *table, uint32_t i,
                      const struct memprof_dump_section *entry) {
    memcpy(bytes + table->start + i * table->entry_size, entry, sizeof *entry);
}

static bool is_inside(const struct memprof_dump_section *entry, size_t size) {
    return entry->offset <= size && entry->size <= size - entry->offset;
}

/* Makes section `i` hold `count` records: bytes are added at its end, copies of what stands before
 * them, or taken from there, and all that follows moves. */
static size_t resize_section(uint8_t *bytes, size_t size, size_t room, const struct table *table,
                             uint32_t i, uint64_t count) {
    struct memprof_dump_section entry = get_entry(bytes, table, i);
    if (!is_inside(&entry, size) || count > room || entry.record_size > room / (count + 1))
        return size;
    uint64_t wanted = (count * entry.record_size + 7) & ~(uint64_t)7;
    if (wanted > entry.size && wanted - entry.size > room - size)
        return size;
    size_t end = (size_t)(entry.offset + entry.size), new_end = (size_t)(entry.offset + wanted);
    memmove(bytes + new_end, bytes + end, size - end);
    for (size_t at = end; at < new_end; at++)
        bytes[at] = at >= entry.record_size ? bytes[at - entry.record_size] : 0;
    entry.count = count;
    entry.size = wanted;
    put_entry(bytes, table, i, &entry);
    for (uint32_t other = 0; other < table->count; other++) {
        struct memprof_dump_section moved = get_entry(bytes, table, other);
        if (other != i && moved.offset >= end) {
            moved.offset += new_end - end;
            put_entry(bytes, table, other, &moved);
        }
    }
    return size - end + new_end;
}

/* The same bytes as fewer and larger records, or as more and smaller ones. */
static void regroup_section(uint8_t *bytes, const struct table *table, uint32_t i,
                            uint64_t *random) {
    struct memprof_dump_section entry = get_entry(bytes, table, i);
    static const uint32_t sizes[] = {1, 4, 8, 16, 48, 56, 64, 72, 80, 112, 184, 192, 4096};
    entry.record_size = sizes[pick(random, sizeof sizes / sizeof *sizes)];
    entry.count = entry.size / entry.record_size;
    put_entry(bytes, table, i, &entry);
}

static void swap_kinds(uint8_t *bytes, const struct table *table, uint32_t i, uint32_t other) {
    struct memprof_dump_section a = get_entry(bytes, table, i), b = get_entry(bytes, table, other);
    uint32_t kind = a.kind;
    a.kind = b.kind;
    put_entry(bytes, table, i, &a);
    b.kind = kind;
    put_entry(bytes, table, other, &b);
}

size_t mutate_dump(uint8_t *bytes, size_t size, size_t room, uint64_t *random) {
    struct table table;
    if (!find_table(bytes, size, &table)) {
        change_field(bytes, 0, size, size, random);
        return size;
    }
    uint32_t i = (uint32_t)pick(random, table.count);
    struct memprof_dump_section entry = get_entry(bytes, &table, i);
    switch (pick(random, 16)) {
    case 0:
        change_field(bytes, 0, table.start, size, random);
        break;
    case 1:
    case 2:
        change_field(bytes, table.start + i * table.entry_size, table.entry_size, size, random);
        break;
    case 3:
        swap_kinds(bytes, &table, i, (uint32_t)pick(random, table.count));
        break;
    case 4:
        regroup_section(bytes, &table, i, random);
        break;
    case 5:
        return resize_section(bytes, size, room, &table, i, pick(random, 40));
    case 6:
        return resize_section(bytes, size, room, &table, i, entry.count + 1 + pick(random, 3));
    case 7:
        return resize_section(bytes, size, room, &table, i, entry.count ? entry.count - 1 : 0);
    case 8:
        return pick(random, size + 1);
    default:
        if (is_inside(&entry, size))
            change_field(bytes, (size_t)entry.offset, (size_t)entry.size, size, random);
        break;
    }
    return size;
}
