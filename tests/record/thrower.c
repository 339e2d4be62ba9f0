/*
 * A program in C, without the C++ library, opens one that throws and catches inside.
 *
 *     thrower LIBRARY
 */
#include "record.h"

#include "throws.h"

static void *library;

static bool call(const char *name) {
    bool (*function)(void);
    *(void **)&function = dlsym(library, name);
    return function && function();
}

static void run(void) {
    static const char *const names[] = {
        "throws_and_catches", "throws_bad_alloc",      "throws_nested",
        "throws_in_threads",  "throws_in_constructor", "throws_through_c",
    };
    for (unsigned i = 0; i < COUNT(names); i++)
        CHECK(call(names[i]), "%s did not end as the standard says", names[i]);
}

static void *run_on_thread(void *unused) {
    run();
    return unused;
}

/* C++ asks the program's own symbols first: an unwinder among them would be the one that handles
 * its exceptions. */
static void no_unwinder(void) {
    const void *found = dlsym(RTLD_DEFAULT, "_Unwind_RaiseException");
    Dl_info info;
    CHECK(!found, "it is in %s", found && dladdr(found, &info) ? info.dli_fname : "some module");
}

static void first_time(void) {
    run();
}

static void on_thread(void) {
    t_in_thread(run_on_thread, NULL);
}

int main(int argc, char **argv) {
    t_init();
    r_watchdog(60);
    if (argc != 2 || !(library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL))) {
        printf("not ok the library is opened: %s\n", dlerror());
        return 1;
    }
    RUN("a program in C gets no unwinder for exceptions", no_unwinder);
    RUN("a library in C++ throws in a program in C", first_time);
    RUN("and on a thread of it", on_thread);
    r_dump("thrower.heap");
    return t_done();
}
