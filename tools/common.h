/* Odds and ends that all tools share: memory, errors, notes on stderr, numbers as people type and
 * read them, a growing text, and a hash index. Single-threaded, offline. */
#ifndef TOOLS_COMMON_H
#define TOOLS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The program's name, as its lines on stderr begin. */
void tool_begin(const char *name);

/* ---- errors and notes ---- */

struct tool_error {
    char text[768]; /* one line, without the program's name */
};

/* Fills the error in; -1. */
int tool_fail(struct tool_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line on stderr, after the program's name. Control characters in it are replaced: names come
 * out of files that may be hostile, and go to terminals. */
void tool_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- memory ---- */

/* The one exception to "only main exits": without memory they say so and exit with 2. What they
 * are asked for is bounded by the size of the input. */
void *tool_alloc(size_t count, size_t size); /* zeroed */
char *tool_copy(const char *text);
/* Room for one more element behind `count`. */
void *tool_grow(void *array, size_t count, size_t *capacity, size_t size);

/* ---- numbers ---- */

enum { TOOL_NUMBER = 40 };

/* "10", "64k", "1m", "2g"; the whole text. */
bool tool_parse_size(const char *text, uint64_t *out);
/* "10", "500ms", "10s", "5m", "1h", "2d"; the whole text. Seconds. */
bool tool_parse_time(const char *text, double *seconds);
/* A number between 0.5 and 1, both excluded. */
bool tool_parse_confidence(const char *text, double *out);
/* "532 B", "1.2 MiB"; with `sign`, a plus before what is positive. */
const char *tool_bytes(char out[TOOL_NUMBER], double bytes, bool sign);
/* "12,345" */
const char *tool_count(char out[TOOL_NUMBER], double count, bool sign);
/* "3.2 s", "5 min 10 s", "2 h 5 min" */
const char *tool_duration(char out[TOOL_NUMBER], double seconds);
/* The nearest integer within an int64_t. */
int64_t tool_integer(double value);

/* ---- a growing text ---- */

struct tool_text {
    char *at;
    size_t length, capacity;
};

void tool_text_add(struct tool_text *text, const void *bytes, size_t length);
void tool_text_clear(struct tool_text *text);
void tool_text_free(struct tool_text *text);

/* ---- hashing ---- */

#define TOOL_HASH 0xcbf29ce484222325u
uint64_t tool_hash(uint64_t seed, const void *bytes, size_t length);
uint64_t tool_hash_number(uint64_t seed, uint64_t number);
uint64_t tool_hash_text(uint64_t seed, const char *text);

/* Finds numbers (of elements in an array of the caller's) by hash: open addressing, no removal. */
struct tool_index {
    struct tool_slot *slots;
    size_t count, capacity;
};

typedef bool tool_index_equal(uint32_t value, const void *key, const void *context);

#define TOOL_INDEX_NONE UINT32_MAX
uint32_t tool_index_find(const struct tool_index *index, uint64_t hash, tool_index_equal *equal,
                         const void *key, const void *context);
void tool_index_add(struct tool_index *index, uint64_t hash, uint32_t value);
void tool_index_free(struct tool_index *index);

/* ---- the system ---- */

/* Inode of the PID namespace in which this process counts; 0: not known. */
uint64_t tool_pid_namespace(void);

/* ---- the terminal ---- */

/* Whether colour is welcome there: a terminal that is not dumb, and no NO_COLOR. */
bool tool_colour(FILE *stream);

/* The length of the UTF-8 character at `at`, or 0 where there is none (a bad byte). */
size_t tool_utf8(const char *at);

#endif
