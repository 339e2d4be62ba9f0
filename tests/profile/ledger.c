/* Sees every call of malloc and its like in the process, from the loader's first on, and passes it
 * on: loaded before the library, for test-exact. What it has written down is a hand count of all
 * blocks there are, whoever allocated them, with those that came before the library could sample.
 * Any thread, a lock around everything. */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST   65536u /* slots; half of them may be in use */

static struct entry {
    uintptr_t at; /* 0: empty */
    size_t size;
    uint64_t number; /* of the call */
    const void *caller;
} entries[MOST];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t calls;
static uint32_t used;

static struct {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
} next;

static void find(const char *name, void *function) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        __builtin_trap();
    memcpy(function, &found, sizeof found);
}

/* The loader's first call comes when the process has one thread. */
static void find_all(void) {
    if (next.posix_memalign)
        return;
    find("malloc", &next.malloc);
    find("free", &next.free);
    find("calloc", &next.calloc);
    find("realloc", &next.realloc);
    find("memalign", &next.memalign);
    find("posix_memalign", &next.posix_memalign);
}

static uint32_t home_of(uintptr_t at) {
    return (uint32_t)((at >> 4) * 0x9e3779b97f4a7c15u >> 40) % MOST;
}

static uint32_t slot_of(uintptr_t at) {
    uint32_t i = home_of(at);
    while (entries[i].at && entries[i].at != at)
        i = (i + 1) % MOST;
    return i;
}

static void *came(void *block, size_t size, const void *caller) {
    if (!block)
        return NULL;
    pthread_mutex_lock(&lock);
    uint32_t i = slot_of((uintptr_t)block);
    if (entries[i].at || ++used > MOST / 2)
        __builtin_trap(); /* two owners */
    entries[i] = (struct entry){(uintptr_t)block, size, ++calls, caller};
    pthread_mutex_unlock(&lock);
    return block;
}

/* Before the block is free: after it, it may be somebody else's. */
static struct entry went(const void *block) {
    pthread_mutex_lock(&lock);
    uint32_t gap = slot_of((uintptr_t)block);
    struct entry entry = entries[gap];
    if (!entry.at)
        __builtin_trap(); /* nobody's */
    entries[gap].at = 0;
    used--;
    for (uint32_t i = (gap + 1) % MOST; entries[i].at; i = (i + 1) % MOST) {
        struct entry moved = entries[i];
        entries[i].at = 0;
        entries[slot_of(moved.at)] = moved;
    }
    pthread_mutex_unlock(&lock);
    return entry;
}

EXPORT void *malloc(size_t size);
EXPORT void free(void *block);
EXPORT void *calloc(size_t count, size_t size);
EXPORT void *realloc(void *block, size_t size);
EXPORT void *reallocarray(void *block, size_t count, size_t size);
EXPORT void *memalign(size_t align, size_t size);
EXPORT void *aligned_alloc(size_t align, size_t size);
EXPORT int posix_memalign(void **out, size_t align, size_t size);
EXPORT void *valloc(size_t size);
EXPORT void *pvalloc(size_t size);
EXPORT void ledger_write(const char *path);

#define CALLER __builtin_return_address(0)

void *malloc(size_t size) {
    find_all();
    return came(next.malloc(size), size, CALLER);
}

void free(void *block) {
    find_all();
    if (block)
        went(block);
    next.free(block);
}

void *calloc(size_t count, size_t size) {
    find_all();
    return came(next.calloc(count, size), count * size, CALLER);
}

static void *resize(void *block, size_t size, const void *caller) {
    find_all();
    if (!block)
        return came(next.realloc(NULL, size), size, caller);
    struct entry old = went(block);
    void *moved = next.realloc(block, size);
    if (moved)
        return came(moved, size, caller);
    if (size != 0)
        came(block, old.size, old.caller);
    return NULL;
}

void *realloc(void *block, size_t size) {
    return resize(block, size, CALLER);
}

void *reallocarray(void *block, size_t count, size_t size) {
    return resize(block, count * size, CALLER);
}

void *memalign(size_t align, size_t size) {
    find_all();
    return came(next.memalign(align, size), size, CALLER);
}

void *aligned_alloc(size_t align, size_t size) {
    find_all();
    return came(next.memalign(align, size), size, CALLER);
}

int posix_memalign(void **out, size_t align, size_t size) {
    find_all();
    int error = next.posix_memalign(out, align, size);
    if (!error)
        came(*out, size, CALLER);
    return error;
}

void *valloc(size_t size) {
    find_all();
    return came(next.memalign(4096, size), size, CALLER);
}

void *pvalloc(size_t size) {
    find_all();
    size = (size + 4095) & ~(size_t)4095;
    return came(next.memalign(4096, size), size, CALLER);
}

/* `ADDRESS SIZE NUMBER MODULE` of every block. Opened for writing without stdio's buffer, which
 * would be a block too. */
void ledger_write(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file)
        __builtin_trap();
    setvbuf(file, NULL, _IONBF, 0);
    for (uint32_t i = 0; i < MOST; i++) {
        Dl_info info;
        if (!entries[i].at || entries[i].at == (uintptr_t)file)
            continue;
        if (!dladdr(entries[i].caller, &info))
            info.dli_fname = "?";
        fprintf(file, "%llu %zu %llu %s\n", (unsigned long long)entries[i].at, entries[i].size,
                (unsigned long long)entries[i].number, info.dli_fname);
    }
    fclose(file);
}
