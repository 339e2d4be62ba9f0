#include "crowd.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/thread.h"
#include "heap_api.h"
#include "platform/sys.h"
#include "unit.h"

struct touched {
    void *from, *to;
};

enum state { NONE, RUNNING, ENDED };

struct worker {
    pthread_t thread;
    _Atomic(int) state;
    _Atomic(pid_t) tid;
    uint64_t random;
    _Atomic(bool) holds;
    uint64_t lives; /* operations until it ends */
    _Atomic(uint64_t) begun;
    _Atomic(unsigned) in_hand; /* blocks that the operation under way may hold */
    struct touched log[CROWD_LOG];
};

void *_Atomic crowd_slots[CROWD_SLOTS];
static struct worker workers[CROWD_THREADS];
static _Atomic(bool) stopping;
static _Atomic(uint32_t) held;
static bool exits;

/* ---- what a thread does ---- */

static size_t random_size(uint64_t *state) {
    size_t kind = unit_random_to(state, 511);
    if (kind == 0)
        return MP_LARGE_MAX + 1 + unit_random_to(state, 100000);
    if (kind < 8)
        return unit_random_size(state, 500000);
    if (kind < 32)
        return unit_random_size(state, MP_MEDIUM_MAX);
    return unit_random_size(state, 2000);
}

static void scribble(void *block, size_t size, uint64_t word) {
    memset(block, (int)word, size < 64 ? size : 64);
}

static void operate(struct worker *self) {
    uint64_t *random = &self->random;
    uint64_t number = atomic_load_explicit(&self->begun, memory_order_relaxed) + 1;
    struct touched *log = &self->log[number % CROWD_LOG];
    size_t i = unit_random_to(random, CROWD_SLOTS - 1);
    *log = (struct touched){NULL, NULL};
    atomic_store(&self->in_hand, 2);
    atomic_store(&self->begun, number);
    void *block = atomic_exchange(&crowd_slots[i], NULL);
    size_t size = random_size(random);
    log->from = block;
    if (block && unit_random_to(random, 7)) {
        t_free(block);
    } else {
        block = t_realloc(block, size ? size : 1);
        must(block != NULL);
        log->to = block;
        scribble(block, size, number);
        void *none = NULL;
        if (!atomic_compare_exchange_strong(&crowd_slots[i], &none, block))
            t_free(block);
    }
    atomic_store(&self->in_hand, 0);
}

static void hold(struct worker *self) {
    atomic_store(&self->holds, true);
    while (atomic_load(&held))
        syscall(SYS_futex, &held, FUTEX_WAIT, 1, NULL, NULL, 0);
    atomic_store(&self->holds, false);
}

static void *work(void *context) {
    struct worker *self = context;
    atomic_store(&self->tid, (pid_t)syscall(SYS_gettid));
    operate(self); /* a crowd that runs has blocks */
    atomic_store(&self->state, RUNNING);
    for (uint64_t n = 0; !atomic_load(&stopping) && (!exits || n < self->lives); n++) {
        if (atomic_load(&held))
            hold(self);
        operate(self);
    }
    atomic_store(&self->state, ENDED);
    return NULL;
}

static void start(struct worker *worker) {
    atomic_store(&worker->state, NONE);
    worker->lives = 200 + unit_random_to(&worker->random, 20000);
    must(pthread_create(&worker->thread, NULL, work, worker) == 0);
    while (atomic_load(&worker->state) == NONE)
        sched_yield();
}

void crowd_start(uint64_t seed, bool with_exits) {
    stopping = false;
    exits = with_exits;
    for (unsigned i = 0; i < CROWD_THREADS; i++) {
        workers[i].random = seed * 1000 + i;
        atomic_store(&workers[i].begun, 0);
        start(&workers[i]);
    }
}

void crowd_replace(void) {
    for (unsigned i = 0; i < CROWD_THREADS; i++) {
        if (atomic_load(&workers[i].state) == ENDED) {
            pthread_join(workers[i].thread, NULL);
            start(&workers[i]);
        }
    }
}

void crowd_stop(void) {
    atomic_store(&stopping, true);
    for (unsigned i = 0; i < CROWD_THREADS; i++)
        pthread_join(workers[i].thread, NULL);
}

void crowd_free(void) {
    for (unsigned i = 0; i < CROWD_SLOTS; i++)
        t_free(atomic_exchange(&crowd_slots[i], NULL));
}

/* ---- what they have done ---- */

void crowd_count(uint64_t counts[CROWD_THREADS]) {
    for (unsigned i = 0; i < CROWD_THREADS; i++)
        counts[i] = atomic_load(&workers[i].begun);
}

void crowd_hold(void) {
    atomic_store(&held, 1);
}

void crowd_wait_held(void) {
    for (unsigned i = 0; i < CROWD_THREADS; i++) {
        while (atomic_load(&workers[i].state) == RUNNING && !atomic_load(&workers[i].holds))
            sched_yield();
    }
}

void crowd_release(void) {
    atomic_store(&held, 0);
    syscall(SYS_futex, &held, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

bool crowd_has_touched(const void *block, const uint64_t from[CROWD_THREADS],
                       const uint64_t to[CROWD_THREADS]) {
    for (unsigned i = 0; i < CROWD_THREADS; i++) {
        must(atomic_load(&workers[i].begun) - from[i] < CROWD_LOG);
        for (uint64_t n = from[i]; n <= to[i]; n++) {
            const struct touched *log = &workers[i].log[n % CROWD_LOG];
            if (log->from == block || log->to == block)
                return true;
        }
    }
    return false;
}

/* ---- stopping them ---- */

static _Atomic(uint32_t) parked_now, parked_gate;

static void park(int signal) {
    (void)signal;
    int saved = errno;
    atomic_fetch_add(&parked_now, 1);
    while (atomic_load(&parked_gate))
        syscall(SYS_futex, &parked_gate, FUTEX_WAIT, 1, NULL, NULL, 0);
    atomic_fetch_sub(&parked_now, 1);
    errno = saved;
}

static bool send(pid_t tid, int signal) {
    return syscall(SYS_tgkill, getpid(), tid, signal) == 0;
}

void crowd_park(void) {
    struct sigaction action = {.sa_handler = park, .sa_flags = SA_RESTART};
    must(sigaction(SIGUSR1, &action, NULL) == 0);
    while (atomic_load(&parked_now) > 0)
        sched_yield();
    atomic_store(&parked_gate, 1);
    bool sent[CROWD_THREADS];
    for (unsigned i = 0; i < CROWD_THREADS; i++)
        sent[i] = send(workers[i].tid, SIGUSR1);
    /* One that was about to end may end instead. */
    for (;;) {
        uint32_t expected = 0;
        for (unsigned i = 0; i < CROWD_THREADS; i++)
            expected += sent[i] && send(workers[i].tid, 0);
        if (atomic_load(&parked_now) >= expected)
            return;
        sched_yield();
    }
}

void crowd_unpark(void) {
    atomic_store(&parked_gate, 0);
    syscall(SYS_futex, &parked_gate, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

unsigned crowd_in_hand(void) {
    unsigned blocks = 0;
    for (unsigned i = 0; i < CROWD_THREADS; i++)
        blocks += workers[i].in_hand;
    return blocks;
}

/* ---- what is live ---- */

size_t crowd_each_live(void (*visit)(void *block, void *context), void *context) {
    size_t live = 0;
    for (uint32_t r = 0; r < mp_range_count; r++) {
        for (uint32_t i = mp_ranges[r].first; i < mp_ranges[r].limit; i++) {
            const struct mp_page *page = &mp_ranges[r].meta[i];
            enum mp_kind kind = mp_page_kind(page);
            uint32_t size = mp_classes[page->class].size, count = page->carved;
            if (kind == MP_KIND_LARGE)
                count = 1;
            else if (kind != MP_KIND_SMALL && kind != MP_KIND_MEDIUM && kind != MP_KIND_SAMPLES)
                continue;
            for (uint32_t b = 0; b < count; b++) {
                void *block = (void *)(page->start + (uintptr_t)b * size);
                if (kind != MP_KIND_LARGE && (mp_block_is_free(block) || !mp_census_is_live(block)))
                    continue;
                visit(block, context);
                live++;
            }
        }
    }
    return live;
}
