/*
 * Fills a limited address space or data segment to the end, and checks what malloc(3) owes there:
 * NULL with ENOMEM, blocks that keep their contents, recovery as soon as memory is freed, and the
 * same amount to be had again after everything is freed.
 *
 *     fill LIMIT KIND [THREADS]
 *
 * LIMIT says which limit, and who sets it when:
 *     as, data            RLIMIT_AS or RLIMIT_DATA was set before the start
 *     as=N, data=N        setrlimit() from inside, after the start
 *     prlimit=N           prlimit(0, RLIMIT_AS), after the start
 *     outside=N           RLIMIT_AS by prlimit() of another process, which the library cannot
 * notice N is in MiB. KIND is small, medium, large, huge or mixed. With THREADS each of them fills
 * at once.
 */
#include "../threads/probe.h"

#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { MAX_THREADS = 16 };

static const char *const kind_names[] = {"small", "medium", "large", "huge", "mixed"};
enum { MIXED = PROBE_KINDS, KINDS };

static size_t limit_bytes;
static size_t stop_at; /* bytes after which filling ends in any case */

struct pile {
    struct probe_block *list;
    size_t bytes, blocks;
    bool full; /* malloc said NULL */
};

/* Huge blocks follow the limit, so that several fit into every one. */
static size_t next_size(int kind, uint64_t *state) {
    if (kind == MIXED)
        kind = (int)(probe_random(state) % 8);
    if (kind >= PROBE_HUGE && kind != MIXED)
        kind = kind == PROBE_HUGE ? PROBE_HUGE : PROBE_SMALL;
    if (kind == PROBE_HUGE)
        return probe_between(state, limit_bytes / 20, limit_bytes / 12);
    if (kind == PROBE_LARGE)
        return probe_between(state, 100 * PROBE_KIB, limit_bytes / 64);
    return probe_kind_size((enum probe_kind)kind, state);
}

static void pile_add(struct pile *pile, struct probe_block *block) {
    block->next = pile->list;
    pile->list = block;
    pile->bytes += block->size;
    pile->blocks++;
}

/* Adds blocks until malloc says NULL, or `most` bytes. */
static void pile_fill(struct pile *pile, int kind, uint64_t seed, size_t most) {
    pile->full = false;
    while (pile->bytes < most) {
        errno = 0;
        struct probe_block *block = probe_block_new(next_size(kind, &seed));
        if (block == NULL) {
            probe_check(errno == ENOMEM, "malloc gave NULL with errno %d, not ENOMEM", errno);
            pile->full = true;
            return;
        }
        pile_add(pile, block);
    }
}

static void pile_verify(const struct pile *pile) {
    for (const struct probe_block *b = pile->list; b != NULL; b = b->next)
        probe_block_verify(b);
}

static void pile_empty(struct pile *pile) {
    for (struct probe_block *b = pile->list, *next; b != NULL; b = next) {
        next = b->next;
        probe_block_free(b);
    }
    *pile = (struct pile){0};
}

/* Frees the blocks whose age, counted from the oldest as 0, is odd. */
static void pile_free_odd(struct pile *pile) {
    size_t age = pile->blocks;
    for (struct probe_block **at = &pile->list; *at != NULL;) {
        struct probe_block *b = *at;
        if (--age % 2 == 1) {
            *at = b->next;
            pile->bytes -= b->size;
            pile->blocks--;
            probe_block_free(b);
        } else {
            at = &b->next;
        }
    }
}

/* Asks again for just the sizes that pile_free_odd() freed; the bytes it got. */
static size_t pile_refill_odd(struct pile *pile, int kind, uint64_t seed, size_t blocks) {
    struct pile again = {0};
    for (size_t age = 0; age < blocks; age++) {
        size_t size = next_size(kind, &seed);
        struct probe_block *block = age % 2 == 1 ? probe_block_new(size) : NULL;
        if (block != NULL)
            pile_add(&again, block);
    }
    size_t bytes = again.bytes;
    pile_verify(pile);
    pile_empty(&again);
    return bytes;
}

/* Frees the younger half, which lies together as far as the allocator keeps an order. */
static void pile_free_younger(struct pile *pile) {
    for (size_t half = pile->blocks / 2; pile->blocks > half;) {
        struct probe_block *b = pile->list;
        pile->list = b->next;
        pile->bytes -= b->size;
        pile->blocks--;
        probe_block_free(b);
    }
}

/* Every other entry point refuses just as malloc does, and leaves what it was given alone. */
static void refuse_all(struct probe_block *block) {
    size_t impossible = limit_bytes;
    errno = 0;
    probe_check(malloc(impossible) == NULL && errno == ENOMEM, "malloc past the limit");
    errno = 0;
    probe_check(calloc(impossible / 16, 16) == NULL && errno == ENOMEM, "calloc past the limit");
    errno = 0;
    probe_check(aligned_alloc(4096, impossible) == NULL && errno == ENOMEM,
                "aligned_alloc past the limit");
    int marker;
    void *untouched = &marker;
    errno = 0;
    probe_check(posix_memalign(&untouched, 4096, impossible) == ENOMEM && untouched == &marker,
                "posix_memalign past the limit");
    errno = 0;
    probe_check(realloc(block, impossible) == NULL && errno == ENOMEM, "realloc past the limit");
    probe_block_verify(block);
}

/*
 * `large` false leaves out what the C library cannot promise: the small blocks that it keeps aside
 * for the next request pin the memory around them.
 */
static void one_of_each(const char *when, bool large) {
    const size_t sizes[] = {24,
                            700,
                            20 * PROBE_KIB,
                            60 * PROBE_KIB,
                            limit_bytes / 128,
                            limit_bytes / 32,
                            limit_bytes / 8};
    size_t count = large ? sizeof(sizes) / sizeof(*sizes) : 4;
    for (size_t i = 0; i < count; i++) {
        errno = 0;
        struct probe_block *block = probe_block_new(sizes[i]);
        probe_check(block != NULL, "%s: malloc(%zu) gave NULL (errno %d)", when, sizes[i], errno);
        probe_block_free(block);
    }
}

static void expect_part(size_t have, size_t of, unsigned percent, const char *what) {
    probe_check(have >= of / 100 * percent, "%s: %zu KiB of %zu KiB, less than %u %%", what,
                have / PROBE_KIB, of / PROBE_KIB, percent);
}

/* Where the filling ends depends on the last block: one that is huge and misses is a tenth of all.
 */
static unsigned same_percent(int kind) {
    return kind >= PROBE_HUGE ? 80 : 90;
}

static size_t fill_alone(int kind) {
    struct pile pile = {0};
    pile_fill(&pile, kind, 1, stop_at);
    size_t first = pile.bytes;
    probe_check(pile.list != NULL, "not one block fits into the limit");
    probe_check(pile.full, "twice the limit was allocated");
    refuse_all(pile.list);
    pile_verify(&pile);

    /* Every other block goes: what was freed can be had again in the same sizes. */
    size_t blocks = pile.blocks;
    pile_free_odd(&pile);
    size_t freed = first - pile.bytes;
    size_t back = pile_refill_odd(&pile, kind, 1, blocks);
    expect_part(back, freed, 90, "after freeing every other block");

    /* A half that lies together goes: every kind can be had, not only the one that was freed. */
    pile_empty(&pile);
    pile_fill(&pile, kind, 2, stop_at);
    expect_part(pile.bytes, first, same_percent(kind), "after freeing everything once");
    pile_free_younger(&pile);
    one_of_each("after freeing half", probe_preloaded() || kind > PROBE_MEDIUM);
    pile_verify(&pile);
    pile_empty(&pile);

    /* Everything goes, several times, and between kinds: nothing is lost on the way. */
    static const int others[] = {PROBE_HUGE, PROBE_SMALL, PROBE_LARGE, PROBE_MEDIUM};
    int rounds = probe_full() ? 8 : 3;
    for (int round = 0; round < rounds; round++) {
        bool same = round % 2 == 1;
        int now = same ? kind : others[round / 2 % 4];
        pile_fill(&pile, now, 3 + (uint64_t)round, stop_at);
        expect_part(pile.bytes, first, same ? same_percent(kind) : 80,
                    same ? "the same kind again" : kind_names[now]);
        pile_empty(&pile);
    }
    one_of_each("after freeing everything", true);
    return first;
}

struct team {
    pthread_barrier_t barrier;
    struct pile piles[MAX_THREADS];
    int threads, kind;
};

struct member {
    struct team *team;
    int index;
};

static void *fill_member(void *argument) {
    struct member *member = argument;
    struct team *team = member->team;
    struct pile *mine = &team->piles[member->index];
    size_t most = stop_at / (size_t)team->threads;
    for (uint64_t round = 0; round < 3; round++) {
        pile_fill(mine, team->kind, 100 * round + (uint64_t)member->index, most);
        pthread_barrier_wait(&team->barrier);
        /* The neighbour's blocks are freed here: memory must come back across threads too. */
        struct pile *other = &team->piles[(member->index + (int)round) % team->threads];
        pile_verify(other);
        pthread_barrier_wait(&team->barrier);
        if (round < 2)
            pile_empty(other);
        pthread_barrier_wait(&team->barrier);
    }
    return NULL;
}

static size_t team_fill(struct team *team, size_t stack) {
    pthread_t ids[MAX_THREADS];
    struct member members[MAX_THREADS];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, stack);
    pthread_barrier_init(&team->barrier, NULL, (unsigned)team->threads);
    for (int i = 0; i < team->threads; i++) {
        members[i] = (struct member){team, i};
        int error = pthread_create(&ids[i], &attr, fill_member, &members[i]);
        probe_check(error == 0, "pthread_create under the limit: %s", strerror(error));
    }
    size_t bytes = 0;
    for (int i = 0; i < team->threads; i++)
        pthread_join(ids[i], NULL);
    for (int i = 0; i < team->threads; i++)
        bytes += team->piles[i].bytes;
    pthread_attr_destroy(&attr);
    pthread_barrier_destroy(&team->barrier);
    return bytes;
}

static size_t fill_together(int kind, int threads) {
    static struct team team;
    team.threads = threads;
    team.kind = kind;
    size_t first = team_fill(&team, 128 * PROBE_KIB);
    for (int i = 0; i < threads; i++)
        pile_empty(&team.piles[i]);
    one_of_each("after the threads", true);
    size_t second = team_fill(&team, 128 * PROBE_KIB);
    expect_part(second, first, 85, "new threads, the second time");
    for (int i = 0; i < threads; i++)
        pile_empty(&team.piles[i]);
    one_of_each("after the second threads", true);
    return first;
}

static void *nothing(void *argument) {
    return argument;
}

static void set_limit(const char *how) {
    const char *number = strchr(how, '=');
    int which = strncmp(how, "data", 4) == 0 ? RLIMIT_DATA : RLIMIT_AS;
    struct rlimit limit;
    if (number == NULL) {
        getrlimit(which, &limit);
        probe_check(limit.rlim_cur != RLIM_INFINITY, "no limit was set before the start");
        limit_bytes = limit.rlim_cur;
        return;
    }
    /* Something is in use already when the limit comes. */
    probe_exercise(7, "before the limit");
    limit_bytes = strtoul(number + 1, NULL, 10) * PROBE_MIB;
    limit.rlim_cur = limit.rlim_max = limit_bytes;
    int result = 0;
    if (strncmp(how, "prlimit", 7) == 0) {
        result = prlimit(0, RLIMIT_AS, &limit, NULL);
    } else if (strncmp(how, "outside", 7) == 0) {
        pid_t child = fork();
        if (child == 0)
            _exit(prlimit(getppid(), RLIMIT_AS, &limit, NULL) == 0 ? 0 : 1);
        result = child < 0 ? -1 : probe_wait(child);
    } else {
        result = setrlimit(which, &limit);
    }
    probe_check(result == 0, "setting the limit: %s", strerror(errno));
    struct rlimit now;
    getrlimit(which, &now);
    probe_check(now.rlim_cur == limit_bytes && now.rlim_max == limit_bytes,
                "the limit is not the one that was set");
}

/* A limit must not be used up by what the heap keeps in reserve: the program has mappings of its
 * own. */
static void others_can_map(void) {
    void *map =
        mmap(NULL, limit_bytes / 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    probe_check(map != MAP_FAILED, "mmap of a quarter of the limit: %s", strerror(errno));
    munmap(map, limit_bytes / 4);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, nothing, NULL);
    probe_check(error == 0, "pthread_create with the usual stack: %s", strerror(error));
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    probe_begin(100);
    if (argc < 3)
        probe_fail("usage: fill LIMIT KIND [THREADS]");
    int kind = 0;
    while (kind < KINDS && strcmp(argv[2], kind_names[kind]) != 0)
        kind++;
    probe_check(kind < KINDS, "no kind %s", argv[2]);
    set_limit(argv[1]);
    /* A heap that escapes its limit must not take the machine with it. */
    stop_at = 2 * limit_bytes;
    others_can_map();
    int threads = argc > 3 ? atoi(argv[3]) : 0;
    size_t first = threads > 0 ? fill_together(kind, threads) : fill_alone(kind);

    /* The program, its libraries and the heap's own tables take their part of a small limit. */
    unsigned floor = limit_bytes <= 64 * PROBE_MIB ? 60 : limit_bytes <= 128 * PROBE_MIB ? 75 : 85;
    /* Each thread holds pages of its own for every size class. */
    if (threads > 0)
        floor -= 15;
    expect_part(first, limit_bytes, floor, "the first fill, as a part of the limit");
    printf("%zu MiB of %zu MiB\n", first / PROBE_MIB, limit_bytes / PROBE_MIB);
    return 0;
}
