/* Suite: text without stdio: what the formatter writes, where it cuts, and where lines go. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/say.h"
#include "unit.h"

/* The same format through printf is what is expected. */
#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[300], theirs[300];                                                               \
        struct mp_text text;                                                                       \
        mp_text_init(&text, ours, sizeof ours);                                                    \
        mp_text_add(&text, __VA_ARGS__);                                                           \
        snprintf(theirs, sizeof theirs, __VA_ARGS__);                                              \
        ck_assert_str_eq(ours, theirs);                                                            \
        ck_assert_uint_eq(text.length, strlen(theirs));                                            \
    } while (0)

START_TEST(numbers_are_written_as_printf_does) {
    SAME("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
    SAME("%u %u", 0u, UINT_MAX);
    SAME("%zu %zu", (size_t)0, SIZE_MAX);
    SAME("%lu %lu", 7ul, ULONG_MAX);
    SAME("%zd %zd", (ssize_t)-5, (ssize_t)SSIZE_MAX);
    SAME("%ld", LONG_MIN);
    SAME("%x %lx %zx", 0xbeefu, 0xdeadbeefcafeul, (size_t)0);
    SAME("%p", (void *)0x7f0012345678);
}
END_TEST

START_TEST(words_are_written_as_printf_does) {
    SAME("plain");
    SAME("%s", "");
    SAME("%s and %s", "one", "two");
    SAME("%c%c", 'a', 'z');
    SAME("100%%");
}
END_TEST

START_TEST(widths_pad_on_the_side_asked_for) {
    SAME("[%5zu]", (size_t)42);
    SAME("[%-5zu]", (size_t)42);
    SAME("[%2zu]", (size_t)12345);
    SAME("[%10lu][%-10lu]", 7ul, 7ul);
    SAME("[%4u][%-4u]", 7u, 7u);
    SAME("[%8s][%-8s]", "word", "word");
    SAME("[%2s]", "longer");
}
END_TEST

START_TEST(no_string_is_told_as_null) {
    char line[32];
    struct mp_text text;
    mp_text_init(&text, line, sizeof line);
    const char *none = NULL;
    __asm__("" : "+r"(none));
    mp_text_add(&text, "<%s>", none);
    ck_assert_str_eq(line, "<(null)>");
}
END_TEST

START_TEST(what_does_not_fit_is_cut) {
    for (size_t size = 1; size <= 12; size++) {
        char line[16];
        memset(line, '#', sizeof line);
        struct mp_text text;
        mp_text_init(&text, line, size);
        mp_text_add(&text, "%s-%d", "12345", 6789);
        char expected[16];
        snprintf(expected, size, "%s-%d", "12345", 6789);
        ck_assert_str_eq(line, expected);
        ck_assert_uint_eq(text.length, strlen(expected));
        for (size_t i = size; i < sizeof line; i++)
            ck_assert_int_eq(line[i], '#');
    }
}
END_TEST

START_TEST(a_buffer_of_no_size_is_left_alone) {
    char line = '#';
    struct mp_text text;
    mp_text_init(&text, &line, 0);
    mp_text_add(&text, "%s", "text");
    ck_assert_int_eq(line, '#');
    ck_assert_uint_eq(text.length, 0);
}
END_TEST

static char flushed[4096];
static size_t flushed_size;

static void flush(struct mp_text *text) {
    char *start = text->sink;
    size_t size = (size_t)(text->at - start);
    memcpy(flushed + flushed_size, start, size);
    flushed_size += size;
    text->at = start;
    text->room += size;
}

START_TEST(a_full_buffer_is_flushed_and_nothing_is_lost) {
    char line[8], expected[1000] = "";
    struct mp_text text;
    mp_text_init(&text, line, sizeof line);
    text.flush = flush;
    text.sink = line;
    for (int i = 0; i < 100; i++) {
        mp_text_add(&text, "%d,", i);
        sprintf(expected + strlen(expected), "%d,", i);
    }
    flush(&text);
    ck_assert_uint_eq(flushed_size, strlen(expected));
    ck_assert_mem_eq(flushed, expected, flushed_size);
    ck_assert_uint_eq(text.length, flushed_size);
    flushed_size = 0;
}
END_TEST

/* ---- where lines go ---- */

START_TEST(a_line_has_a_name_in_front_and_one_end) {
    unit_listen();
    mp_say("%d blocks", 3);
    mp_say("more");
    ck_assert_str_eq(unit_said(), "memprof: 3 blocks\nmemprof: more\n");
}
END_TEST

START_TEST(a_long_line_is_cut_and_still_ends) {
    static char word[3000];
    memset(word, 'w', sizeof word - 1);
    unit_listen();
    mp_say("%s", word);
    const char *said = unit_said();
    size_t length = strlen(said);
    ck_assert_uint_gt(length, 900);
    ck_assert_uint_lt(length, 1100);
    ck_assert_ptr_eq(strchr(said, '\n'), said + length - 1);
}
END_TEST

START_TEST(a_line_is_one_write) {
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_DIRECT), 0); /* reads tell writes apart */
    mp_say_to(ends[1], NULL);
    mp_say("one %s", "line");
    mp_say("two");
    mp_say_to(2, NULL);
    char text[100];
    ssize_t n = read(ends[0], text, sizeof text);
    ck_assert_int_eq(n, (ssize_t)strlen("memprof: one line\n"));
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(raw_text_goes_to_the_same_place_unchanged) {
    unit_listen();
    mp_say_raw("a\nb", 3);
    ck_assert_str_eq(unit_said(), "a\nb");
}
END_TEST

START_TEST(nothing_is_said_to_nowhere) {
    int before = dup(2);
    mp_say_to(-1, NULL);
    mp_say("not to be seen");
    mp_say_to(2, NULL);
    int after = dup(2);
    ck_assert_int_eq(after, before + 1); /* and no descriptor was left open */
    close(before);
    close(after);
}
END_TEST

START_TEST(a_path_is_appended_to_and_closed_again) {
    char path[64], text[200];
    snprintf(path, sizeof path, "/tmp/memprof-unit-say.%d", (int)getpid());
    unlink(path);
    int before = dup(2);
    close(before);
    mp_say_to(-1, path);
    mp_say("one");
    mp_say("two");
    mp_say_to(2, NULL);
    int fd = open(path, O_RDONLY);
    ck_assert_int_eq(fd, before);
    ssize_t n = read(fd, text, sizeof text);
    ck_assert_int_eq(n, (ssize_t)strlen("memprof: one\nmemprof: two\n"));
    ck_assert_mem_eq(text, "memprof: one\nmemprof: two\n", n);
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_uint_eq(status.st_mode & 077, 0);
    close(fd);
    unlink(path);
}
END_TEST

START_TEST(errno_stays_as_it_was) {
    errno = 77;
    mp_say_to(-1, "/nonexistent/folder/file");
    mp_say("lost");
    mp_say_to(999, NULL);
    mp_say("lost");
    mp_say_to(2, NULL);
    ck_assert_int_eq(errno, 77);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("say");
    TCase *format = tcase_create("format");
    UNIT_CASE(format, numbers_are_written_as_printf_does);
    UNIT_CASE(format, words_are_written_as_printf_does);
    UNIT_CASE(format, widths_pad_on_the_side_asked_for);
    UNIT_CASE(format, no_string_is_told_as_null);
    UNIT_CASE(format, what_does_not_fit_is_cut);
    UNIT_CASE(format, a_buffer_of_no_size_is_left_alone);
    UNIT_CASE(format, a_full_buffer_is_flushed_and_nothing_is_lost);
    suite_add_tcase(suite, format);
    TCase *places = tcase_create("places");
    UNIT_CASE(places, a_line_has_a_name_in_front_and_one_end);
    UNIT_CASE(places, a_long_line_is_cut_and_still_ends);
    UNIT_CASE(places, a_line_is_one_write);
    UNIT_CASE(places, raw_text_goes_to_the_same_place_unchanged);
    UNIT_CASE(places, nothing_is_said_to_nowhere);
    UNIT_CASE(places, a_path_is_appended_to_and_closed_again);
    UNIT_CASE(places, errno_stays_as_it_was);
    suite_add_tcase(suite, places);
    return unit_main(suite);
}
