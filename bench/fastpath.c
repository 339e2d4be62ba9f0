/* The fast paths alone, for counting instructions: PATTERN ROUNDS. It is run under callgrind, which
 * collects inside malloc and free only, so that neither this loop nor the PLT is counted.
 *
 *   lone     malloc and free of one 64-byte block, nothing else live
 *   among    the same among 1,000 live blocks of the size
 *   lifo     100 blocks allocated, then freed in reverse, again and again
 *   remote   blocks allocated by one thread and freed by another
 *   mixed    sizes 16 to 1,024 at random places of a table of 1,000
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVE  1000
#define DEEP  100
#define BATCH 2000

static void *blocks[BATCH > LIVE ? BATCH : LIVE];

static void pairs(long rounds) {
    for (long i = 0; i < rounds; i++)
        free(malloc(64));
}

static void lifo(long rounds) {
    for (long i = 0; i < rounds / DEEP; i++) {
        for (int k = 0; k < DEEP; k++)
            blocks[k] = malloc(64);
        for (int k = DEEP; k-- > 0;)
            free(blocks[k]);
    }
}

static void mixed(long rounds) {
    unsigned state = 1;
    for (long i = 0; i < rounds; i++) {
        state = state * 1664525 + 1013904223;
        unsigned place = (state >> 8) % LIVE;
        free(blocks[place]);
        blocks[place] = malloc(16 + (state >> 20) % 1009);
    }
}

static void *free_batch(void *unused) {
    for (int k = 0; k < BATCH; k++)
        free(blocks[k]);
    return unused;
}

static void remote(long rounds) {
    for (long i = 0; i < rounds / BATCH; i++) {
        pthread_t thread;
        for (int k = 0; k < BATCH; k++)
            blocks[k] = malloc(64);
        if (pthread_create(&thread, NULL, free_batch, NULL) != 0)
            abort();
        pthread_join(thread, NULL);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: fastpath lone|among|lifo|remote|mixed ROUNDS\n");
        return 2;
    }
    long rounds = atol(argv[2]);
    if (strcmp(argv[1], "lone") == 0) {
        pairs(rounds);
    } else if (strcmp(argv[1], "among") == 0) {
        for (int k = 0; k < LIVE; k++)
            blocks[k] = malloc(64);
        pairs(rounds);
    } else if (strcmp(argv[1], "lifo") == 0) {
        lifo(rounds);
    } else if (strcmp(argv[1], "remote") == 0) {
        remote(rounds);
    } else if (strcmp(argv[1], "mixed") == 0) {
        mixed(rounds);
    } else {
        fprintf(stderr, "fastpath: no pattern '%s'\n", argv[1]);
        return 2;
    }
    return 0;
}
