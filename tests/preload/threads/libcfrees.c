/*
 * What the C library allocates for a thread and frees when it ends, after every destructor of the
 * program's and of the heap's: the texts of strerror_l, strsignal and dlerror, the resolver's
 * state, locale objects, thread-local storage of libraries that were opened late. And what threads
 * make it allocate while they live: streams, lines, directory lists, regular expressions.
 *
 *     libcfrees PATH-OF-TLSLIB
 */
#include "probe.h"

#include <glob.h>
#include <iconv.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <regex.h>
#include <resolv.h>
#include <search.h>
#include <wchar.h>

static int (*touch)(int);

static int compare(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static void texts(int number) {
    locale_t locale = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
    probe_check(locale != (locale_t)0, "newlocale");
    locale_t old = uselocale(locale);
    probe_check(strstr(strerror_l(100000 + number, locale), "100") != NULL, "strerror_l");
    probe_check(strerror(100000 + number) != NULL, "strerror");
    probe_check(strsignal(1000 + number) != NULL, "strsignal");
    /* An error that nobody reads stays allocated until the thread ends. */
    probe_check(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL, "dlopen");
    if (number % 2 == 0)
        probe_check(strstr(dlerror(), "nonexistent") != NULL, "dlerror");
    dlsym(RTLD_DEFAULT, "no_such_symbol_anywhere");
    uselocale(old);
    freelocale(locale);
}

static void streams(void) {
    char *line = NULL, *text = NULL;
    size_t room = 0, size = 0;
    FILE *file = fopen("/proc/self/status", "r");
    probe_check(file != NULL, "fopen");
    while (getline(&line, &room, file) > 0)
        ;
    free(line);
    fclose(file);
    FILE *stream = open_memstream(&text, &size);
    probe_check(stream != NULL, "open_memstream");
    for (int i = 0; i < 500; i++)
        fprintf(stream, "%d %.30f\n", i, i / 7.0);
    fclose(stream);
    probe_check(strlen(text) == size, "open_memstream's text");
    free(text);
    wchar_t *wide = wcsdup(L"wide characters");
    free(wide);
    probe_check(asprintf(&text, "%0*d", 5000, 1) == 5000, "asprintf");
    free(text);
}

static void names(void) {
    struct addrinfo hints, *list = NULL;
    memset(&hints, 0, sizeof(hints));
    hints.ai_flags = AI_NUMERICHOST;
    probe_check(getaddrinfo("127.0.0.1", "80", &hints, &list) == 0, "getaddrinfo");
    freeaddrinfo(list);
    /* Per-thread state that only the end of the thread closes. */
    struct __res_state *state = &_res;
    res_ninit(state);
    char text[2048];
    struct passwd entry, *found;
    getpwuid_r(0, &entry, text, sizeof(text), &found);
    getservbyname("http", "tcp");
}

static void collections(int number) {
    glob_t found;
    if (glob("/etc/*", 0, NULL, &found) == 0)
        globfree(&found);
    regex_t expression;
    probe_check(regcomp(&expression, "^(a|b)*[0-9]+x{2,5}$", REG_EXTENDED) == 0, "regcomp");
    probe_check(regexec(&expression, "abab42xxx", 0, NULL, 0) == 0, "regexec");
    regfree(&expression);
    int *numbers = malloc(20000 * sizeof(int));
    probe_check(numbers != NULL, "malloc");
    for (int i = 0; i < 20000; i++)
        numbers[i] = (i * 7919 + number) % 20011;
    qsort(numbers, 20000, sizeof(int), compare);
    for (int i = 1; i < 20000; i++)
        probe_check(numbers[i - 1] <= numbers[i], "qsort");
    free(numbers);
    void *tree = NULL;
    static int keys[50];
    for (int i = 0; i < 50; i++)
        tsearch(&keys[i], &tree, compare);
    tdestroy(tree, (void (*)(void *))(void *)strlen);
    iconv_t converter = iconv_open("UTF-16", "UTF-8");
    if (converter != (iconv_t)-1)
        iconv_close(converter);
}

static void *live(void *argument) {
    int number = (int)(uintptr_t)argument;
    /* Not all in each, so that a thread's last malloc and last free differ from one to the next. */
    if (number % 2 == 0)
        texts(number);
    if (number % 3 == 0)
        streams();
    if (number % 5 == 0)
        names();
    if (number % 7 == 0)
        collections(number);
    /* 7, and in each thread its own: what its copy of the other variable was set to. */
    probe_check(touch(number % 100) == 7 + number % 100, "thread-local storage of a late library");
    return NULL;
}

int main(int argc, char **argv) {
    probe_begin(90);
    if (argc < 2)
        probe_fail("usage: libcfrees PATH-OF-TLSLIB");
    enum { ROUNDS = 200, AT_ONCE = 5 };
    size_t early = 0;
    void *library = dlopen(argv[1], RTLD_NOW);
    probe_check(library != NULL, "dlopen: %s", dlerror());
    touch = (int (*)(int))(uintptr_t)dlsym(library, "touch_thread_locals");
    probe_check(touch != NULL, "dlsym");
    for (uintptr_t round = 0; round < ROUNDS; round++) {
        pthread_t ids[AT_ONCE];
        for (uintptr_t i = 0; i < AT_ONCE; i++)
            probe_check(pthread_create(&ids[i], NULL, live, (void *)(round * AT_ONCE + i)) == 0,
                        "pthread_create");
        for (int i = 0; i < AT_ONCE; i++)
            pthread_join(ids[i], NULL);
        if (round == ROUNDS / 5)
            early = probe_rss();
    }
    size_t late = probe_rss();
    probe_check(late <= early + 8 * PROBE_MIB, "%zu KiB at the end, %zu KiB early",
                late / PROBE_KIB, early / PROBE_KIB);
    dlclose(library);
    probe_exercise(1, "at the end");
    return 0;
}
