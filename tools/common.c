#include "common.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *program = "memprof";

void tool_begin(const char *name) {
    program = name;
}

/* ---- errors and notes ---- */

int tool_fail(struct tool_error *error, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(error->text, sizeof error->text, format, list);
    va_end(list);
    return -1;
}

void tool_note(const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (char *at = line; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    }
    fprintf(stderr, "%s: %s\n", program, line);
}

/* ---- memory ---- */

static void *checked(void *memory) {
    if (!memory) {
        tool_note("out of memory");
        exit(2);
    }
    return memory;
}

void *tool_alloc(size_t count, size_t size) {
    return checked(calloc(count ? count : 1, size));
}

char *tool_copy(const char *text) {
    return checked(strdup(text));
}

void *tool_grow(void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 16;
    return checked(reallocarray(array, *capacity, size));
}

/* ---- numbers ---- */

bool tool_parse_size(const char *text, uint64_t *out) {
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    }
    if (at == text)
        return false;
    unsigned shift = 0;
    switch (*at) {
    case 'k':
    case 'K':
        shift = 10;
        break;
    case 'm':
    case 'M':
        shift = 20;
        break;
    case 'g':
    case 'G':
        shift = 30;
        break;
    default:
        break;
    }
    if (shift)
        at++;
    return *at == '\0' && !__builtin_mul_overflow(number, (uint64_t)1 << shift, out);
}

bool tool_parse_time(const char *text, double *seconds) {
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1}, {"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    size_t digits = strspn(text, "0123456789.");
    char *end;
    if (digits == 0 || digits > 15 || *text == '.')
        return false;
    *seconds = strtod(text, &end);
    for (size_t i = 0; end == text + digits && i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) == 0) {
            *seconds *= units[i].seconds;
            return true;
        }
    }
    return false;
}

bool tool_parse_confidence(const char *text, double *out) {
    char *end;
    if (*text != '.' && (*text < '0' || *text > '9'))
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && *out > 0.5 && *out < 1;
}

const char *tool_bytes(char out[TOOL_NUMBER], double bytes, bool sign) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    double value = fabs(bytes);
    /* What would be printed as 1024.0 is 1.0 of the next. */
    while (value >= (unit ? 1023.95 : 1023.5) && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    const char *mark = bytes < 0 ? "-" : sign && bytes > 0 ? "+" : "";
    snprintf(out, TOOL_NUMBER, "%s%.*f %s", mark, unit && value < 999.5, value, units[unit]);
    return out;
}

const char *tool_count(char out[TOOL_NUMBER], double count, bool sign) {
    char digits[TOOL_NUMBER];
    int64_t number = tool_integer(count);
    uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)size);
    char *to = out;
    if (number < 0)
        *to++ = '-';
    else if (sign && number > 0)
        *to++ = '+';
    for (int i = 0; i < length; i++) {
        *to++ = digits[i];
        if ((length - i) % 3 == 1 && i + 1 < length)
            *to++ = ',';
    }
    *to = '\0';
    return out;
}

const char *tool_duration(char out[TOOL_NUMBER], double seconds) {
    if (!(seconds > 0))
        seconds = 0;
    if (seconds < 99.95) {
        snprintf(out, TOOL_NUMBER, "%.1f s", seconds);
        return out;
    }
    long long whole = tool_integer(seconds);
    if (whole < 3600)
        snprintf(out, TOOL_NUMBER, "%lld min %lld s", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(out, TOOL_NUMBER, "%lld h %lld min", whole / 3600, whole / 60 % 60);
    else
        snprintf(out, TOOL_NUMBER, "%lld d %lld h", whole / 86400, whole / 3600 % 24);
    return out;
}

int64_t tool_integer(double value) {
    const double most = 0x1p63;
    if (isnan(value))
        return 0;
    if (value >= most)
        return INT64_MAX;
    if (value <= -most)
        return INT64_MIN;
    return llround(value);
}

/* ---- a growing text ---- */

void tool_text_add(struct tool_text *text, const void *bytes, size_t length) {
    while (text->capacity - text->length < length + 1)
        text->at = tool_grow(text->at, text->capacity, &text->capacity, 1);
    memcpy(text->at + text->length, bytes, length);
    text->length += length;
    text->at[text->length] = '\0';
}

void tool_text_clear(struct tool_text *text) {
    text->length = 0;
}

void tool_text_free(struct tool_text *text) {
    free(text->at);
    *text = (struct tool_text){0};
}

/* ---- hashing ---- */

/* FNV-1a with a last stir: the ids of sites are made of it, so it is part of what the tools
 * promise and stays as it is. */
uint64_t tool_hash(uint64_t seed, const void *bytes, size_t length) {
    const unsigned char *at = bytes;
    uint64_t hash = seed * 0x9e3779b97f4a7c15u; /* or a seed and a first byte could change places */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

uint64_t tool_hash_number(uint64_t seed, uint64_t number) {
    unsigned char bytes[8];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(number >> 8 * i);
    return tool_hash(seed, bytes, sizeof bytes);
}

uint64_t tool_hash_text(uint64_t seed, const char *text) {
    return tool_hash(seed, text, strlen(text) + 1);
}

struct tool_slot {
    uint64_t hash;
    uint32_t value; /* plus one; 0: empty */
};

uint32_t tool_index_find(const struct tool_index *index, uint64_t hash, tool_index_equal *equal,
                         const void *key, const void *context) {
    if (!index->capacity)
        return TOOL_INDEX_NONE;
    for (size_t at = hash & (index->capacity - 1);; at = (at + 1) & (index->capacity - 1)) {
        const struct tool_slot *slot = &index->slots[at];
        if (!slot->value)
            return TOOL_INDEX_NONE;
        if (slot->hash == hash && equal(slot->value - 1, key, context))
            return slot->value - 1;
    }
}

static void put(struct tool_slot *slots, size_t capacity, struct tool_slot slot) {
    size_t at = slot.hash & (capacity - 1);
    while (slots[at].value)
        at = (at + 1) & (capacity - 1);
    slots[at] = slot;
}

void tool_index_add(struct tool_index *index, uint64_t hash, uint32_t value) {
    if (index->count >= index->capacity / 2) {
        size_t capacity = index->capacity ? index->capacity * 2 : 64;
        struct tool_slot *slots = tool_alloc(capacity, sizeof *slots);
        for (size_t i = 0; i < index->capacity; i++) {
            if (index->slots[i].value)
                put(slots, capacity, index->slots[i]);
        }
        free(index->slots);
        index->slots = slots;
        index->capacity = capacity;
    }
    put(index->slots, index->capacity, (struct tool_slot){hash, value + 1});
    index->count++;
}

void tool_index_free(struct tool_index *index) {
    free(index->slots);
    *index = (struct tool_index){0};
}

uint64_t tool_pid_namespace(void) {
    struct stat info;
    return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

/* ---- the terminal ---- */

bool tool_colour(FILE *stream) {
    const char *refused = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (refused && *refused)
        return false;
    return isatty(fileno(stream)) && terminal && strcmp(terminal, "dumb") != 0;
}

size_t tool_utf8(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    size_t length;
    uint32_t code, least;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] < 0xe0) {
        length = 2;
        code = at[0] & 0x1f;
        least = 0x80;
    } else if (at[0] >= 0xe0 && at[0] < 0xf0) {
        length = 3;
        code = at[0] & 0x0f;
        least = 0x800;
    } else if (at[0] >= 0xf0 && at[0] < 0xf5) {
        length = 4;
        code = at[0] & 0x07;
        least = 0x10000;
    } else {
        return 0;
    }
    /* Stops at the text's end: a NUL continues nothing. */
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < least || code > 0x10ffff || surrogate ? 0 : length;
}
