/*
 * A program with a result and a status of its own, to see that options change neither: it prints
 * one line and ends with 7.
 */
#include "common.h"

int main(void) {
    t_init();
    char *blocks[100];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = malloc(i * 100 + 1);
        if (!blocks[i])
            return 1;
        memset(blocks[i], 1, i * 100 + 1);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    printf("ran\n");
    return 7;
}
