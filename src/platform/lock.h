/* A futex mutex of one word, and the one order in which locks are taken.
 * Not for the fast paths of malloc and free, which take none; not for signal handlers, unless they
 * see that their thread holds none (mp_lock_held). Debug builds (-DMP_DEBUG_LOCKS) stop at a lock
 * that is taken out of order. */
#ifndef MP_PLATFORM_LOCK_H
#define MP_PLATFORM_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A thread that holds a lock may take only locks of a higher rank. */
enum mp_lock_rank {
    MP_RANK_DUMP,         /* one dump at a time */
    MP_RANK_TOLD,         /* what the program has said of its memory: roots, no leaks */
    MP_RANK_MIRROR_START, /* whether there is a black box is being decided */
    MP_RANK_STACKS,       /* a new stack */
    MP_RANK_MODULES,      /* a new module */
    MP_RANK_LIVE,         /* a shard of the live samples; all of them at a fork, in order */
    MP_RANK_REGIONS,      /* what the program has mapped */
    MP_RANK_MIRROR_SLOTS, /* places of samples in the black box */
    MP_RANK_FORK,         /* closes the gate: held across fork */
    MP_RANK_REVIVE,       /* pages of threads lost in a fork */
    MP_RANK_HEAPS,        /* the table of thread heaps */
    MP_RANK_SHARED,       /* a shard of shared pages; all of them at a fork, in order */
    MP_RANK_HUGE,         /* the table of huge blocks */
    MP_RANK_POOL,         /* a node's free slices */
    MP_RANK_ARENA,        /* the growth of the address ranges */
    MP_RANK_BESIDE,       /* tables of what is kept of samples */
    MP_RANK_BOX_GROWTH,   /* the black box grows, or gives addresses back */
    MP_RANK_META,         /* memory for our own structures */
};

struct mp_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
    uint8_t rank;
};

#define MP_LOCK_INIT(r)                                                                            \
    { .word = 0, .rank = (r) }

void mp_lock_slow(struct mp_lock *lock);
void mp_lock_wake(struct mp_lock *lock);

#ifdef MP_DEBUG_LOCKS
void mp_lock_check_take(const struct mp_lock *lock);
void mp_lock_check_again(const struct mp_lock *lock);
void mp_lock_check_drop(const struct mp_lock *lock);
#else
static inline void mp_lock_check_take(const struct mp_lock *lock) {
    (void)lock;
}
static inline void mp_lock_check_again(const struct mp_lock *lock) {
    (void)lock;
}
static inline void mp_lock_check_drop(const struct mp_lock *lock) {
    (void)lock;
}
#endif

/* Set in the thread that holds every lock, around a fork: what other fork handlers allocate then
 * passes through all of them. */
extern __thread bool mp_lock_all_mine __attribute__((tls_model("initial-exec")));

/* Locks that this thread holds or waits for: what a signal handler of its own looks at, since it
 * would wait for itself. Counted before a lock is taken and after it is dropped. */
extern __thread uint32_t mp_lock_held __attribute__((tls_model("initial-exec")));

static inline void mp_lock_count(uint32_t by) {
    atomic_signal_fence(memory_order_seq_cst);
    mp_lock_held += by;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline bool mp_lock_try(struct mp_lock *lock) {
    uint32_t expected = 0;
    if (mp_lock_all_mine)
        return true;
    mp_lock_count(1);
    /* acquire: what the last holder wrote is seen by the next */
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed)) {
        mp_lock_count((uint32_t)-1);
        return false;
    }
    mp_lock_check_take(lock);
    return true;
}

static inline void mp_lock_take(struct mp_lock *lock) {
    if (!mp_lock_try(lock)) {
        mp_lock_count(1);
        mp_lock_slow(lock);
        mp_lock_check_take(lock);
    }
}

static inline void mp_lock_drop(struct mp_lock *lock) {
    if (mp_lock_all_mine)
        return;
    mp_lock_check_drop(lock);
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        mp_lock_wake(lock);
    mp_lock_count((uint32_t)-1);
}

/* Of several locks of one rank that are taken in a fixed order; only the first is checked. */
void mp_lock_take_same_rank(struct mp_lock *lock);

/* In a forked child, where the threads that slept on it no longer exist. */
static inline void mp_lock_reset(struct mp_lock *lock) {
    mp_lock_check_drop(lock);
    atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
    mp_lock_count((uint32_t)-1);
}

#endif
