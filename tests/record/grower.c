/* Allocates BYTES in steps of 20 kB, STEPS in all, one every MS milliseconds; keeps what it has if
 * KEEP is 1. Forks at the end if FORK is 1, and the child does the same again. For test-regular.
 *
 *   grower STEPS MS KEEP FORK [SIZE] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static size_t size = 20000;

static void grow(int steps, int ms, int keep) {
    for (int i = 0; i < steps; i++) {
        char *block = malloc(size);
        if (!block)
            abort();
        memset(block, 1, size < 20000 ? size : 20000);
        if (!keep)
            free(block);
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
    }
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    if (argc > 5)
        size = strtoul(argv[5], NULL, 10);
    int steps = atoi(argv[1]), ms = atoi(argv[2]), keep = atoi(argv[3]);
    grow(steps, ms, keep);
    if (atoi(argv[4])) {
        pid_t child = fork();
        if (child == 0) {
            grow(steps, ms, keep);
            exit(0);
        }
        printf("%d\n", (int)child);
        waitpid(child, NULL, 0);
    }
    /* Of copies of ours nothing is to be seen. */
    return waitpid(-1, NULL, WNOHANG) > 0;
}
