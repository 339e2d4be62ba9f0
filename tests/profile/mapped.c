/* Maps memory in every way, each in a function of its own, and says for each what of it is mapped
 * and resident in the end; then writes a dump. For test-mapped: mapped DUMP FILE
 *
 *     FUNCTION KIND MAPPED RESIDENT REGIONS */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memprof/memprof.h>

#define PAGE ((size_t)4096)
#define HERE static __attribute__((noinline))

static const char *file_path;

static char *check(void *got) {
    if (got == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return got;
}

static char *anonymous(void *at, size_t pages, int flags) {
    return check(
        mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0));
}

static void touch(char *at, size_t pages) {
    for (size_t i = 0; i < pages; i++)
        at[i * PAGE] = 1;
}

static void expect(const char *function, int kind, size_t mapped, size_t resident, size_t regions) {
    printf("%s %d %zu %zu %zu\n", function, kind, mapped * PAGE, resident * PAGE, regions);
}

HERE void map_plainly(void) {
    touch(anonymous(NULL, 100, 0), 40);
    expect(__func__, 0, 100, 40, 1);
}

HERE char *map_to_be_cut(size_t pages) {
    char *at = anonymous(NULL, pages, 0);
    touch(at, pages);
    return at;
}

HERE void cut_in_parts(void) {
    char *at = map_to_be_cut(30);
    munmap(at, 3 * PAGE);             /* the front */
    munmap(at + 27 * PAGE, 3 * PAGE); /* the end */
    munmap(at + 10 * PAGE, 5 * PAGE); /* a hole */
    munmap(at + 10 * PAGE, 5 * PAGE); /* where nothing is any more */
    munmap(at + 1, PAGE);             /* not a page: turned down */
    expect("map_to_be_cut", 0, 19, 19, 2);
}

HERE char *map_below(size_t pages) {
    return anonymous(NULL, pages, 0);
}

HERE void map_over(char *at, size_t pages) {
    touch(anonymous(at, pages, MAP_FIXED), pages);
}

HERE void overlap(void) {
    char *at = map_below(50);
    touch(at, 50);
    map_over(at + 10 * PAGE, 20);
    expect("map_below", 0, 30, 30, 2);
    expect("map_over", 0, 20, 20, 1);
}

HERE char *map_to_be_moved(size_t pages) {
    return anonymous(NULL, pages, 0);
}

HERE void move_it(void) {
    char *at = map_to_be_moved(10);
    touch(at, 10);
    at = check(mremap(at, 10 * PAGE, 1000 * PAGE, MREMAP_MAYMOVE));
    touch(at, 20);
    check(mremap(at, 1000 * PAGE, 500 * PAGE, 0));
    expect(__func__, 0, 500, 20, 1);
    expect("map_to_be_moved", 0, 0, 0, 0);
}

HERE void map_file(void) {
    int fd = open(file_path, O_RDWR);
    char *at = check(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    touch(at, 3);
    close(fd);
    expect(__func__, 1, 8, 3, 1);
}

HERE void map_shared(void) {
    touch(check(mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
          5);
    expect(__func__, 2, 16, 5, 1);
}

HERE void map_shared_file(void) {
    int fd = open(file_path, O_RDWR);
    char *at = check(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    touch(at, 8);
    close(fd);
    expect(__func__, 3, 8, 8, 1);
}

HERE void map_unseen(void) {
    char *at = anonymous(NULL, 64, 0);
    touch(at, 64);
    syscall(SYS_munmap, at, 32 * PAGE); /* behind our back */
    expect(__func__, 0, 32, 32, 1);
}

static pthread_barrier_t barrier;

static void *on_own_stack(void *unused) {
    (void)unused;
    free(malloc(100)); /* a thread that is known */
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
    return NULL;
}

HERE void map_stack(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    char *at = anonymous(NULL, 64, MAP_STACK);
    touch(at, 64);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, at, 64 * PAGE);
    if (pthread_create(&thread, &attributes, on_own_stack, NULL) != 0)
        exit(1);
    pthread_barrier_wait(&barrier);
    expect(__func__, 4, 64, 64, 1);
}

static char *volatile in_handler;

HERE void map_in_handler(int number) {
    (void)number;
    in_handler = anonymous(NULL, 7, 0);
    touch(in_handler, 7);
}

HERE void map_many(void) {
    enum { MANY = 3000 };
    static char *at[MANY];
    for (int i = 0; i < MANY; i++) {
        at[i] = anonymous(NULL, 2, 0);
        touch(at[i], 1);
    }
    for (int i = 0; i < MANY; i += 2)
        munmap(at[i], 2 * PAGE);
    expect(__func__, 0, MANY, MANY / 2, MANY / 2);
}

/* Where the heap is nobody maps. */
static void try_the_heap(void) {
    char *block = malloc(100);
    char *page = (char *)((uintptr_t)block & ~(PAGE - 1));
    errno = 0;
    void *got = mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    int over = got == MAP_FAILED ? errno : 0;
    int away = munmap(page, PAGE) == 0 ? 0 : errno;
    free(block);
    printf("refused %d %d\n", over == ENOMEM, away == EINVAL);
    /* But for what is a block of the program's own. */
    char *large = aligned_alloc(65536, 1 << 20);
    got = mmap(large, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
               -1, 0);
    printf("own %d\n", got == large);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    file_path = argv[2];
    map_plainly();
    cut_in_parts();
    overlap();
    move_it();
    map_file();
    map_shared();
    map_shared_file();
    map_unseen();
    map_stack();
    signal(SIGUSR1, map_in_handler);
    raise(SIGUSR1);
    expect("map_in_handler", 0, 7, 7, 1);
    map_many();
    try_the_heap();
    return memprof_dump && memprof_dump(argv[1]) != 0;
}
