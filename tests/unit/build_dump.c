#include "build_dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { FILLER = 0xee };

static void must_hold(int condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "build_dump: %s\n", what);
        abort();
    }
}

uint32_t build_text(struct build_texts *texts, const char *text) {
    size_t length = strlen(text) + 1;
    if (texts->size == 0)
        texts->size = 1;
    for (uint32_t at = 0; at + length <= texts->size; at++) {
        if ((at == 0 || texts->bytes[at - 1] == '\0') &&
            memcmp(texts->bytes + at, text, length) == 0)
            return at;
    }
    must_hold(texts->size + length <= sizeof texts->bytes, "too many texts");
    uint32_t at = texts->size;
    memcpy(texts->bytes + at, text, length);
    texts->size += (uint32_t)length;
    return at;
}

struct build_section build_texts_section(const struct build_texts *texts) {
    return (struct build_section){MEMPROF_DUMP_STRINGS, 1, texts->size > 0 ? texts->size : 1,
                                  texts->bytes, 0};
}

static size_t round_up(size_t size) {
    return (size + 7) & ~(size_t)7;
}

static void put_records(uint8_t *to, const struct build_section *section, size_t record_size) {
    size_t copied = section->size < record_size ? section->size : record_size;
    for (size_t i = 0; i < section->count; i++) {
        uint8_t *record = to + i * record_size;
        memset(record, FILLER, record_size);
        memcpy(record, (const uint8_t *)section->records + i * section->size, copied);
    }
}

uint8_t *build_dump(const struct build_section *sections, size_t count,
                    const struct build_sizes *sizes, size_t *size) {
    struct memprof_dump_header header = {
        .magic = MEMPROF_DUMP_MAGIC,
        .version = MEMPROF_DUMP_VERSION,
        .header_size = sizes && sizes->header ? sizes->header : sizeof header,
        .section_count = (uint32_t)count,
        .section_size =
            sizes && sizes->section ? sizes->section : sizeof(struct memprof_dump_section),
    };
    size_t at = header.header_size + count * header.section_size;
    header.file_size = at;
    for (size_t i = 0; i < count; i++) {
        size_t record_size = sections[i].record_size ? sections[i].record_size : sections[i].size;
        header.file_size += round_up(sections[i].count * record_size);
    }

    uint8_t *bytes = calloc(1, header.file_size);
    must_hold(bytes != NULL, "no memory");
    memset(bytes, FILLER, at);
    memcpy(bytes, &header, sizeof header);
    for (size_t i = 0; i < count; i++) {
        size_t record_size = sections[i].record_size ? sections[i].record_size : sections[i].size;
        struct memprof_dump_section entry = {
            .kind = sections[i].kind,
            .record_size = (uint32_t)record_size,
            .offset = at,
            .count = sections[i].count,
            .size = round_up(sections[i].count * record_size),
        };
        put_records(bytes + at, &sections[i], record_size);
        memcpy(bytes + header.header_size + i * header.section_size, &entry, sizeof entry);
        at += entry.size;
    }
    build_repair(bytes, header.file_size);
    *size = header.file_size;
    return bytes;
}

void build_dump_file(const char *path, const struct build_section *sections, size_t count) {
    size_t size;
    uint8_t *bytes = build_dump(sections, count, NULL, &size);
    FILE *file = fopen(path, "wb");
    must_hold(file != NULL, "the file cannot be made");
    must_hold(fwrite(bytes, 1, size, file) == size, "the file cannot be written");
    must_hold(fclose(file) == 0, "the file cannot be written");
    free(bytes);
}

void build_repair(uint8_t *bytes, size_t size) {
    struct memprof_dump_header header;
    if (size < sizeof header)
        return;
    memcpy(&header, bytes, sizeof header);
    header.file_size = size;
    header.checksum = 0;
    memcpy(bytes, &header, sizeof header);

    size_t end = header.header_size;
    for (uint32_t i = 0; i < header.section_count && i < MEMPROF_DUMP_SECTIONS_MAX; i++) {
        struct memprof_dump_section entry;
        if (end > size || header.section_size < sizeof entry || header.section_size > size - end)
            return;
        memcpy(&entry, bytes + end, sizeof entry);
        if (entry.offset <= size && entry.size <= size - entry.offset) {
            entry.checksum = (uint32_t)crc32_z(0, bytes + entry.offset, entry.size);
            memcpy(bytes + end, &entry, sizeof entry);
        }
        end += header.section_size;
    }
    if (end > size)
        return;
    header.checksum = (uint32_t)crc32_z(0, bytes, end);
    memcpy(bytes, &header, sizeof header);
}
