/* Writes dumps for tests, from the structs of include/memprof/dump.h, and right in all that is not
 * the test's concern: offsets, padding, checksums. It shares no code with the library's writer nor
 * with the reader, so each can be held against it. Errors end the test (abort). */
#ifndef MP_TESTS_UNIT_BUILD_DUMP_H
#define MP_TESTS_UNIT_BUILD_DUMP_H

#include <stddef.h>
#include <stdint.h>

#include <memprof/dump.h>

/* `count` records of `size` bytes each. In the file each takes `record_size` bytes, 0: as many as
 * it has; what is cut off is lost, what is added is 0xee. */
struct build_section {
    uint32_t kind;
    uint32_t size;
    size_t count;
    const void *records;
    uint32_t record_size;
};

/* Sizes that a later version may have; 0: as they are now. What is added is 0xee. */
struct build_sizes {
    uint32_t header;
    uint32_t section;
};

/* Texts for STRINGS; all zero is one with the empty text alone. */
struct build_texts {
    char bytes[4096];
    uint32_t size;
};

/* The offset of the text, which is added where it is not there yet. */
uint32_t build_text(struct build_texts *texts, const char *text);

struct build_section build_texts_section(const struct build_texts *texts);

/* The sections in the order given, with malloc; frees with free. `sizes` may be NULL. */
uint8_t *build_dump(const struct build_section *sections, size_t count,
                    const struct build_sizes *sizes, size_t *size);

/* Writes it to a file. */
void build_dump_file(const char *path, const struct build_section *sections, size_t count);

/* Makes file size and checksums right again in a dump that a test has damaged, as far as header and
 * table can be made sense of. */
void build_repair(uint8_t *bytes, size_t size);

#endif
