#include "platform/options.h"

#include <stddef.h>
#include <string.h>

#include "platform/say.h"

enum kind { FLAG, TIME, SIZE, NUMBER, CHOICE, PATH };

struct option {
    const char *key;
    enum kind kind;
    const char *fallback;
    const char *values;
    const char *help;
    size_t offset; /* of its field in struct mp_options */
};

static const struct option table[] = {
#define OPTION(key, kind, fallback, values, help)                                                  \
    {#key, kind, fallback, values, help, offsetof(struct mp_options, key)},
#include "platform/options.def"
#undef OPTION
};

#define OPTION_COUNT (sizeof table / sizeof table[0])

/* The defaults, for what runs before or without the parser. The parser's own come from the table;
 * a unit test holds the two together. */
struct mp_options mp_options = {
    .rate = MP_NUMBER_AUTO,
    .seed = MP_NUMBER_AUTO,
    .depth = 64,
    .dump = "memprof.%p.%n.heap",
    .signal = MP_NUMBER_AUTO,
    .purge = 50,
    .log = "stderr",
};

/* Room for the values of paths: an environment variable is bounded, so is this. */
static char path_store[4096];
static size_t path_used;

static bool equal(const char *value, size_t length, const char *word) {
    return strlen(word) == length && memcmp(value, word, length) == 0;
}

static bool parse_flag(const char *value, size_t length, bool *out) {
    if (length != 1 || (*value != '0' && *value != '1'))
        return false;
    *out = *value == '1';
    return true;
}

/* Digits at the start; *used: how many characters they are. False: none, or too large a number. */
static bool parse_digits(const char *value, size_t length, uint64_t *out, size_t *used) {
    size_t i = 0;
    *out = 0;
    for (; i < length && value[i] >= '0' && value[i] <= '9'; i++) {
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(value[i] - '0'), out))
            return false;
    }
    *used = i;
    return i > 0;
}

/* A number with k, m, g behind it, as far as `length` goes. */
static bool parse_bytes(const char *value, size_t length, uint64_t *out) {
    size_t used;
    if (!parse_digits(value, length, out, &used) || length - used > 1)
        return false;
    if (length == used)
        return true;
    unsigned shift;
    switch (value[used]) {
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
        return false;
    }
    if (*out > UINT64_MAX >> shift)
        return false;
    *out <<= shift;
    return true;
}

/* SIZE and NUMBER: a word that the option has, or a number in the range that ends its `values`. */
static bool parse_number(const struct option *option, const char *value, size_t length,
                         uint64_t *out) {
    if (equal(value, length, "auto") || equal(value, length, "random") ||
        equal(value, length, "off")) {
        *out = equal(value, length, "off") ? MP_NUMBER_OFF : MP_NUMBER_AUTO;
        for (const char *word = option->values; *word; word++) {
            if (strncmp(word, value, length) == 0)
                return true;
        }
        return false;
    }
    const char *range = strrchr(option->values, ' ') + 1;
    const char *dots = strchr(range, '.');
    uint64_t least, most;
    size_t used;
    if (!parse_bytes(range, (size_t)(dots - range), &least) ||
        !parse_bytes(dots + 2, strlen(dots + 2), &most))
        return false;
    bool good = option->kind == SIZE ? parse_bytes(value, length, out)
                                     : parse_digits(value, length, out, &used) && used == length;
    return good && *out >= least && *out <= most;
}

static bool parse_time(const char *value, size_t length, uint64_t *out) {
    if (equal(value, length, "off")) {
        *out = MP_TIME_OFF;
        return true;
    }
    uint64_t number;
    size_t i;
    if (!parse_digits(value, length, &number, &i))
        return false;
    const char *unit = value + i;
    size_t rest = length - i;
    uint64_t scale;
    if (equal(unit, rest, "us")) {
        *out = number / 1000 + (number % 1000 != 0);
        return true;
    }
    if (equal(unit, rest, "ms") || (rest == 0 && number == 0))
        scale = 1;
    else if (equal(unit, rest, "s"))
        scale = 1000;
    else if (equal(unit, rest, "m"))
        scale = 60000;
    else if (equal(unit, rest, "h"))
        scale = 3600000;
    else
        return false;
    /* A time that, added to another, still counts milliseconds since the machine's start. */
    return !__builtin_mul_overflow(number, scale, out) && *out < UINT64_MAX / 2;
}

static bool parse_choice(const struct option *option, const char *value, size_t length, int *out) {
    int index = 0;
    for (const char *word = option->values;; index++) {
        size_t n = 0; /* no strcspn: at a program's start that is two pages more of libc */
        while (word[n] && word[n] != '|')
            n++;
        if (n == length && memcmp(word, value, n) == 0) {
            *out = index;
            return true;
        }
        if (!word[n])
            return false;
        word += n + 1;
    }
}

static bool parse_path(const char *value, size_t length, const char **out) {
    if (length == 0 || length >= sizeof path_store - path_used)
        return false;
    char *copy = path_store + path_used;
    memcpy(copy, value, length);
    copy[length] = '\0';
    path_used += length + 1;
    *out = copy;
    return true;
}

static bool set(const struct option *option, const char *value, size_t length) {
    void *field = (char *)&mp_options + option->offset;
    switch (option->kind) {
    case FLAG:
        return parse_flag(value, length, field);
    case TIME:
        return parse_time(value, length, field);
    case SIZE:
    case NUMBER:
        return parse_number(option, value, length, field);
    case CHOICE:
        return parse_choice(option, value, length, field);
    case PATH:
        return parse_path(value, length, field);
    }
    return false;
}

static void set_fallback(const struct option *option) {
    if (option->kind == PATH) /* as it is, without a copy */
        *(const char **)(void *)((char *)&mp_options + option->offset) = option->fallback;
    else
        set(option, option->fallback, strlen(option->fallback));
}

/* A word of the user's as it may stand in a one-line message. */
static const char *printable(char *buffer, size_t size, const char *text, size_t length) {
    bool cut = length > size - 4;
    size_t n = cut ? size - 4 : length;
    for (size_t i = 0; i < n; i++)
        buffer[i] = text[i] >= ' ' && text[i] < 127 ? text[i] : '?';
    strcpy(buffer + n, cut ? "..." : "");
    return buffer;
}

static void assign(const char *key, size_t key_length, const char *value, size_t value_length) {
    char shown[64];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (!equal(key, key_length, table[i].key))
            continue;
        if (!set(&table[i], value, value_length)) {
            set_fallback(&table[i]);
            mp_say("bad value '%s' for option '%s' (want %s); using %s",
                   printable(shown, sizeof shown, value, value_length), table[i].key,
                   table[i].values, table[i].fallback);
        }
        return;
    }
    mp_say("unknown option '%s' in MEMPROF_OPTIONS (ignored)",
           printable(shown, sizeof shown, key, key_length));
}

static bool is_separator(char c) {
    return c == ':' || c == ',';
}

/* log= decides where complaints about the other options go, so a first pass looks for it alone. */
static void parse_pairs(const char *at, bool only_log) {
    while (*at) {
        if (is_separator(*at)) {
            at++;
            continue;
        }
        const char *key = at;
        while (*at && *at != '=' && !is_separator(*at))
            at++;
        size_t key_length = (size_t)(at - key);
        const char *value = at;
        size_t value_length = 0;
        if (*at == '=') {
            value = ++at;
            if (*at == '\'' || *at == '"') {
                char quote = *at++;
                value = at;
                while (*at && *at != quote)
                    at++;
                value_length = (size_t)(at - value);
                if (*at)
                    at++;
            } else {
                while (*at && !is_separator(*at))
                    at++;
                value_length = (size_t)(at - value);
            }
        }
        if (!only_log)
            assign(key, key_length, value, value_length);
        else if (equal(key, key_length, "log"))
            parse_path(value, value_length, &mp_options.log);
    }
}

static void print_help(void) {
    mp_say("options, as MEMPROF_OPTIONS=\"key=value:key=value\":");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char line[512];
        struct mp_text text;
        mp_text_init(&text, line, sizeof line);
        mp_text_add(&text, "  %-11s %-8s %s (%s)\n", table[i].key, table[i].fallback, table[i].help,
                    table[i].values);
        mp_say_raw(line, text.length);
    }
}

static void apply_log(void) {
    if (strcmp(mp_options.log, "stderr") == 0)
        mp_say_to(2, NULL);
    else if (strcmp(mp_options.log, "off") == 0)
        mp_say_to(-1, NULL);
    else
        mp_say_to(-1, mp_options.log);
}

void mp_options_parse(const char *text) {
    path_used = 0;
    mp_say_to(2, NULL);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        set_fallback(&table[i]);
    if (!text)
        return;
    parse_pairs(text, true);
    apply_log();
    parse_pairs(text, false);
    apply_log();
    if (mp_options.help)
        print_help();
}
