#include "record/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "platform/say.h"
#include "platform/sys.h"
#include "record/memory.h"

#define SECTIONS    16u
#define BUFFER      ((size_t)64 << 10)
#define TEXTS_FIRST ((size_t)64 << 10)
#define PATH_MOST   4200u

/* What the file begins with, and is written last. */
struct start {
    struct memprof_dump_header header;
    struct memprof_dump_section sections[SECTIONS];
};

static size_t start_size(uint32_t sections) {
    return offsetof(struct start, sections) + sections * sizeof(struct memprof_dump_section);
}

static struct {
    int fd;
    int error; /* the first one, negative */
    const char *path;
    char temporary[PATH_MOST + 32];
    uint64_t at; /* bytes handed to the buffer: the file's end */
    size_t filled;
    uint8_t *buffer;
    uint32_t crc; /* of the section begun */
    uint64_t section_bytes;
    uint32_t planned, count; /* sections */
    struct memprof_dump_section sections[SECTIONS];
    char *texts;
    size_t text_room, text_size;
    uint32_t last_text;
    uint32_t crc_table[256];
} writer;

static void make_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        writer.crc_table[i] = c;
    }
}

static uint32_t crc_of(uint32_t crc, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    crc = ~crc;
    while (size--)
        crc = writer.crc_table[(crc ^ *at++) & 255] ^ (crc >> 8);
    return ~crc;
}

static void fail(int error) {
    if (!writer.error)
        writer.error = error;
}

static void flush(void) {
    size_t done = 0;
    while (!writer.error && done < writer.filled) {
        long n = mp_sys_write(writer.fd, writer.buffer + done, writer.filled - done);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            fail(n ? (int)n : -EIO);
        else
            done += (size_t)n;
    }
    writer.filled = 0;
}

static void put(const void *bytes, size_t size) {
    const uint8_t *from = bytes;
    writer.at += size;
    while (size && !writer.error) {
        size_t n = BUFFER - writer.filled < size ? BUFFER - writer.filled : size;
        memcpy(writer.buffer + writer.filled, from, n);
        writer.filled += n;
        from += n;
        size -= n;
        if (writer.filled == BUFFER)
            flush();
    }
}

/* The file is renamed over what has its name, which must not be a device or a pipe: where root
 * names /dev/null or /dev/stdout, the host would lose it. A link to a file is replaced; one that
 * leads nowhere may be such a name too, for in the copy there is no /proc/self/fd/1. */
static int may_replace(const char *path) {
    uint32_t owner;
    long fd = mp_sys_open(path, O_PATH, 0);
    if (fd == -ENOENT)
        fd = mp_sys_open(path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : (int)fd;
    int error = mp_sys_owner((int)fd, &owner);
    mp_sys_close((int)fd);
    return error == -EINVAL ? -EEXIST : error;
}

static int begin(uint32_t sections) {
    memset(&writer, 0, sizeof writer);
    if (sections > SECTIONS)
        return -EINVAL;
    writer.planned = sections;
    writer.buffer = mp_record_alloc(BUFFER);
    writer.text_room = TEXTS_FIRST;
    writer.texts = mp_record_alloc(writer.text_room);
    if (!writer.buffer || !writer.texts)
        return -ENOMEM;
    writer.text_size = 1; /* at 0 the empty text */
    make_crc_table();
    return 0;
}

static void begin_file(int fd) {
    static const struct start zeroes;
    writer.fd = fd;
    put(&zeroes, start_size(writer.planned));
}

int mp_writer_open_memory(uint32_t sections, int *fd) {
    int error = begin(sections);
    *fd = error ? -1 : (int)mp_sys_memory_file("memprof");
    if (*fd < 0)
        return error ? error : *fd;
    begin_file(*fd);
    return 0;
}

int mp_writer_open(const char *path, uint32_t sections) {
    int error = strlen(path) < PATH_MOST ? begin(sections) : -ENAMETOOLONG;
    if (!error)
        error = may_replace(path);
    if (error)
        return error;
    struct mp_text name;
    mp_text_init(&name, writer.temporary, sizeof writer.temporary);
    mp_text_add(&name, "%s.%lu.tmp", path, (uint64_t)mp_sys_getpid());
    writer.path = path;
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY;
    long fd = mp_sys_open(writer.temporary, flags, 0600);
    if (fd == -EEXIST && mp_sys_unlink(writer.temporary) == 0) /* left by one that was killed */
        fd = mp_sys_open(writer.temporary, flags, 0600);
    if (fd < 0)
        return (int)fd;
    begin_file((int)fd);
    return 0;
}

void mp_writer_begin(enum memprof_dump_kind kind, uint32_t record_size) {
    writer.sections[writer.count] = (struct memprof_dump_section){
        .kind = kind,
        .record_size = record_size,
        .offset = writer.at,
    };
    writer.crc = 0;
    writer.section_bytes = 0;
}

void mp_writer_add(const void *bytes, size_t size) {
    writer.crc = crc_of(writer.crc, bytes, size);
    writer.section_bytes += size;
    put(bytes, size);
}

void mp_writer_end(void) {
    static const uint8_t zeroes[8];
    struct memprof_dump_section *section = &writer.sections[writer.count++];
    section->count = writer.section_bytes / section->record_size;
    mp_writer_add(zeroes, (size_t)(-writer.section_bytes & 7));
    section->size = writer.section_bytes;
    section->checksum = writer.crc;
}

static bool more_room(size_t size) {
    size_t room = writer.text_room;
    while (room < size)
        room *= 2;
    if (room == writer.text_room)
        return true;
    char *larger = room <= UINT32_MAX ? mp_record_alloc(room) : NULL;
    if (!larger)
        return false;
    memcpy(larger, writer.texts, writer.text_size);
    mp_record_free(writer.texts, writer.text_room);
    writer.texts = larger;
    writer.text_room = room;
    return true;
}

uint32_t mp_writer_text(const char *text) {
    size_t size = strlen(text) + 1;
    if (size == 1)
        return 0;
    if (writer.last_text && strcmp(writer.texts + writer.last_text, text) == 0)
        return writer.last_text;
    if (!more_room(writer.text_size + size)) {
        fail(-ENOMEM);
        return 0;
    }
    writer.last_text = (uint32_t)writer.text_size;
    memcpy(writer.texts + writer.text_size, text, size);
    writer.text_size += size;
    return writer.last_text;
}

static void write_header(void) {
    struct start start = {
        .header =
            {
                .magic = MEMPROF_DUMP_MAGIC,
                .version = MEMPROF_DUMP_VERSION,
                .header_size = sizeof(struct memprof_dump_header),
                .section_count = writer.count,
                .section_size = sizeof(struct memprof_dump_section),
                .file_size = writer.at,
            },
    };
    size_t size = start_size(writer.count);
    memcpy(start.sections, writer.sections, sizeof start.sections);
    start.header.checksum = crc_of(0, &start, size);
    long n = mp_sys_pwrite(writer.fd, &start, size, 0);
    if (n != (long)size)
        fail(n < 0 ? (int)n : -EIO);
}

static void name_file(void) {
    int closed = mp_sys_close(writer.fd);
    if (closed)
        fail(closed);
    if (!writer.error)
        fail(mp_sys_rename(writer.temporary, writer.path));
    if (writer.error)
        mp_sys_unlink(writer.temporary);
}

int mp_writer_close(void) {
    mp_writer_begin(MEMPROF_DUMP_STRINGS, 1);
    mp_writer_add(writer.texts, writer.text_size);
    mp_writer_end();
    flush();
    if (writer.count != writer.planned)
        fail(-EINVAL); /* a mistake of ours: there would be a gap */
    if (!writer.error)
        write_header();
    if (writer.path)
        name_file();
    mp_record_free(writer.buffer, BUFFER);
    mp_record_free(writer.texts, writer.text_room);
    return writer.error;
}
