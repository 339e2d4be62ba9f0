/* Writes a dump file, include/memprof/dump.h: section after section through a buffer, checksums as
 * the bytes pass by, the header last, and only a whole file ever gets the name that was asked for.
 * Runs in a copy of the process with one thread; static state, system calls only. Errors stick: the
 * caller looks once, at the end. */
#ifndef MP_RECORD_WRITER_H
#define MP_RECORD_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include <memprof/dump.h>

/* A temporary file beside `path`, which must stay valid until the end, for so many sections,
 * STRINGS included. 0 or -errno. */
int mp_writer_open(const char *path, uint32_t sections);

/* The same in memory: no file has a name then, and the close leaves the descriptor, *fd. */
int mp_writer_open_memory(uint32_t sections, int *fd);

void mp_writer_begin(enum memprof_dump_kind kind, uint32_t record_size);
/* A record, or part of one, of the section begun. */
void mp_writer_add(const void *bytes, size_t size);
void mp_writer_end(void);

/* A text's offset in STRINGS, which is written by the close. Equal texts in succession are one. */
uint32_t mp_writer_text(const char *text);

/* Completes the file and gives it its name. 0, or -errno and nothing is left. */
int mp_writer_close(void);

#endif
