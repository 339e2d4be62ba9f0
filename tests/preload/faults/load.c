/* A load that takes NULL for an answer: run by ../test-faults while memprof's own system calls
 * fail. Whatever fails, a block that is handed out is whole (its bytes are checked when it is freed
 * or resized), NULL comes with ENOMEM, realloc's failure leaves the block alone, and everything can
 * be freed. Four threads exchange blocks; a child is forked in the middle. Prints how often NULL
 * came. */
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

#define SLOTS   256
#define THREADS 4

struct block {
    size_t size;
    uint64_t seed;
    unsigned char bytes[];
};

static _Atomic(struct block *) slots[SLOTS];
static _Atomic(long) nulls;

static void die(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    _exit(3);
}

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static unsigned char byte_of(uint64_t seed, size_t i) {
    return (unsigned char)(seed >> (i % 8) * 8 ^ i);
}

/* Not every byte of a large block: its ends and some between. */
static size_t stride_of(size_t size) {
    return size < 4096 ? 1 : size / 512;
}

static void check(const struct block *block, size_t size) {
    size_t stride = stride_of(block->size);
    for (size_t i = 0; i < size; i += stride) {
        if (block->bytes[i] != byte_of(block->seed, i))
            die("contents changed");
    }
}

static void fill(struct block *block, size_t size, uint64_t seed) {
    block->size = size;
    block->seed = seed;
    size_t stride = stride_of(size);
    for (size_t i = 0; i < size; i += stride)
        block->bytes[i] = byte_of(seed, i);
}

static size_t random_size(uint64_t *state) {
    unsigned shift = (unsigned)(next(state) % 22);
    size_t size = next(state) % ((size_t)2 << shift);
    return next(state) % 500 == 0 ? size + (40u << 20) : size;
}

static struct block *allocate(uint64_t *state) {
    size_t size = random_size(state);
    struct block *block = NULL;
    errno = 0;
    switch (next(state) % 4) {
    case 0:
        block = calloc(1, sizeof *block + size);
        break;
    case 1:
        block = memalign((size_t)16 << next(state) % 13, sizeof *block + size);
        break;
    default:
        block = malloc(sizeof *block + size);
    }
    if (!block) {
        if (errno != ENOMEM)
            die("NULL without ENOMEM");
        nulls++;
        return NULL;
    }
    fill(block, size, next(state));
    return block;
}

static struct block *resize(struct block *block, uint64_t *state) {
    size_t size = random_size(state), old = block->size;
    uint64_t seed = block->seed;
    errno = 0;
    struct block *moved = realloc(block, sizeof *block + size);
    if (!moved) {
        if (errno != ENOMEM)
            die("realloc: NULL without ENOMEM");
        nulls++;
        check(block, old);
        return block;
    }
    if (moved->size != old || moved->seed != seed)
        die("realloc lost the beginning");
    check(moved, size < old ? size : old);
    fill(moved, size, next(state));
    return moved;
}

static void *work(void *argument) {
    uint64_t state = 88172645463325252u + (uintptr_t)argument * 2654435761u;
    for (int i = 0; i < 3000; i++) {
        struct block *block = atomic_exchange(&slots[next(&state) % SLOTS], (struct block *)NULL);
        if (block) {
            check(block, block->size);
            if (next(&state) % 4 == 0) {
                block = resize(block, &state);
            } else {
                free(block);
                block = NULL;
            }
        }
        if (!block)
            block = allocate(&state);
        block = atomic_exchange(&slots[next(&state) % SLOTS], block);
        if (block) {
            check(block, block->size);
            free(block);
        }
    }
    return NULL;
}

static void free_all(void) {
    for (int i = 0; i < SLOTS; i++) {
        struct block *block = atomic_exchange(&slots[i], (struct block *)NULL);
        if (block)
            check(block, block->size);
        free(block);
    }
}

int main(void) {
    pthread_t threads[THREADS];
    int count = 0;
    for (uintptr_t i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[count], NULL, work, (void *)i) == 0)
            count++;
        else
            work((void *)i);
    }
    pid_t child = fork();
    if (child == 0) {
        free_all();
        _exit(0);
    }
    int status = 0;
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
        die("the child failed");
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free_all();
    printf("nulls %ld\n", (long)nulls);
    return 0;
}
