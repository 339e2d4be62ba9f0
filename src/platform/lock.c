#include "platform/lock.h"

#include "platform/arch.h"
#include "platform/sys.h"

__thread bool mp_lock_all_mine;
__thread uint32_t mp_lock_held;

/* Critical sections are short (tens of instructions; no system call but a rare growth), so a
 * holder that runs is out in the time of a few pauses; one that was descheduled is worth a sleep.
 */
#define MP_LOCK_SPINS 60

void mp_lock_slow(struct mp_lock *lock) {
    for (int i = 0; i < MP_LOCK_SPINS; i++) {
        uint32_t expected = 0;
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                    memory_order_relaxed))
            return;
        mp_arch_pause();
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        mp_sys_futex_wait(&lock->word, 2);
}

void mp_lock_take_same_rank(struct mp_lock *lock) {
    uint32_t expected = 0;
    mp_lock_count(1);
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        mp_lock_slow(lock);
    mp_lock_check_again(lock);
}

void mp_lock_wake(struct mp_lock *lock) {
    mp_sys_futex_wake(&lock->word, 1);
}

#ifdef MP_DEBUG_LOCKS

static __thread uint32_t held_ranks;
static __thread uint16_t held_again[32]; /* further locks of a rank that is held */

void mp_lock_check_take(const struct mp_lock *lock) {
    if (held_ranks >> lock->rank)
        __builtin_trap();
    held_ranks |= 1u << lock->rank;
}

void mp_lock_check_again(const struct mp_lock *lock) {
    if (held_ranks & (1u << lock->rank))
        held_again[lock->rank]++;
    else
        mp_lock_check_take(lock);
}

void mp_lock_check_drop(const struct mp_lock *lock) {
    if (!(held_ranks & (1u << lock->rank)))
        __builtin_trap();
    if (held_again[lock->rank]) {
        held_again[lock->rank]--;
        return;
    }
    held_ranks &= ~(1u << lock->rank);
}

#endif
