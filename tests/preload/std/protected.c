/*
 * mprotect(2) on blocks that begin with a page of the system's, as its manual page has in its
 * example: memory that the program holds is its own, and the heap neither reads nor writes there
 * while it allocates and frees other blocks.
 */
#include "common.h"

extern int memprof_dump(const char *path) __attribute__((weak));

enum { BLOCKS = 200, PAGE = 4096 };

static const size_t sizes[] = {PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE, 16 * PAGE};
static char *blocks[COUNT(sizes)][BLOCKS];

/* Two blocks of three, so that all kinds of neighbours are among them. */
static bool is_protected(int i) {
    return i % 3 != 2;
}

static void protect(int access) {
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int i = 0; i < BLOCKS; i++)
            if (is_protected(i))
                NEED(mprotect(blocks[s][i], sizes[s], access) == 0, "mprotect: %s",
                     strerror(errno));
}

static void *allocate(void *unused) {
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int i = 0; i < BLOCKS; i++) {
            blocks[s][i] = memalign(PAGE, sizes[s]);
            memset(blocks[s][i], (int)s + i, sizes[s]);
        }
    return unused;
}

static void free_those(bool of_protected) {
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int i = 0; i < BLOCKS; i++)
            if (blocks[s][i] && is_protected(i) == of_protected) {
                CHECK(blocks[s][i][0] == (char)((int)s + i) &&
                          blocks[s][i][sizes[s] - 1] == (char)((int)s + i),
                      "block %d of %zu bytes has changed", i, sizes[s]);
                free(blocks[s][i]);
                blocks[s][i] = NULL;
            }
}

/* Lists of each class run out, and fill again. */
static void use_others(void) {
    static char *others[BLOCKS];
    for (int round = 0; round < 3; round++)
        for (size_t s = 0; s < COUNT(sizes); s++) {
            for (int i = 0; i < BLOCKS; i++) {
                others[i] = malloc(sizes[s]);
                others[i][0] = 1;
            }
            for (int i = 0; i < BLOCKS; i++)
                free(others[i]);
        }
}

static void protected_blocks_are_left_alone(void) {
    allocate(NULL);
    protect(PROT_NONE);
    use_others();
    free_those(false);
    use_others();
    malloc_trim(0);
    use_others();
    protect(PROT_READ | PROT_WRITE);
    free_those(true);
}

static pthread_barrier_t barrier;

static void *allocate_and_stay(void *unused) {
    allocate(unused);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return unused;
}

/* In the child nobody knows what the lists of the other thread were at. */
static void protected_blocks_are_left_alone_after_a_fork(void) {
    pthread_t thread;
    int status;
    pthread_barrier_init(&barrier, NULL, 2);
    NEED(pthread_create(&thread, NULL, allocate_and_stay, NULL) == 0, "pthread_create");
    pthread_barrier_wait(&barrier);
    protect(PROT_NONE);
    pid_t child = fork();
    if (child == 0) {
        free_those(false);
        use_others();
        protect(PROT_READ | PROT_WRITE);
        free_those(true);
        _exit(t_case_failed);
    }
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    NEED(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x",
         (unsigned)status);
    protect(PROT_READ | PROT_WRITE);
    free_those(false);
    free_those(true);
}

static void protected_blocks_are_dumped(void) {
    char path[] = "/tmp/memprof-protected.XXXXXX";
    int fd = mkstemp(path);
    if (!memprof_dump) {
        t_skip("no memprof_dump");
        return;
    }
    NEED(fd >= 0, "mkstemp");
    close(fd);
    allocate(NULL);
    protect(PROT_NONE);
    int result = memprof_dump(path), error = errno;
    protect(PROT_READ | PROT_WRITE);
    unlink(path);
    free_those(false);
    free_those(true);
    CHECK(result == 0, "memprof_dump: %s", strerror(error));
}

static void *trim_elsewhere(void *unused) {
    malloc_trim(0);
    return unused;
}

/* In the classes between, some blocks begin with a page, too, and have room for it. A thread has
 * one such block of a page of the heap's whose others are all free, and another looks at that page.
 */
static void protected_blocks_of_odd_sizes_are_left_alone(void) {
    for (size_t size = PAGE + 512; size < 2 * PAGE; size += 512) {
        char *others[16];
        pthread_t thread;
        size_t count = (64 * KIB - 32) / size;
        for (int round = 0; round < 4; round++) {
            for (size_t i = 0; i < count; i++) {
                others[i] = malloc(size);
                others[i][0] = 1;
            }
            /* What is freed last is the first to be had again. */
            for (int last = 0; last < 2; last++)
                for (size_t i = 0; i < count; i++)
                    if (((uintptr_t)others[i] % PAGE == 0) == last)
                        free(others[i]);
        }
        char *block = malloc(size);
        if ((uintptr_t)block % PAGE == 0) {
            NEED(mprotect(block, PAGE, PROT_NONE) == 0, "mprotect: %s", strerror(errno));
            NEED(pthread_create(&thread, NULL, trim_elsewhere, NULL) == 0, "pthread_create");
            pthread_join(thread, NULL);
            NEED(mprotect(block, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
        }
        free(block);
    }
}

int main(void) {
    t_init();
    RUN("blocks that are protected are left alone", protected_blocks_are_left_alone);
    RUN("blocks that are protected are left alone after a fork",
        protected_blocks_are_left_alone_after_a_fork);
    RUN("blocks of odd sizes that are protected are left alone",
        protected_blocks_of_odd_sizes_are_left_alone);
    RUN("blocks that are protected are in a dump", protected_blocks_are_dumped);
    return t_done();
}
