/*
 * A C program that opens a C++ library at run time: new must throw and honour the handler there
 * too.
 */
#include "common.h"

static void *library;

static void *find(const char *name) {
    void *symbol = dlsym(library, name);
    CHECK(symbol != NULL, "%s: %s", name, dlerror());
    return symbol;
}

static void late_new_works(void) {
    int (*throws)(size_t), (*handler)(size_t), (*aligned)(size_t, size_t);
    size_t (*strings)(size_t);
    *(void **)&throws = find("late_throws");
    *(void **)&handler = find("late_handler");
    *(void **)&aligned = find("late_aligned");
    *(void **)&strings = find("late_strings");
    if (t_case_failed)
        return;
    CHECK(throws(100) == 0, "new(100) threw");
    CHECK(throws(SIZE_MAX - 100) == 1, "new of nearly SIZE_MAX did not throw std::bad_alloc");
    CHECK(throws((size_t)PTRDIFF_MAX - 100) == 1,
          "new of PTRDIFF_MAX did not throw std::bad_alloc");
    int calls = handler((size_t)PTRDIFF_MAX - 100);
    CHECK(calls == 2, "the new-handler was called %d times", calls);
    CHECK(aligned(100, 4096) == 1, "aligned new is not aligned");
    size_t sum = strings(1000);
    CHECK(sum == 49500, "strings sum to %zu", sum);
}

int main(int argc, char **argv) {
    t_init();
    if (argc < 2)
        return 2;
    for (int round = 0; round < 2; round++) {
        library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            printf("not ok a C++ library opened by a C program: %s\n", dlerror());
            return 1;
        }
        RUN(round ? "new in a C++ library opened a second time"
                  : "new in a C++ library opened by a C program",
            late_new_works);
        dlclose(library);
    }
    return t_done();
}
