/* Suite: which programs are profiled: the pattern of only=, held against the C library's fnmatch,
 * and what children=off leaves in the environment. */
#include <fnmatch.h>
#include <string.h>

#include "platform/options.h"
#include "profile/chosen.h"
#include "unit.h"

START_TEST(patterns_are_those_of_a_shell) {
    static const struct {
        const char *pattern, *name;
        bool matches;
    } rows[] = {
        {"*", "", true},
        {"*", "redis-server", true},
        {"redis*", "redis-server", true},
        {"redis", "redis2", 0},
        {"?", "", false},
        {"??", "ab", true},
        {"*er", "server", true},
        {"*er", "servers", false},
        {"a*b*c", "aXbXbXc", true},
        {"[ab]x", "bx", true},
        {"[!ab]x", "bx", false},
        {"[a-c]*", "b", true},
        {"[]x]", "]", true},
        {"[", "[", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"", "", true},
        {"", "a", false},
        {"**a**", "bab", true},
        {"[a-", "[a-", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(mp_chosen_matches(rows[i].pattern, rows[i].name) == rows[i].matches,
                      "'%s' and '%s'", rows[i].pattern, rows[i].name);
}
END_TEST

static void draw(uint64_t *state, const char *letters, char *text, size_t most) {
    size_t length = unit_random_to(state, most);
    for (size_t i = 0; i < length; i++)
        text[i] = letters[unit_random_to(state, strlen(letters) - 1)];
    text[length] = '\0';
}

START_TEST(any_pattern_is_what_fnmatch_says) {
    uint64_t state = 1;
    char pattern[16], name[16];
    unsigned matched = 0;
    for (int i = 0; i < 300000; i++) {
        draw(&state, "ab*?[]!-c", pattern, 9);
        draw(&state, "abc-]", name, 7);
        bool want = fnmatch(pattern, name, 0) == 0;
        matched += want;
        ck_assert_msg(mp_chosen_matches(pattern, name) == want, "'%s' and '%s': fnmatch says %d",
                      pattern, name, want);
    }
    ck_assert_uint_gt(matched, 1000);
}
END_TEST

START_TEST(children_are_told_in_place) {
    static const struct {
        const char *before, *after;
        bool chosen;
    } rows[] = {
        {"children=off", "children=out", true},
        {"rate=1:children=off:dump=x", "rate=1:children=out:dump=x", true},
        {"children='off'", "children='out'", true},
        {"children=on", "children=on", true},
        {"children=out", "children=out", false},
        {"children=on:children=off", "children=on:children=out", true},
        {"children=off:children=on", "children=off:children=on", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        strcpy(text, rows[i].before);
        mp_options_parse(text);
        ck_assert_int_eq(mp_chosen(text), rows[i].chosen);
        ck_assert_str_eq(text, rows[i].after);
    }
}
END_TEST

START_TEST(only_goes_by_the_programs_own_name) {
    char text[] = "only=unit-ch*";
    mp_options_parse(text);
    ck_assert(mp_chosen(text));
    char other[] = "only=/usr/bin/unit-ch*"; /* without its folder */
    mp_options_parse(other);
    ck_assert(!mp_chosen(other));
    mp_options_parse(NULL);
    ck_assert(mp_chosen(NULL));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("chosen");
    TCase *tcase = tcase_create("chosen");
    UNIT_CASE(tcase, patterns_are_those_of_a_shell);
    UNIT_CASE(tcase, any_pattern_is_what_fnmatch_says);
    UNIT_CASE(tcase, children_are_told_in_place);
    UNIT_CASE(tcase, only_goes_by_the_programs_own_name);
    suite_add_tcase(suite, tcase);
    return unit_main(suite);
}
