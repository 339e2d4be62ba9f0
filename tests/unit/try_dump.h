/* What the suites of the reader share: the golden dump, a file in memory that is rewritten for each
 * trial, and what must hold of the reader's answer. */
#ifndef MP_TESTS_UNIT_TRY_DUMP_H
#define MP_TESTS_UNIT_TRY_DUMP_H

#include <check.h>
#include <stddef.h>
#include <stdint.h>

#include "build_dump.h"
#include "reader/dump.h"

#define HEADER_SIZE sizeof(struct memprof_dump_header)
#define ENTRY_SIZE  sizeof(struct memprof_dump_section)

/* What the last trial gave. */
extern struct dump *dump;
extern struct dump_error error;

/* The golden dump's bytes, as its values make them. */
extern uint8_t *golden;
extern size_t golden_size;

/* Adds what makes and removes the golden dump before and after each case. */
void try_setup(TCase *tcase);
/* The same with the one that has nodes. */
void try_setup_nodes(TCase *tcase);

/* Its section of this kind. */
struct memprof_dump_section golden_entry(uint32_t kind);

/* All its sections, to be written in another way; their count. */
size_t golden_sections(struct build_section *sections);

/* The file in memory: its name once something was put there, and its descriptor. */
const char *try_path(void);
int try_fd(void);
void try_put(const void *bytes, size_t size);

/* Puts the bytes there and opens the file; dump_open's answer. */
int try_open(const void *bytes, size_t size);

/* An error as it must be: no dump, one line, the file's name, a byte that is in the file. */
void check_refused(size_t size);

/* Bytes that must be refused at this offset in these words. */
void check_says(const void *bytes, size_t size, uint64_t offset, const char *reason);

/* Bytes that are a dump; the test closes it. */
void check_opens(const void *bytes, size_t size);

/* What is open has the golden dump's records, in whatever way they were written. Closes it. */
void check_golden_records(void);

#endif
