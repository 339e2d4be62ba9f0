/*
 * Built with AddressSanitizer by the script: a program whose allocator is a sanitizer's. The heap
 * stays passive, so the sanitizer must still see what it sees without it.
 *
 *     sanitized good|bad
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *in_thread(void *argument) {
    for (size_t i = 1; i < 1000; i++)
        free(realloc(malloc(i), i * 3));
    return argument;
}

int main(int argc, char **argv) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, in_thread, NULL) != 0)
        return 1;
    in_thread(NULL);
    pthread_join(thread, NULL);
    char *text = strdup("a text");
    volatile char *block = malloc(10);
    if (argc > 1 && strcmp(argv[1], "bad") == 0)
        block[10] = 1;
    free((void *)block);
    free(text);
    puts("went on");
    return 0;
}
