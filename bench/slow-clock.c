/* A clock that is 50 times slow, to be loaded before the library where a program runs under
 * callgrind, which is about as slow: what the library does by the clock happens after as much work
 * as elsewhere. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOWER 50u

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now) {
    static uint64_t first;
    if (syscall(SYS_clock_gettime, (long)clock, now) != 0)
        return -1;
    uint64_t ns = (uint64_t)now->tv_sec * 1000000000u + (uint64_t)now->tv_nsec;
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
        return 0;
    if (!first) /* threads may race: by less than it matters */
        first = ns;
    ns = ns < first ? first : first + (ns - first) / SLOWER;
    *now = (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    return 0;
}
