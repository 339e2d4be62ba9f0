/*
 * Freed twice, when in between many of its page's free blocks have been handed out again; it has
 * not, or its second free would be right.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    static void *blocks[600], *again[150];
    for (size_t i = 0; i < 600; i++)
        blocks[i] = malloc(64);
    for (size_t i = 0; i < 600; i += 2)
        free(blocks[i]);
    for (size_t i = 0; i < COUNT(again); i++)
        again[i] = malloc(64);
    void *block = NULL;
    for (size_t i = 0; i < 600 && !block; i += 2) {
        block = blocks[i];
        for (size_t j = 0; j < COUNT(again); j++)
            if (again[j] == block)
                block = NULL;
    }
    free(bad(block)); // here
    for (size_t i = 1; i < 600; i += 2)
        own(blocks[i], 64);
    for (size_t i = 0; i < COUNT(again); i++)
        own(again[i], 64);
    return aftermath(64);
}
