/* Suite: MEMPROF_OPTIONS: every kind of value, every complaint, and that a mistake costs no more
 * than a line. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/options.h"
#include "platform/say.h"
#include "unit.h"

/* Parses; what was said meanwhile. An option log= sends it elsewhere, so those cases look there. */
static const char *parse(const char *text) {
    unit_listen();
    /* The parser starts with the place that log= names, by default descriptor 2. */
    int saved = dup(2), heard = memfd_create("stderr", MFD_CLOEXEC);
    static char said[32768];
    must(saved >= 0 && heard >= 0 && dup2(heard, 2) == 2);
    mp_options_parse(text);
    must(dup2(saved, 2) == 2);
    close(saved);
    ssize_t n = pread(heard, said, sizeof said - 1, 0);
    must(n >= 0);
    said[n] = '\0';
    close(heard);
    unit_said();
    return said;
}

static void check_defaults(void) {
    ck_assert_uint_eq(mp_options.purge, 50);
    ck_assert_int_eq(mp_options.thp, MP_THP_AUTO);
    ck_assert_int_eq(mp_options.check, MP_CHECK_FAST);
    ck_assert_int_eq(mp_options.misuse, MP_MISUSE_ABORT);
    ck_assert(!mp_options.stats_exit);
    ck_assert_str_eq(mp_options.log, "stderr");
    ck_assert(!mp_options.help);
}

START_TEST(before_parsing_the_defaults_hold) {
    check_defaults();
}
END_TEST

START_TEST(nothing_and_an_empty_text_give_the_defaults_and_say_nothing) {
    static const char *const texts[] = {NULL, "", ":", ",", "::,,:"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        ck_assert_str_eq(parse("purge=1s:thp=never:check=full:misuse=report:stats_exit=1"), "");
        ck_assert_str_eq(parse(texts[i]), "");
        check_defaults();
    }
}
END_TEST

START_TEST(times_take_their_units) {
    static const struct {
        const char *text;
        uint64_t ms;
    } times[] = {{"purge=0", 0},         {"purge=0ms", 0},
                 {"purge=000", 0},       {"purge=7ms", 7},
                 {"purge=1us", 1},       {"purge=1000us", 1},
                 {"purge=1001us", 2},    {"purge=0us", 0},
                 {"purge=3s", 3000},     {"purge=2m", 120000},
                 {"purge=2h", 7200000},  {"purge=off", MP_TIME_OFF},
                 {"purge=007ms", 7},     {"purge='5s'", 5000},
                 {"purge=\"5s\"", 5000}, {"purge=1000000h", 3600000000000}};
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++) {
        ck_assert_str_eq(parse(times[i].text), "");
        ck_assert_msg(mp_options.purge == times[i].ms, "%s: %ju ms", times[i].text,
                      (uintmax_t)mp_options.purge);
    }
}
END_TEST

START_TEST(choices_are_words_of_their_list) {
    ck_assert_str_eq(parse("thp=never:check=full:misuse=report"), "");
    ck_assert_int_eq(mp_options.thp, MP_THP_NEVER);
    ck_assert_int_eq(mp_options.check, MP_CHECK_FULL);
    ck_assert_int_eq(mp_options.misuse, MP_MISUSE_REPORT);
    ck_assert_str_eq(parse("thp=always,check=fast,misuse=abort"), "");
    ck_assert_int_eq(mp_options.thp, MP_THP_ALWAYS);
    ck_assert_int_eq(mp_options.check, MP_CHECK_FAST);
    ck_assert_int_eq(mp_options.misuse, MP_MISUSE_ABORT);
}
END_TEST

START_TEST(flags_are_0_or_1) {
    ck_assert_str_eq(parse("stats_exit=1"), "");
    ck_assert(mp_options.stats_exit);
    ck_assert_str_eq(parse("stats_exit=1:stats_exit=0"), "");
    ck_assert(!mp_options.stats_exit);
}
END_TEST

START_TEST(the_last_of_several_values_holds) {
    ck_assert_str_eq(parse("purge=1s:purge=2s"), "");
    ck_assert_uint_eq(mp_options.purge, 2000);
}
END_TEST

START_TEST(a_bad_value_is_one_line_and_the_default) {
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"purge=xyz",
         "memprof: bad value 'xyz' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge=",
         "memprof: bad value '' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge", "memprof: bad value '' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge=5",
         "memprof: bad value '5' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge=-1ms",
         "memprof: bad value '-1ms' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge=1 s",
         "memprof: bad value '1 s' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge=1msx",
         "memprof: bad value '1msx' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"purge=OFF",
         "memprof: bad value 'OFF' for option 'purge' (want a time, 0 or off); using 50ms\n"},
        {"thp=sometimes",
         "memprof: bad value 'sometimes' for option 'thp' (want auto|never|always); using auto\n"},
        {"thp=auto|never",
         "memprof: bad value 'auto|never' for option 'thp' (want auto|never|always); using auto\n"},
        {"thp=", "memprof: bad value '' for option 'thp' (want auto|never|always); using auto\n"},
        {"thp=aut",
         "memprof: bad value 'aut' for option 'thp' (want auto|never|always); using auto\n"},
        {"check=2", "memprof: bad value '2' for option 'check' (want fast|full); using fast\n"},
        {"misuse=", "memprof: bad value '' for option 'misuse' (want abort|report); using abort\n"},
        {"stats_exit=yes",
         "memprof: bad value 'yes' for option 'stats_exit' (want 0 or 1); using 0\n"},
        {"stats_exit=", "memprof: bad value '' for option 'stats_exit' (want 0 or 1); using 0\n"},
        {"log=",
         "memprof: bad value '' for option 'log' (want stderr, off or a path); using stderr\n"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_str_eq(parse(cases[i].text), cases[i].said);
        check_defaults();
    }
}
END_TEST

START_TEST(a_bad_value_replaces_an_earlier_good_one_by_the_default) {
    parse("purge=1s:purge=nonsense");
    ck_assert_uint_eq(mp_options.purge, 50);
}
END_TEST

/* 2^64 ms are 5e12 hours. */
START_TEST(a_time_too_long_to_hold_is_a_bad_value) {
    static const char *const times[] = {"99999999999999h",
                                        "5124095576031h",
                                        "184467440737095516s",
                                        "18446744073709551616ms",
                                        "340282366920938463463374607431m",
                                        "9999999999999999999999us"};
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++) {
        char text[100];
        snprintf(text, sizeof text, "purge=%s", times[i]);
        ck_assert_msg(strstr(parse(text), "bad value") != NULL, "%s is %ju ms", times[i],
                      (uintmax_t)mp_options.purge);
        ck_assert_uint_eq(mp_options.purge, 50);
    }
}
END_TEST

START_TEST(an_unknown_key_is_one_line_and_the_rest_counts) {
    ck_assert_str_eq(parse("foo=1:purge=2s"),
                     "memprof: unknown option 'foo' in MEMPROF_OPTIONS (ignored)\n");
    ck_assert_uint_eq(mp_options.purge, 2000);
    ck_assert_str_eq(parse("=1"), "memprof: unknown option '' in MEMPROF_OPTIONS (ignored)\n");
    ck_assert_str_eq(parse("Purge=1s"),
                     "memprof: unknown option 'Purge' in MEMPROF_OPTIONS (ignored)\n");
    ck_assert_str_eq(parse("purge2=1s"),
                     "memprof: unknown option 'purge2' in MEMPROF_OPTIONS (ignored)\n");
    ck_assert_str_eq(parse("pur=1s"),
                     "memprof: unknown option 'pur' in MEMPROF_OPTIONS (ignored)\n");
    ck_assert_str_eq(parse("a:b,c"), "memprof: unknown option 'a' in MEMPROF_OPTIONS (ignored)\n"
                                     "memprof: unknown option 'b' in MEMPROF_OPTIONS (ignored)\n"
                                     "memprof: unknown option 'c' in MEMPROF_OPTIONS (ignored)\n");
}
END_TEST

START_TEST(what_cannot_be_printed_is_shown_as_question_marks_and_what_is_long_is_cut) {
    ck_assert_str_eq(parse("a\nb\x7f=1"),
                     "memprof: unknown option 'a?b?' in MEMPROF_OPTIONS (ignored)\n");
    char text[3000] = "thp=";
    memset(text + 4, 'x', sizeof text - 5);
    const char *said = parse(text);
    ck_assert_uint_lt(strlen(said), 200);
    ck_assert_ptr_nonnull(strstr(said, "xxx...' for option 'thp'"));
    memset(text, 'y', sizeof text - 1);
    said = parse(text);
    ck_assert_uint_lt(strlen(said), 200);
    ck_assert_ptr_nonnull(strstr(said, "yyy...' in MEMPROF_OPTIONS"));
}
END_TEST

/* ---- log ---- */

static char log_path[64];

static const char *read_log(void) {
    static char text[8192];
    int fd = open(log_path, O_RDONLY);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, sizeof text - 1);
    must(n >= 0);
    text[n] = '\0';
    close(fd);
    unlink(log_path);
    return text;
}

static const char *parse_with_log(const char *before, char quote, const char *after) {
    char text[400];
    snprintf(log_path, sizeof log_path, "/tmp/memprof-unit-log:%d", (int)getpid());
    snprintf(text, sizeof text, "%slog=%c%s%c%s", before, quote, log_path, quote, after);
    unlink(log_path);
    return parse(text);
}

START_TEST(a_log_file_gets_the_complaints_wherever_it_is_named) {
    static const struct {
        const char *before;
        char quote;
        const char *after;
    } cases[] = {{"", '\'', ":x=1"}, {"x=1:", '\'', ""}, {"x=1,", '"', ",purge=1s"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_str_eq(parse_with_log(cases[i].before, cases[i].quote, cases[i].after), "");
        const char *log = read_log();
        ck_assert_msg(log != NULL, "case %u: no log", i);
        ck_assert_str_eq(log, "memprof: unknown option 'x' in MEMPROF_OPTIONS (ignored)\n");
    }
}
END_TEST

START_TEST(a_log_that_is_off_says_nothing) {
    ck_assert_str_eq(parse("x=1:log=off:purge=nonsense"), "");
    ck_assert_uint_eq(mp_options.purge, 50);
    ck_assert_str_eq(mp_options.log, "off");
}
END_TEST

START_TEST(a_log_that_cannot_be_opened_costs_the_lines_only) {
    ck_assert_str_eq(parse("log=/nonexistent/folder/file:x=1:purge=2s"), "");
    ck_assert_uint_eq(mp_options.purge, 2000);
}
END_TEST

START_TEST(a_log_named_inside_another_value_is_none) {
    ck_assert_str_eq(parse("x=\"1:log=off\""),
                     "memprof: unknown option 'x' in MEMPROF_OPTIONS (ignored)\n");
    ck_assert_str_eq(mp_options.log, "stderr");
}
END_TEST

START_TEST(a_path_longer_than_there_is_room_for_is_a_bad_value) {
    static char text[9000] = "log=";
    memset(text + 4, 'p', sizeof text - 5);
    ck_assert_ptr_nonnull(strstr(parse(text), "for option 'log'"));
    ck_assert_str_eq(mp_options.log, "stderr");
}
END_TEST

/* ---- help ---- */

START_TEST(help_lists_every_option_with_its_default_and_meaning) {
    char said[16384];
    snprintf(said, sizeof said, "%s", parse("help=1"));
    static const struct {
        const char *key, *fallback, *help, *values;
    } options[] = {
#define OPTION(key, kind, fallback, values, help) {#key, fallback, help, values},
#include "platform/options.def"
#undef OPTION
    };
    const char *at = strchr(said, '\n') + 1;
    for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
        char expected[600];
        snprintf(expected, sizeof expected, "  %-11s %-8s %s (%s)\n", options[i].key,
                 options[i].fallback, options[i].help, options[i].values);
        ck_assert_msg(strncmp(at, expected, strlen(expected)) == 0, "line %u is not '%s'", i,
                      expected);
        at += strlen(expected);
    }
    ck_assert_str_eq(at, "");
    ck_assert_str_eq(parse("help=0"), "");
}
END_TEST

START_TEST(every_default_is_a_value_that_its_option_takes) {
#define OPTION(key, kind, fallback, values, help)                                                  \
    ck_assert_str_eq(parse(#key "=" fallback), "");                                                \
    check_defaults();
#include "platform/options.def"
#undef OPTION
}
END_TEST

/* ---- anything at all ---- */

START_TEST(any_text_whatever_leaves_the_program_running) {
    static const char *const parts[] = {
        "purge", "thp", "lo", "misuse", "help", "=",    "==",   ":", ",",    "'",
        "\"",    "off", "1",  "0",      "ms",   "auto", "\xff", "a", "=off", "check"};
    uint64_t state = 111;
    for (int i = 0; i < 20000; i++) {
        char text[300] = "log=off:"; /* no noise, and no files of strange names */
        for (size_t n = unit_random_to(&state, 20); n > 0; n--)
            strcat(text, parts[unit_random_to(&state, sizeof parts / sizeof *parts - 1)]);
        mp_options_parse(text);
        ck_assert_str_eq(mp_options.log, "off");
    }
    mp_options_parse(NULL);
    mp_say_to(2, NULL);
    check_defaults();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("options");
    TCase *values = tcase_create("values");
    UNIT_CASE_PRISTINE(values, before_parsing_the_defaults_hold);
    UNIT_CASE(values, nothing_and_an_empty_text_give_the_defaults_and_say_nothing);
    UNIT_CASE(values, times_take_their_units);
    UNIT_CASE(values, choices_are_words_of_their_list);
    UNIT_CASE(values, flags_are_0_or_1);
    UNIT_CASE(values, the_last_of_several_values_holds);
    suite_add_tcase(suite, values);
    TCase *mistakes = tcase_create("mistakes");
    UNIT_CASE(mistakes, a_bad_value_is_one_line_and_the_default);
    UNIT_CASE(mistakes, a_bad_value_replaces_an_earlier_good_one_by_the_default);
    UNIT_CASE(mistakes, a_time_too_long_to_hold_is_a_bad_value);
    UNIT_CASE(mistakes, an_unknown_key_is_one_line_and_the_rest_counts);
    UNIT_CASE(mistakes, what_cannot_be_printed_is_shown_as_question_marks_and_what_is_long_is_cut);
    UNIT_CASE(mistakes, any_text_whatever_leaves_the_program_running);
    suite_add_tcase(suite, mistakes);
    TCase *log = tcase_create("log");
    UNIT_CASE(log, a_log_file_gets_the_complaints_wherever_it_is_named);
    UNIT_CASE(log, a_log_that_is_off_says_nothing);
    UNIT_CASE(log, a_log_that_cannot_be_opened_costs_the_lines_only);
    UNIT_CASE(log, a_log_named_inside_another_value_is_none);
    UNIT_CASE(log, a_path_longer_than_there_is_room_for_is_a_bad_value);
    suite_add_tcase(suite, log);
    TCase *help = tcase_create("help");
    UNIT_CASE(help, help_lists_every_option_with_its_default_and_meaning);
    UNIT_CASE(help, every_default_is_a_value_that_its_option_takes);
    suite_add_tcase(suite, help);
    return unit_main(suite);
}
