/*
 * A block freed by its thread, which then ended, is freed again.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

/* Its page stays in use by the others. */
static void *blocks[10];

static void *make_and_free(void *unused) {
    (void)unused;
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = malloc(64);
    free(blocks[5]);
    return blocks[5];
}

int main(void) {
    void *kept = malloc(64);
    void *block = t_in_thread(make_and_free, NULL);
    free(bad(block)); // here
    own(kept, 64);
    return aftermath(64);
}
