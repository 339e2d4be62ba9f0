/* A program that brings its own suppressions, as one written for LeakSanitizer does. Its symbols
 * are in the dynamic table: that is how they are found. */
#include <stdlib.h>

__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void) {
    return "# what this program means to lose\nleak:lose_on_purpose\n";
}

static void *volatile sink;

__attribute__((noinline)) void lose_on_purpose(void);

__attribute__((noinline)) void lose_on_purpose(void) {
    sink = malloc(100);
    sink = NULL;
}

int main(void) {
    lose_on_purpose();
    return 0;
}
