#include "analyze/fail_on.h"

#include <stdlib.h>
#include <string.h>

/* The seconds of "h" and the like; 0: it is none. */
static double seconds_of(const char *unit) {
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(unit, units[i].name) == 0)
            return units[i].seconds;
    }
    return 0;
}

/* "10", "0.5"; nothing else that strtod knows. */
static bool parse_percent(const char *text, double *out) {
    char *end;
    if (text[strspn(text, "0123456789.")] != '\0' || *text < '0' || *text > '9')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && *out < 1e15;
}

/* Takes it apart from behind. */
static bool parse_limit(const char *text, struct fail_on *out) {
    char amount[64], *slash;
    uint64_t number;
    double per = 1;
    size_t length = strlen(text);
    if (length == 0 || length >= sizeof amount)
        return false;
    memcpy(amount, text, length + 1);
    out->form = FAIL_ON_AMOUNT;
    slash = strchr(amount, '/');
    if (slash) {
        out->form = FAIL_ON_RATE;
        per = seconds_of(slash + 1);
        *slash = '\0';
    } else if (amount[length - 1] == '%') {
        out->form = FAIL_ON_PERCENT;
        amount[length - 1] = '\0';
        return parse_percent(amount, &out->limit);
    }
    if (!(per > 0) || !tool_parse_size(amount, &number))
        return false;
    out->limit = (double)number / per;
    return true;
}

int fail_on_parse(const char *text, const struct fail_on_rules *rules, struct fail_on *out,
                  struct tool_error *error) {
    size_t length = strcspn(text, ">");
    for (unsigned i = 0; i < rules->count && text[length]; i++) {
        const struct fail_on_name *name = &rules->names[i];
        *out = (struct fail_on){.name = i};
        if (strlen(name->name) == length && strncmp(text, name->name, length) == 0 &&
            parse_limit(text + length + 1, out) && (out->form & name->forms))
            return 0;
    }
    return tool_fail(error, "--fail-on %s: %s", text, rules->examples);
}
