/*
 * Eight threads allocate, hand blocks to each other, free, fork, vfork and exec, while dumps are
 * written: DUMPS of them by memprof_dump(), to dump-N.heap, and others by whoever asks until the
 * input ends. Every block holds what its owner wrote; every child ends as it should.
 *
 *     load DUMPS
 */
#include "record.h"

#include <stdatomic.h>

#define THREADS 8
#define SHARED  256
#define OWN     512

struct block {
    uint64_t tag;
    size_t size; /* of bytes */
    unsigned char bytes[];
};

static _Atomic(struct block *) shared[SHARED];
static _Atomic bool stop;
static _Atomic unsigned long long blocks_made, blocks_checked, children[3];

static struct block *make(uint64_t *random) {
    uint64_t draw = t_random(random);
    size_t size = draw % 100 == 0 ? 1 + (draw >> 16) % (200 * KIB) : 1 + (draw >> 16) % 2000;
    struct block *block = malloc(sizeof(*block) + size);
    if (block) {
        block->tag = draw;
        block->size = size;
        t_stamp(block->bytes, size, draw);
        blocks_made++;
    }
    return block;
}

static void drop(struct block *block) {
    if (!block)
        return;
    size_t size = block->size;
    size_t good = t_stamp_check(block->bytes, size, block->tag);
    CHECK(good == size, "a block of %zu bytes changed at %zu", size, good);
    free(block);
    blocks_checked++;
}

static struct block *grow(struct block *block, uint64_t *random) {
    if (!block)
        return NULL;
    size_t size = 1 + t_random(random) % 4000, old = block->size;
    struct block *moved = realloc(block, sizeof(*block) + size);
    if (!moved)
        return block;
    if (size > old)
        t_stamp(moved->bytes, size, moved->tag);
    moved->size = size;
    return moved;
}

static void wait_well(pid_t child, int kind, int wanted) {
    int status = 0;
    if (child < 0) {
        CHECK(errno == EAGAIN || errno == ENOMEM, "no child of kind %d: %s", kind, strerror(errno));
        return;
    }
    pid_t got;
    while ((got = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        ;
    CHECK(got == child && WIFEXITED(status) && WEXITSTATUS(status) == wanted,
          "a child of kind %d: waitpid gives %d with %#x", kind, (int)got, (unsigned)status);
    children[kind]++;
}

static void start_child(int kind, uint64_t *random) {
    pid_t child;
    if (kind == 2) {
        char *const arguments[] = {(char *)"false", NULL};
        child = vfork();
        if (child == 0) {
            execv("/bin/false", arguments);
            _exit(9);
        }
        wait_well(child, kind, 1);
        return;
    }
    child = fork();
    if (child == 0) {
        alarm(60);
        for (int i = 0; i < 50; i++)
            drop(make(random));
        if (kind == 1) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(9);
        }
        for (unsigned i = 0; i < SHARED; i++)
            drop(atomic_exchange(&shared[i], NULL));
        _exit(t_case_failed ? 8 : 0);
    }
    wait_well(child, kind, 0);
}

static void *work(void *number) {
    struct block *own[OWN] = {0};
    uint64_t random = (uintptr_t)number;
    for (unsigned long n = 1; !stop; n++) {
        uint64_t draw = t_random(&random);
        unsigned slot = (unsigned)(draw % OWN);
        if (draw >> 63) {
            struct block *block = own[slot];
            own[slot] = NULL;
            drop(atomic_exchange(&shared[(draw >> 32) % SHARED], block));
        } else if ((draw >> 58) % 8 == 0) {
            own[slot] = grow(own[slot], &random);
        } else {
            drop(own[slot]);
            own[slot] = make(&random);
        }
        if (n % 150 == 0) /* a copy takes the time that nobody else wants: leave it some */
            r_sleep_ms(2);
        if (n % 2000 == 0)
            start_child((int)(draw >> 40) % 3, &random);
    }
    for (unsigned i = 0; i < OWN; i++)
        drop(own[i]);
    return NULL;
}

static pthread_t threads[THREADS];
static size_t started;
static int dumps;

static void write_dumps(void) {
    for (int i = 1; i <= dumps; i++) {
        char path[64];
        snprintf(path, sizeof(path), "dump-%d.heap", i);
        errno = 4711;
        CHECK(memprof_dump && memprof_dump(path) == 0, "dump %d: %s", i, strerror(errno));
        CHECK(errno == 4711, "errno is %d after a dump", errno);
        r_sleep_ms(2);
    }
}

static void blocks_and_children_are_well(void) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    stop = true;
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SHARED; i++)
        drop(shared[i]);
    CHECK(blocks_made == blocks_checked, "%llu blocks made, %llu seen again", blocks_made,
          blocks_checked);
    for (size_t i = 0; i < COUNT(children); i++)
        CHECK(children[i] > 0, "no child of kind %zu", i);
    printf("# %llu blocks, %llu forks, %llu forks and execs, %llu vforks and execs\n", blocks_made,
           children[0], children[1], children[2]);
}

static void no_child_left(void) {
    char state = ' ';
    pid_t child = 0;
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "waitpid knows of a child");
    for (int i = 0; i < 100 && (child = r_child_of(getpid(), &state)) != 0; i++) {
        free(malloc(300 * KIB)); /* slow paths take note of copies that have ended */
        r_sleep_ms(10);
    }
    CHECK(child == 0, "process %d is left in state %c", (int)child, state);
}

int main(int argc, char **argv) {
    t_init();
    r_watchdog(t_full ? 500 : 100);
    dumps = argc > 1 ? atoi(argv[1]) : 10;
    while (started < THREADS &&
           pthread_create(&threads[started], NULL, work, (void *)(started + 1)) == 0)
        started++;
    printf("ready %d\n", (int)getpid());
    RUN("dumps under load are written one after the other", write_dumps);
    printf("written\n");
    RUN("blocks hold what was written, children end well", blocks_and_children_are_well);
    RUN("no child is left", no_child_left);
    return t_done();
}
