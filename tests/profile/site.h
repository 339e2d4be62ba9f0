/* For programs that know what they allocate: each site is a function, or a few, that counts by hand
 * what it does, and says at the end where its code lies, so that the frames of a dump can be held
 * against the counts without any symbols. Apart from tests/preload/common.h: what is reported here
 * are figures, for a script to judge.
 *
 * The linker gives each site's code a section of its own and names its ends, because the section's
 * name is also one of C. Counting is atomic, so that any thread may do it; nothing here allocates.
 * C and C++. */
#ifndef MEMPROF_TESTS_PROFILE_SITE_H
#define MEMPROF_TESTS_PROFILE_SITE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <memprof/memprof.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define SITE_UNUSED __attribute__((unused))
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

/* Bytes as requested. A realloc is a free and an allocation. */
struct site {
    const char *name;
    const char *code, *code_end;
    uint64_t allocated_objects, allocated_bytes, freed_objects, freed_bytes;
};

struct block {
    struct site *site;
    void *at;
    size_t size;
};

/* A site; its functions are marked IN_SITE(name). */
#define SITE(id)                                                                                   \
    extern const char __start_site_##id[] __attribute__((visibility("hidden")));                   \
    extern const char __stop_site_##id[] __attribute__((visibility("hidden")));                    \
    static struct site id = {#id, __start_site_##id, __stop_site_##id, 0, 0, 0, 0}
#define IN_SITE(id) __attribute__((noinline, section("site_" #id)))

static void site_die(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static void site_add(uint64_t *count, uint64_t more) {
    __atomic_fetch_add(count, more, __ATOMIC_RELAXED);
}

SITE_UNUSED static void site_came(struct site *site, struct block *block, void *at, size_t size) {
    if (!at)
        site_die("no memory");
    block->site = site;
    block->at = at;
    block->size = size;
    site_add(&site->allocated_objects, 1);
    site_add(&site->allocated_bytes, size);
}

SITE_UNUSED static void site_went(const struct block *block) {
    site_add(&block->site->freed_objects, 1);
    site_add(&block->site->freed_bytes, block->size);
}

/* The block's counts are those of the site that it came from. */
SITE_UNUSED static void site_free(struct block *block) {
    site_went(block);
    free(block->at);
    block->at = NULL;
}

SITE_UNUSED static void site_resize(struct block *block, size_t size) {
    void *at = realloc(block->at, size);
    site_went(block);
    site_came(block->site, block, at, size);
}

SITE_UNUSED static void site_in_thread(void *(*work)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, argument) != 0)
        site_die("no thread");
    pthread_join(thread, NULL);
}

SITE_UNUSED static void site_dump(const char *path) {
    if (!memprof_dump || memprof_dump(path) != 0)
        site_die("no dump");
}

/* `site NAME CODE CODE_END ALLOCATED_OBJECTS ALLOCATED_BYTES FREED_OBJECTS FREED_BYTES` */
SITE_UNUSED static void site_print(FILE *to, const struct site *site) {
    fprintf(to, "site %s %llu %llu %llu %llu %llu %llu\n", site->name,
            (unsigned long long)(uintptr_t)site->code,
            (unsigned long long)(uintptr_t)site->code_end,
            (unsigned long long)site->allocated_objects, (unsigned long long)site->allocated_bytes,
            (unsigned long long)site->freed_objects, (unsigned long long)site->freed_bytes);
}

/* Numbers that are the same in every run, whatever the sampler's seed. */
static uint64_t site_random_state = 1;

SITE_UNUSED static size_t site_between(size_t low, size_t high) {
    site_random_state = site_random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (size_t)(site_random_state >> 33) % (high - low + 1);
}

/* As many between 1 and 2 as between 2 and 4, and so on, each step of 2 evenly filled. */
SITE_UNUSED static size_t site_scaled(size_t low, unsigned doublings) {
    size_t start = low << site_between(0, doublings - 1);
    return site_between(start, 2 * start);
}

#endif
