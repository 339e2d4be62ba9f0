/*
 * A large block, freed by one thread, then by another. The other is there before: what it takes to
 * start it could be put where the block was.
 *
 * stderr: memprof: double free of ADDR (1048576-byte block), called from WHERE
 */
#include "misuse.h"

static pthread_barrier_t freed;
static void *block;

static void *free_again(void *unused) {
    (void)unused;
    pthread_barrier_wait(&freed);
    free(block); // here
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_barrier_init(&freed, NULL, 2);
    if (pthread_create(&thread, NULL, free_again, NULL))
        return 4;
    block = bad(malloc(1 * MIB));
    free(block);
    pthread_barrier_wait(&freed);
    pthread_join(thread, NULL);
    return aftermath(1 * MIB);
}
