/*
 * A randomised stress of the whole heap by many threads: malloc, calloc, realloc, the aligned
 * kinds and free, sizes from 1 byte to 8 MiB and mostly small, blocks that change hands between
 * threads all the time, threads that end and are replaced. Every block's contents are known and
 * verified when it is freed, resized or looked at in passing.
 *
 *     stress SECONDS [THREADS [SEED]]
 *
 * The seed is printed, so that a failure can be tried again with the same streams of numbers;
 * which thread runs when stays the machine's choice.
 */
#include "probe.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    MAX_THREADS = 64,
    MINE = 600,    /* cards that each seat holds */
    SHARED = 1500, /* places where cards are exchanged */
    LIFE = 20000   /* operations before a thread ends and another takes its seat */
};

#define LIVE_MAX (384 * PROBE_MIB)

/*
 * What is known of one block lies outside it, so that a block of one byte can be tested too. A card
 * is owned by one seat or lies in one shared place; it changes hands by an atomic exchange.
 */
struct card {
    unsigned char *block;
    size_t size, filled; /* filled: the contents that are known, up to the usable size */
    uint64_t seed, sum;
};

static struct card cards[MAX_THREADS * MINE + SHARED];
static _Atomic uint32_t shared[SHARED];
static uint32_t mine[MAX_THREADS][MINE];
static atomic_size_t live_bytes, operations;
static atomic_bool over;
static uint64_t master_seed;
static double end_time;

struct seat {
    int index;
    uint64_t life;
};

static uint64_t checksum(const unsigned char *at, size_t size) {
    uint64_t sum = size;
    for (; size >= sizeof(sum); size -= sizeof(sum), at += sizeof(sum)) {
        sum = (sum ^ *(const probe_word *)at) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
    }
    for (; size > 0; size--)
        sum = (sum ^ *at++) * 0x100000001b3u;
    return sum;
}

static void verify(const struct card *card, const char *when) {
    probe_check(checksum(card->block, card->filled) == card->sum &&
                    probe_intact(card->block, card->filled, card->seed),
                "%s: the contents of %p (%zu bytes) changed; seed %llu", when,
                (const void *)card->block, card->size, (unsigned long long)master_seed);
}

/* Usually what was asked for, sometimes all that malloc_usable_size promises. */
static void write_contents(struct card *card, uint64_t *state) {
    card->filled = card->size;
    if (probe_random(state) % 8 == 0) {
        card->filled = malloc_usable_size(card->block);
        probe_check(card->filled >= card->size, "malloc_usable_size %zu of a %zu-byte block",
                    card->filled, card->size);
    }
    card->seed = probe_random(state);
    probe_fill(card->block, card->filled, card->seed);
    card->sum = checksum(card->block, card->filled);
}

/* Half of all up to 128 bytes, one in two hundred over 64 KiB, one in some thousands of MiB. */
static size_t draw_size(uint64_t *state) {
    uint64_t which = probe_random(state) % 4096;
    if (which < 2048)
        return probe_between(state, 1, 128);
    if (which < 3600)
        return probe_between(state, 1, 2048);
    if (which < 4070)
        return probe_between(state, 1, 64 * PROBE_KIB);
    if (which < 4093)
        return probe_between(state, 64 * PROBE_KIB, PROBE_MIB);
    return probe_between(state, PROBE_MIB, 8 * PROBE_MIB);
}

/* Too much at once is turned away, so that the test fits into small machines. */
static bool reserve(size_t size) {
    if (atomic_fetch_add(&live_bytes, size) + size <= LIVE_MAX)
        return true;
    atomic_fetch_sub(&live_bytes, size);
    return false;
}

static void release(struct card *card) {
    verify(card, "free");
    errno = 4711;
    free(card->block);
    probe_check(errno == 4711, "free changed errno to %d", errno);
    atomic_fetch_sub(&live_bytes, card->size);
    card->block = NULL;
}

static void fresh(struct card *card, uint64_t *state) {
    size_t size = draw_size(state), alignment = 16;
    if (!reserve(size))
        return;
    void *block = NULL;
    switch (probe_random(state) % 8) {
    case 0:
        block = calloc(1, size);
        probe_check(block != NULL && probe_zero(block, size), "calloc(%zu) is not zero", size);
        break;
    case 1:
        alignment = (size_t)16 << probe_random(state) % (probe_random(state) % 16 == 0 ? 17 : 9);
        probe_check(posix_memalign(&block, alignment, size) == 0, "posix_memalign");
        break;
    case 2:
        alignment = (size_t)16 << probe_random(state) % 9;
        block = memalign(alignment, size);
        break;
    case 3:
        block = realloc(NULL, size);
        break;
    default:
        block = malloc(size);
    }
    probe_check(block != NULL, "NULL for %zu bytes", size);
    /* Below 16 bytes the C library may align to less; not glibc, and not this library. */
    probe_check((uintptr_t)block % alignment == 0, "%p is not aligned to %zu", block, alignment);
    card->block = block;
    card->size = size;
    write_contents(card, state);
}

static void resize(struct card *card, uint64_t *state) {
    size_t size = draw_size(state), old = card->size;
    /* Often only a little, as buffers grow. */
    if (probe_random(state) % 2 == 0)
        size = old + old / (1 + probe_random(state) % 8) + 1;
    if (!reserve(size))
        return;
    verify(card, "realloc");
    unsigned char *block = realloc(card->block, size);
    probe_check(block != NULL, "realloc to %zu bytes", size);
    size_t kept = old < size ? old : size;
    probe_check(probe_intact(block, kept & ~(size_t)7, card->seed),
                "realloc from %zu to %zu lost the contents; seed %llu", old, size,
                (unsigned long long)master_seed);
    atomic_fetch_sub(&live_bytes, old);
    card->block = block;
    card->size = size;
    write_contents(card, state);
}

static void *live(void *argument) {
    struct seat seat = *(struct seat *)argument;
    uint64_t state = probe_mix(master_seed + (uint64_t)seat.index * 1000003u + seat.life);
    uint32_t *hand = mine[seat.index];
    int count = 0;
    for (; count < LIFE; count++) {
        if (count % 256 == 0 && (atomic_load(&over) || probe_seconds() > end_time)) {
            atomic_store(&over, true);
            break;
        }
        uint32_t *place = &hand[probe_random(&state) % MINE];
        struct card *card = &cards[*place];
        uint64_t what = probe_random(&state) % 16;
        if (what < 4) {
            /* The card that comes back was another thread's, with its block. */
            *place = atomic_exchange_explicit(&shared[probe_random(&state) % SHARED], *place,
                                              memory_order_acq_rel);
        } else if (card->block == NULL) {
            fresh(card, &state);
        } else if (what < 6) {
            resize(card, &state);
        } else if (what == 6) {
            verify(card, "in passing");
        } else {
            release(card);
        }
    }
    atomic_fetch_add(&operations, (size_t)count);
    return NULL;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 5;
    int threads = argc > 2 ? atoi(argv[2]) : 8;
    master_seed =
        argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)time(NULL) * 100003u + (uint64_t)getpid();
    probe_begin((unsigned)seconds + 60);
    probe_check(threads > 0 && threads <= MAX_THREADS, "1 to %d threads", MAX_THREADS);
    fprintf(stderr, "stress: %d threads, seed %llu\n", threads, (unsigned long long)master_seed);
    end_time = probe_seconds() + seconds;

    uint32_t next = 0;
    for (int i = 0; i < SHARED; i++)
        atomic_init(&shared[i], next++);
    for (int t = 0; t < threads; t++)
        for (int i = 0; i < MINE; i++)
            mine[t][i] = next++;

    /* Every thread that ends is replaced in its seat, so that exits happen all the time. */
    static struct seat seats[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    for (uint64_t life = 0; !atomic_load(&over); life++) {
        for (int t = 0; t < threads; t++) {
            if (life > 0)
                pthread_join(ids[t], NULL);
            seats[t] = (struct seat){t, life};
            int error = pthread_create(&ids[t], NULL, live, &seats[t]);
            probe_check(error == 0, "pthread_create: %s", strerror(error));
        }
    }
    for (int t = 0; t < threads; t++)
        pthread_join(ids[t], NULL);
    for (uint32_t i = 0; i < next; i++)
        if (cards[i].block != NULL)
            release(&cards[i]);
    probe_check(atomic_load(&live_bytes) == 0, "%zu bytes are unaccounted for",
                atomic_load(&live_bytes));
    printf("%zu operations\n", atomic_load(&operations));
    return 0;
}
