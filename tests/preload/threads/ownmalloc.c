/*
 * A program with a malloc of its own: everything in the process, the C library included, calls that
 * one, and the preloaded heap must stay out of the way. The program's malloc tells how often it was
 * called, so that the test sees who served the blocks.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Blocks are never reused; each has its size in front. */
static _Alignas(4096) char arena[64 << 20];
static atomic_size_t used;
static atomic_int mallocs, frees, foreign;

EXPORT void *memalign(size_t alignment, size_t size) {
    if (alignment < 16)
        alignment = 16;
    size_t need = size + 2 * alignment + 16, at = atomic_fetch_add(&used, need);
    if (size > sizeof(arena) || at + need > sizeof(arena)) {
        errno = ENOMEM;
        return NULL;
    }
    atomic_fetch_add(&mallocs, 1);
    uintptr_t block = ((uintptr_t)arena + at + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);
    ((size_t *)block)[-1] = size;
    return (void *)block;
}

EXPORT void *malloc(size_t size) {
    return memalign(16, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t size) {
    void *made = memalign(alignment, size);
    if (made == NULL)
        return ENOMEM;
    *block = made;
    return 0;
}

EXPORT void free(void *block) {
    if (block == NULL)
        return;
    atomic_fetch_add(&frees, 1);
    if ((char *)block < arena || (char *)block >= arena + sizeof(arena))
        atomic_fetch_add(&foreign, 1);
}

/* The arena starts as zeros and nothing is reused. */
EXPORT void *calloc(size_t count, size_t size) {
    return memalign(16, count * size);
}

EXPORT void *realloc(void *block, size_t size) {
    void *made = memalign(16, size);
    if (made != NULL && block != NULL) {
        size_t old = ((size_t *)block)[-1];
        memcpy(made, block, old < size ? old : size);
        free(block);
    }
    return made;
}

static void *in_thread(void *argument) {
    for (size_t i = 1; i < 200; i++)
        free(malloc(i * 10));
    return argument;
}

int main(void) {
    alarm(20);
    int before = mallocs;
    char *text = strdup("through the C library");
    free(realloc(text, 1000));
    FILE *file = fopen("/proc/self/stat", "r");
    char *line = NULL;
    size_t room = 0;
    if (file == NULL || getline(&line, &room, file) <= 0)
        return 2;
    free(line);
    fclose(file);
    void *aligned;
    if (posix_memalign(&aligned, 256, 100) != 0 || (uintptr_t)aligned % 256 != 0)
        return 3;
    free(aligned);
    pthread_t thread;
    if (pthread_create(&thread, NULL, in_thread, NULL) != 0)
        return 4;
    pthread_join(thread, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        free(malloc(100));
        exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return 5;
    if (mallocs - before < 200 || frees < 200)
        return 6; /* someone else served the program */
    if (foreign != 0)
        return 7; /* someone else's block came here to be freed */
    puts("went on");
    return 0;
}
