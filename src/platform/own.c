#include "platform/own.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "platform/sys.h"

/* A slot is taken by its start, and counts when its size is there. */
struct slot {
    _Atomic(uintptr_t) start; /* 0: free */
    _Atomic(size_t) size;
};

#define FIRST_SLOTS 254u
#define CHUNK_SIZE  ((size_t)16384)

struct chunk {
    _Atomic(struct chunk *) next;
    uint32_t count;
    struct slot slots[FIRST_SLOTS];
};

static struct chunk first = {.count = FIRST_SLOTS};

/* One more, when all are full; of two threads that come at once, one's is given back. */
static struct chunk *add_chunk(struct chunk *last) {
    uintptr_t got =
        mp_sys_mmap(0, CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mp_sys_failed(got))
        return NULL;
    struct chunk *chunk = (struct chunk *)got, *none = NULL;
    chunk->count =
        (uint32_t)((CHUNK_SIZE - offsetof(struct chunk, slots)) / sizeof chunk->slots[0]);
    chunk->slots[0].start = got;
    chunk->slots[0].size = CHUNK_SIZE;
    if (atomic_compare_exchange_strong(&last->next, &none, chunk))
        return chunk;
    mp_sys_munmap(got, CHUNK_SIZE);
    return none;
}

static bool add_to(struct chunk *chunk, uintptr_t start, size_t size) {
    for (uint32_t i = 0; i < chunk->count; i++) {
        uintptr_t none = 0;
        if (!atomic_load_explicit(&chunk->slots[i].start, memory_order_relaxed) &&
            atomic_compare_exchange_strong(&chunk->slots[i].start, &none, start)) {
            atomic_store(&chunk->slots[i].size, size);
            return true;
        }
    }
    return false;
}

void mp_own_add(uintptr_t start, size_t size) {
    for (struct chunk *chunk = &first, *next; chunk && !add_to(chunk, start, size); chunk = next) {
        next = atomic_load(&chunk->next);
        if (!next)
            next = add_chunk(chunk);
    }
}

void mp_own_remove(uintptr_t start) {
    for (struct chunk *chunk = &first; chunk; chunk = atomic_load(&chunk->next)) {
        for (uint32_t i = 0; i < chunk->count; i++) {
            if (atomic_load_explicit(&chunk->slots[i].start, memory_order_relaxed) == start) {
                atomic_store(&chunk->slots[i].size, 0);
                atomic_store(&chunk->slots[i].start, 0);
                return;
            }
        }
    }
}

void mp_own_each(void (*visit)(uintptr_t start, uintptr_t end, void *context), void *context) {
    for (struct chunk *chunk = &first; chunk; chunk = atomic_load(&chunk->next)) {
        for (uint32_t i = 0; i < chunk->count; i++) {
            uintptr_t start = atomic_load(&chunk->slots[i].start);
            size_t size = atomic_load(&chunk->slots[i].size);
            if (start && size)
                visit(start, start + size, context);
        }
    }
}
