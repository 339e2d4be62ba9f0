/* placed CASE LIBRARY: runs the case in a child that has LIBRARY preloaded, and asks the kernel
 * where the pages are that it tells of (move_pages, from outside). One line per answer: "ok CASE:
 * what", or "not ok". Without a library, with another's, or with SHARES in the environment, it says
 * what it found and does not judge: then lines begin with "share". Runs in the virtual machine of
 * tests/numa/machine. */
#include "question.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void put(const void *from, size_t size) {
    for (const char *at = from; size > 0;) {
        ssize_t done = write(ASK, at, size);
        if (done <= 0)
            _exit(3);
        at += done;
        size -= (size_t)done;
    }
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

/* In memory that is not the allocator's. */
static uintptr_t *page_list(void) {
    static uintptr_t *list;
    if (!list)
        list = mmap(NULL, 4 * PAGES_MAX * sizeof *list, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return list;
}

struct blocks {
    char **block;
    size_t *size;
    uint32_t count;
};

/* The pages of some blocks, each once, sorted. */
static uint32_t pages_of(const struct blocks *blocks, uintptr_t *list) {
    uint32_t count = 0, different = 0;
    for (uint32_t i = 0; i < blocks->count; i++) {
        uintptr_t at = (uintptr_t)blocks->block[i], end = at + blocks->size[i];
        if (!at)
            continue;
        for (at &= -OS_PAGE; at < end && count < 4 * PAGES_MAX; at += OS_PAGE)
            list[count++] = at;
    }
    qsort(list, count, sizeof *list, by_address);
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || list[i] != list[i - 1])
            list[different++] = list[i];
    }
    return different < PAGES_MAX ? different : PAGES_MAX;
}

/* Pages that expect leaves out: those that were in use before. */
static uintptr_t *known;
static uint32_t known_count;

static void note_known(const struct blocks *blocks) {
    uintptr_t *list = page_list();
    uint32_t count = pages_of(blocks, list);
    if (!known)
        known = mmap(NULL, PAGES_MAX * sizeof *known, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; i < count && known_count < PAGES_MAX; i++)
        known[known_count++] = list[i];
    qsort(known, known_count, sizeof *known, by_address);
}

static void expect(const char *what, int node, double least, const struct blocks *blocks) {
    struct question question = {.node = node, .least = least};
    uintptr_t *list = page_list();
    uint32_t count = node == COUNT_ALL ? 1 : pages_of(blocks, list); /* qsort has memory, too */
    char reply;
    list[0] = node == COUNT_ALL ? (uintptr_t)blocks->block[0] : list[0];
    for (uint32_t i = 0; i < count; i++) {
        if (!known || !bsearch(&list[i], known, known_count, sizeof *known, by_address))
            list[question.count++] = list[i];
    }
    snprintf(question.what, sizeof question.what, "%s", what);
    put(&question, sizeof question);
    put(list, question.count * sizeof *list);
    if (read(ASK, &reply, 1) != 1)
        _exit(3);
}

static uint32_t chance(uint32_t below) {
    static __thread uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static struct blocks room_for(uint32_t count) {
    struct blocks blocks = {.count = count};
    void *room =
        mmap(NULL, count * 16ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        die("mmap");
    blocks.block = room;
    blocks.size = (size_t *)room + count;
    return blocks;
}

static void fill_one(struct blocks *blocks, uint32_t i, size_t least, size_t most) {
    blocks->size[i] = least + chance((uint32_t)(most - least + 1));
    blocks->block[i] = malloc(blocks->size[i]);
    if (!blocks->block[i])
        die("malloc");
    memset(blocks->block[i], 1, blocks->size[i]);
}

static void fill(struct blocks *blocks, size_t least, size_t most) {
    for (uint32_t i = 0; i < blocks->count; i++)
        fill_one(blocks, i, least, most);
}

static void drop_one(struct blocks *blocks, uint32_t i) {
    for (size_t at = 0; blocks->block[i] && at < blocks->size[i]; at += OS_PAGE) {
        if (blocks->block[i][at] != 1)
            die("a block is not what it was");
    }
    free(blocks->block[i]);
    blocks->block[i] = NULL;
}

static void drop(struct blocks *blocks) {
    for (uint32_t i = 0; i < blocks->count; i++)
        drop_one(blocks, i);
}

static struct blocks filled(uint32_t count, size_t least, size_t most) {
    struct blocks blocks = room_for(count);
    fill(&blocks, least, most);
    return blocks;
}

/* The `which`th CPU of the node, or its last. */
static int cpu_of(int node, int which) {
    char path[96], line[256];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
    if (!read_line(path, line, sizeof line))
        die(path);
    int cpu = -1;
    for (char *at = line; *at >= '0' && *at <= '9';) {
        int first = (int)strtol(at, &at, 10), last = first;
        if (*at == '-')
            last = (int)strtol(at + 1, &at, 10);
        for (; first <= last && which >= 0; first++, which--)
            cpu = first;
        at += *at == ',';
    }
    return cpu;
}

static void go_to(int node, int which) {
    cpu_set_t set;
    unsigned cpu, now = 99;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu_of(node, which), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("sched_setaffinity");
    if (getcpu(&cpu, &now) != 0 || (int)now != node)
        die("not where it should be");
}

/* A thread on each node with CPUs, one after the other, allocates of all sizes. */
static void pinned_on(int node) {
    char what[80];
    go_to(node, 0);
    struct blocks small = filled(40000, 1, 1024), medium = filled(400, 8200, 60000);
    struct blocks large = filled(20, 70000, 2000000), huge = filled(1, 40u << 20, 41u << 20);
    snprintf(what, sizeof what, "small blocks of a thread on node %d", node);
    expect(what, node, 0.99, &small);
    snprintf(what, sizeof what, "medium blocks of a thread on node %d", node);
    expect(what, node, 0.99, &medium);
    snprintf(what, sizeof what, "large blocks of a thread on node %d", node);
    expect(what, node, 0.99, &large);
    snprintf(what, sizeof what, "a huge block of a thread on node %d", node);
    expect(what, node, 0.99, &huge);
    drop(&medium);
    drop(&large);
    drop(&huge);
    for (uint32_t i = 0; i < small.count; i++) {
        if (chance(4) > 0)
            drop_one(&small, i);
    }
    for (uint32_t i = 0; i < small.count; i++) {
        if (!small.block[i])
            fill_one(&small, i, 1, 1024);
    }
    snprintf(what, sizeof what, "small blocks on node %d, after a while", node);
    expect(what, node, 0.99, &small);
    drop(&small);
}

static void *in_thread(void *function) {
    ((void (*)(void))function)();
    return NULL;
}

static void run_thread(void (*function)(void)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, in_thread, (void *)function) != 0)
        die("pthread_create");
    pthread_join(thread, NULL);
}

static int pinned_node;

static void pinned_here(void) {
    pinned_on(pinned_node);
}

static void case_pinned(void) {
    for (int i = 0; i < nodes_with_count; i++) {
        pinned_node = nodes_with[i];
        run_thread(pinned_here);
    }
    pinned_on(nodes_with[0]);
    pinned_on(nodes_with[nodes_with_count - 1]); /* by the main thread, with a heap from before */
}

/* A thread that has half-empty pages on one node goes to the next. */
static void case_migrated(void) {
    struct blocks moved[8];
    char what[80];
    for (int turn = 0; turn < 4; turn++) {
        int node = nodes_with[turn % nodes_with_count];
        go_to(node, turn % 2);
        moved[2 * turn] = filled(30000, 1, 1024);
        moved[2 * turn + 1] = filled(200, 8200, 200000);
        snprintf(what, sizeof what, "new pages of small blocks after coming to node %d", node);
        expect(what, node, 0.95, &moved[2 * turn]);
        snprintf(what, sizeof what, "new pages of others after coming to node %d", node);
        expect(what, node, 0.95, &moved[2 * turn + 1]);
        note_known(&moved[2 * turn]);
        note_known(&moved[2 * turn + 1]);
        for (int before = 0; before <= 2 * turn + 1; before++) {
            for (uint32_t i = 0; i < moved[before].count; i++) {
                if (chance(2))
                    drop_one(&moved[before], i);
            }
        }
    }
    /* One that only ever has the same few blocks: its page is left, too. */
    known_count = 0;
    struct blocks few = filled(8, 64, 64);
    go_to(nodes_with[0], 0);
    for (time_t end = time(NULL) + 2; time(NULL) < end;) {
        for (uint32_t i = 0; i < 8; i++) {
            drop_one(&few, i);
            fill_one(&few, i, 64, 64);
        }
    }
    expect("the same few blocks, again and again", nodes_with[0], 0.95, &few);
}

/* ---- producers and consumers ---- */

#define QUEUE 512u
static char *queue[QUEUE];
static size_t queue_size[QUEUE];
static unsigned queue_head, queue_tail;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static bool producing = true;
static struct blocks produced, consumed;

static bool exchange(bool in, char **block, size_t *size) {
    bool done = false;
    pthread_mutex_lock(&queue_lock);
    if (in && queue_head - queue_tail < QUEUE) {
        queue[queue_head % QUEUE] = *block;
        queue_size[queue_head++ % QUEUE] = *size;
        done = true;
    } else if (!in && queue_head != queue_tail) {
        *block = queue[queue_tail % QUEUE];
        *size = queue_size[queue_tail++ % QUEUE];
        done = true;
    }
    pthread_mutex_unlock(&queue_lock);
    return done;
}

/* Keeps some of what it makes, and hands others on. */
static void produce(void) {
    go_to(nodes_with[0], 0);
    produced = room_for(20000);
    for (int i = 0; i < 400000; i++) {
        uint32_t slot = chance(produced.count);
        if (produced.block[slot]) {
            while (!exchange(true, &produced.block[slot], &produced.size[slot]))
                sched_yield();
        }
        fill_one(&produced, slot, 16, 700);
    }
    __atomic_store_n(&producing, false, __ATOMIC_RELEASE);
}

/* Frees what it gets, and has blocks of its own, with lifetimes of their own. */
static void consume(void) {
    char *block;
    size_t size;
    go_to(nodes_with[nodes_with_count - 1], 0);
    consumed = room_for(20000);
    for (;;) {
        if (exchange(false, &block, &size)) {
            free(block);
            uint32_t slot = chance(consumed.count);
            if (consumed.block[slot])
                drop_one(&consumed, slot);
            fill_one(&consumed, slot, 16, 700);
        } else if (!__atomic_load_n(&producing, __ATOMIC_ACQUIRE)) {
            return;
        } else {
            sched_yield();
        }
    }
}

static void case_exchange(void) {
    pthread_t producer, consumer;
    pthread_create(&consumer, NULL, in_thread, (void *)consume);
    pthread_create(&producer, NULL, in_thread, (void *)produce);
    pthread_join(producer, NULL);
    pthread_join(consumer, NULL);
    expect("a producer's blocks", nodes_with[0], 0.99, &produced);
    expect("its consumer's own", nodes_with[nodes_with_count - 1], 0.99, &consumed);
}

/* Threads that free each other's blocks at random, and move now and then. */
#define CROWD 8
static struct blocks crowd[CROWD];
static struct {
    pthread_mutex_t lock;
    char *block;
} swaps[1024];
static int crowd_node[CROWD];

static void *wander(void *argument) {
    int self = (int)(intptr_t)argument, at = self;
    crowd[self] = room_for(8000);
    for (int i = 0; i < 120000; i++) {
        if (i % 30000 == 0) {
            crowd_node[self] = nodes_with[at++ % nodes_with_count];
            go_to(crowd_node[self], self / nodes_with_count);
            /* What it has now is to be judged by where it was made: it starts anew. */
            drop(&crowd[self]);
        }
        uint32_t slot = chance(crowd[self].count), swap = chance(1024);
        if (crowd[self].block[slot]) { /* somebody frees it */
            pthread_mutex_lock(&swaps[swap].lock);
            char *other = swaps[swap].block;
            swaps[swap].block = crowd[self].block[slot];
            pthread_mutex_unlock(&swaps[swap].lock);
            free(other);
        }
        fill_one(&crowd[self], slot, 16, 500);
    }
    return NULL;
}

static void case_crowd(void) {
    pthread_t threads[CROWD];
    char what[80];
    for (int i = 0; i < 1024; i++)
        pthread_mutex_init(&swaps[i].lock, NULL);
    for (int i = 0; i < CROWD; i++)
        pthread_create(&threads[i], NULL, wander, (void *)(intptr_t)i);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < CROWD; i++) {
        snprintf(what, sizeof what, "of threads that move, %d's", i);
        expect(what, crowd_node[i], 0.9,
               &crowd[i]); /* pages in use when it came are left as they come */
    }
}

/* ---- memory that is short, or had by order ---- */

/* What was freed is where it was, and is had again there. */
static void case_home(void) {
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < nodes_with_count; i++) {
            char what[80];
            go_to(nodes_with[i], 0);
            struct blocks blocks = filled(60000, 1, 900);
            snprintf(what, sizeof what, "turn %d on node %d", turn, nodes_with[i]);
            expect(what, nodes_with[i], 0.99, &blocks);
            go_to(nodes_with[(i + 1) % nodes_with_count], 0);
            drop(&blocks); /* from elsewhere */
        }
    }
}

/* More than the last node has. */
static void case_full(void) {
    int last = nodes_with[nodes_with_count - 1];
    char path[96], line[256];
    long total = 0;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", last);
    if (read_line(path, line, sizeof line) && strchr(line, ':'))
        total = strtol(strchr(line, ':') + 1, NULL, 10);
    if (total <= 0)
        die("meminfo");
    go_to(last, 0);
    struct blocks blocks = filled((uint32_t)(total / 64 * 5 / 4), 60000, 65000);
    expect("a node's memory and a quarter more", ANYWHERE, 0, &blocks);
    drop(&blocks);
    malloc_trim(0);
    struct blocks after = filled(10000, 1, 1024);
    expect("after that was freed", last, 0.95, &after);
}

/* By order: whatever the thread's node is, memory is from elsewhere. ORDER: a node, or EVENLY. */
static void case_ordered(void) {
    int order = atoi(getenv("ORDER"));
    go_to(nodes_with[0], 0);
    struct blocks here = filled(40000, 1, 1024), large = filled(60, 70000, 2000000);
    go_to(nodes_with[nodes_with_count - 1], 0);
    struct blocks there = filled(40000, 1, 1024), huge = filled(1, 40u << 20, 41u << 20);
    expect("small blocks", order, 0.99, &here);
    expect("small blocks of a thread elsewhere", order, 0.99, &there);
    expect("large blocks", order, 0.99, &large);
    expect("a huge block", order, 0.99, &huge);
}

/* The program sets a policy itself, as libnuma would; and takes it back. */
long set_mempolicy(int mode, const unsigned long *nodes, unsigned long bits) __attribute__((weak));
enum { POLICY_DEFAULT = 0, POLICY_BIND = 2 };
static int ordered_to;

static void allocate_as_ordered(void) {
    go_to(nodes_with[0], 1);
    struct blocks blocks = filled(20000, 1, 1024);
    expect("small blocks of a thread that inherits it", ordered_to, 0.99, &blocks);
    drop(&blocks);
}

static void case_policy(void) {
    ordered_to = nodes_with[nodes_with_count - 1];
    unsigned long nodes = 1ul << ordered_to;
    go_to(nodes_with[0], 0);
    struct blocks before = filled(20000, 1, 1024);
    expect("before a policy is set", nodes_with[0], 0.99, &before);
    note_known(&before);
    if (!set_mempolicy || set_mempolicy(POLICY_BIND, &nodes, 64) != 0)
        die("set_mempolicy");
    struct blocks small = filled(40000, 1, 1024), large = filled(60, 70000, 2000000);
    expect("new pages of small blocks", ordered_to, 0.99, &small);
    expect("large blocks", ordered_to, 0.99, &large);
    run_thread(allocate_as_ordered);
    note_known(&small);
    if (set_mempolicy(POLICY_DEFAULT, NULL, 0) != 0)
        die("set_mempolicy");
    struct blocks after = filled(40000, 1, 1024);
    expect("new pages after it has been taken back", nodes_with[0], 0.99, &after);
    drop(&before);
    drop(&small);
    drop(&large);
}

static long locked_kib(void) {
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "VmLck: %ld", &kib);
    if (file)
        fclose(file);
    return kib;
}

/* What is mapped for the heap after that is locked, too. Of each turn the kernel knows how much. */
static void case_locked(void) {
    for (int turn = 0; turn < 3; turn++) {
        go_to(nodes_with[turn % nodes_with_count], 0);
        if (turn == 1 && mlockall(MCL_FUTURE) != 0)
            die("mlockall");
        if (turn == 2 && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
            die("mlockall");
        long before = locked_kib();
        struct blocks blocks = filled(60000, 1, 1024);
        long grown = locked_kib() - before;
        expect("a thread's blocks, locked or not", nodes_with[turn % nodes_with_count], 0.9,
               &blocks);
        if (turn > 0 && grown < 25000)
            die("new memory of the heap is not locked");
    }
}

/* On a node without memory: the nearest, by the distances. NEAREST. */
static void case_memoryless(void) {
    int nearest = atoi(getenv("NEAREST"));
    go_to(atoi(getenv("WITHOUT")), 0);
    struct blocks small = filled(40000, 1, 1024), large = filled(60, 70000, 2000000);
    expect("small blocks of a thread on a node without memory", nearest, 0.99, &small);
    expect("large blocks", nearest, 0.99, &large);
}

/* A CPU goes offline under the thread. */
static void case_offline(void) {
    int node = nodes_with[nodes_with_count - 1];
    char path[96];
    unsigned cpu, now;
    go_to(node, 1);
    struct blocks before = filled(20000, 1, 1024);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/online", cpu_of(node, 1));
    FILE *file = fopen(path, "we");
    if (!file || fputs("0", file) < 0 || fclose(file) != 0)
        die(path);
    getcpu(&cpu, &now);
    struct blocks after = filled(20000, 1, 1024);
    expect("before its CPU went", node, 0.99, &before);
    expect("where the thread is now", (int)now, 0.95, &after);
    file = fopen(path, "we");
    if (!file || fputs("1", file) < 0 || fclose(file) != 0)
        die(path);
    go_to(node, 1);
    struct blocks again = filled(20000, 1, 1024);
    expect("when the CPU is back", node, 0.95, &again);
}

/* A dump must say of each node what the kernel says of it. One node's thread frees what the other's
 * has allocated. */
int memprof_dump(const char *path) __attribute__((weak));
static struct blocks handed_over;

__attribute__((noinline)) static void *make_for_others(size_t size) {
    char *volatile block = malloc(size); /* no tail call: this function is to be on the stack */
    return block;
}

static void free_handed_over(void) {
    go_to(nodes_with[nodes_with_count - 1], 0);
    for (uint32_t i = 0; i < handed_over.count / 4 * 3; i++) {
        free(handed_over.block[i]);
        handed_over.block[i] = NULL;
    }
}

static void case_dumped(void) {
    go_to(nodes_with[0], 0);
    struct blocks here = filled(30000, 1, 1024), huge = filled(1, 40u << 20, 41u << 20);
    handed_over = room_for(20000);
    for (uint32_t i = 0; i < handed_over.count; i++) {
        handed_over.size[i] = 1000;
        handed_over.block[i] = make_for_others(1000);
        memset(handed_over.block[i], 1, 1000);
    }
    run_thread(free_handed_over);
    go_to(nodes_with[nodes_with_count - 1], 0);
    struct blocks there = filled(20000, 1, 1024);
    if (!memprof_dump || memprof_dump("/tmp/dumped.heap") != 0)
        die("memprof_dump");
    expect("heap", COUNT_ALL, 0, &here);
    expect("mapped", COUNT, 0, &huge);
    drop(&there);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"pinned", case_pinned},   {"migrated", case_migrated}, {"exchange", case_exchange},
    {"crowd", case_crowd},     {"home", case_home},         {"full", case_full},
    {"ordered", case_ordered}, {"offline", case_offline},   {"memoryless", case_memoryless},
    {"dumped", case_dumped},   {"policy", case_policy},     {"locked", case_locked},
};

int main(int argc, char **argv) {
    bool is_child = argc == 3 && strcmp(argv[1], "--child") == 0;
    find_nodes();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3) {
        fprintf(stderr, "usage: %s CASE LIBRARY\n", argv[0]);
        return 2;
    }
    const char *the_case = is_child ? argv[2] : argv[1];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(cases[i].name, the_case) != 0)
            continue;
        if (!is_child) {
            bool judge = strstr(argv[2], "memprof") != NULL && !getenv("SHARES");
            return ask_about("/proc/self/exe", argv[1], argv[2], judge);
        }
        cases[i].run();
        return 0;
    }
    fprintf(stderr, "no such case: %s\n", the_case);
    return 2;
}
