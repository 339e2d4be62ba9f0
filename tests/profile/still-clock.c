/* A clock that stands still, to be loaded before the library: what it does by the clock, such as
 * giving memory back, does not come into a count of instructions then. */
#include <time.h>

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    *now = (struct timespec){1000, 0};
    return 0;
}
