#include "heap/thread.h"

#include <pthread.h>

#include "heap/arena.h"
#include "heap/home.h"
#include "heap/hooks.h"
#include "heap/huge.h"
#include "heap/pages.h"
#include "heap/pool.h"
#include "heap/shared.h"
#include "platform/lock.h"
#include "platform/sys.h"

static _Alignas(16) struct mp_block no_block; /* its key is wrong */
struct mp_page mp_no_page = {.local_free = &no_block};

#define NONE_8                                                                                     \
    &mp_no_page, &mp_no_page, &mp_no_page, &mp_no_page, &mp_no_page, &mp_no_page, &mp_no_page,     \
        &mp_no_page

__thread struct mp_tls mp_tls = {.page = {NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8}};

_Static_assert(MP_SMALL_CLASSES == 56, "one NONE_8 for every eight classes");

/* Heaps by number, in chunks, so that the table needs no room it does not use. */
#define TABLE_CHUNK  256u
#define TABLE_CHUNKS 4096u

static struct mp_lock heaps_lock = MP_LOCK_INIT(MP_RANK_HEAPS);
MP_FIRST static struct mp_heap **table[TABLE_CHUNKS];
static _Atomic(uint32_t) heap_count;         /* numbers 1 .. heap_count are in use */
static struct mp_heap *free_heaps[MP_NODES]; /* by where their threads last were */
static _Atomic(uint32_t) reborn_heaps;
static pthread_key_t exit_key;
static bool exit_key_made;

static struct mp_lock gate_lock = MP_LOCK_INIT(MP_RANK_FORK);
_Atomic(uint32_t) mp_gate;
bool mp_threads_lost;

struct mp_heap *mp_heap_by_number(uint32_t number) {
    return number ? table[(number - 1) / TABLE_CHUNK][(number - 1) % TABLE_CHUNK] : NULL;
}

uint32_t mp_heap_count(void) {
    return atomic_load_explicit(&heap_count, memory_order_acquire);
}

/* ---- a thread's end ---- */

static void retire_heap(struct mp_heap *heap) {
    mp_lock_take(&heaps_lock);
    if (heap->reborn) {
        heap->reborn = false;
        reborn_heaps--;
    }
    heap->owner = 0;
    heap->tls = NULL;
    heap->state = MP_HEAP_FREE;
    heap->next_free = free_heaps[heap->node];
    free_heaps[heap->node] = heap;
    mp_lock_drop(&heaps_lock);
}

/* Runs among the thread's key destructors. Others' destructors and libc's own clean-up come later
 * and still free, and may even allocate: see mp_thread_heap_for_malloc. */
static void thread_exit(void *unused) {
    (void)unused;
    struct mp_heap *heap = mp_tls.heap;
    if (!heap)
        return;
    mp_slow_enter();
    mp_pages_leave(heap);
    mp_slow_leave();
    mp_tls.heap = NULL;
    mp_tls.exited = true;
    retire_heap(heap);
    mp_numa_end_thread();
}

/* A thread that allocated after its exit handler had run for the last time leaves its heap without
 * a thread. It is found when the next thread gets the same control block. */
static void reclaim_reborn(uintptr_t owner) {
    if (atomic_load_explicit(&reborn_heaps, memory_order_relaxed) == 0)
        return;
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        struct mp_heap *heap = mp_heap_by_number(n);
        if (heap->reborn && heap->state == MP_HEAP_LIVE && heap->owner == owner) {
            mp_tls.heap = heap;
            mp_slow_enter();
            mp_pages_leave(heap);
            mp_slow_leave();
            mp_tls.heap = NULL;
            retire_heap(heap);
        }
    }
}

/* ---- a thread's beginning ---- */

static struct mp_heap *new_heap(void) {
    uint32_t number = heap_count + 1;
    uint32_t chunk = (number - 1) / TABLE_CHUNK;
    if (chunk == TABLE_CHUNKS)
        return NULL;
    if (!table[chunk])
        table[chunk] = mp_meta_alloc(TABLE_CHUNK * sizeof(struct mp_heap *));
    struct mp_heap *heap = table[chunk] ? mp_meta_alloc(sizeof *heap) : NULL;
    if (!heap)
        return NULL;
    heap->number = number;
    table[chunk][(number - 1) % TABLE_CHUNK] = heap;
    atomic_store_explicit(&heap_count, number, memory_order_release);
    return heap;
}

/* One that was used on the node before, another, or a new one. */
static struct mp_heap *find_heap(unsigned node) {
    struct mp_heap **list = &free_heaps[node];
    for (unsigned other = 0; !*list && other < mp_numa_count(); other++)
        list = &free_heaps[other];
    struct mp_heap *heap = *list;
    if (heap)
        *list = heap->next_free;
    else
        heap = new_heap();
    if (heap)
        heap->node = node;
    return heap;
}

static struct mp_heap *make_heap(void) {
    uintptr_t owner = mp_arch_thread_pointer() + MP_OWNER_THREAD;
    reclaim_reborn(owner);
    mp_numa_begin_thread();
    mp_lock_take(&heaps_lock);
    if (!exit_key_made) {
        /* Early, so that the key is among those whose values need no memory. */
        pthread_key_create(&exit_key, thread_exit);
        exit_key_made = true;
    }
    struct mp_heap *heap = find_heap(mp_numa_here());
    if (heap) {
        heap->owner = owner;
        heap->tls = &mp_tls;
        heap->reborn = mp_tls.exited;
        reborn_heaps += heap->reborn;
        heap->state = MP_HEAP_LIVE;
        mp_home_open(heap);
    }
    mp_lock_drop(&heaps_lock);
    if (!heap)
        return NULL;
    mp_tls.heap = heap;
    pthread_setspecific(exit_key, heap);
    return heap;
}

struct mp_heap *mp_thread_heap(void) {
    if (MP_LIKELY(mp_tls.heap != NULL))
        return mp_tls.heap;
    return mp_tls.exited ? NULL : make_heap();
}

struct mp_heap *mp_thread_heap_for_malloc(void) {
    if (MP_LIKELY(mp_tls.heap != NULL))
        return mp_tls.heap;
    return make_heap();
}

/* ---- the gate ---- */

void mp_slow_wait_for_visitor(struct mp_heap *heap) {
    for (;;) {
        uint32_t busy = MP_BUSY_NOT;
        if (atomic_compare_exchange_strong_explicit(&heap->busy, &busy, MP_BUSY_OWN,
                                                    memory_order_seq_cst, memory_order_relaxed))
            return;
        if (busy == MP_BUSY_OWN) /* a handler of abort's, say, that allocates: as well as may be */
            return;
        if (busy == MP_BUSY_AWAITED ||
            atomic_compare_exchange_strong_explicit(&heap->busy, &busy, MP_BUSY_AWAITED,
                                                    memory_order_relaxed, memory_order_relaxed))
            mp_sys_futex_wait(&heap->busy, MP_BUSY_AWAITED);
    }
}

bool mp_visit_begin(struct mp_heap *heap) {
    uint32_t not = MP_BUSY_NOT;
    return atomic_compare_exchange_strong_explicit(&heap->busy, &not, MP_BUSY_VISITED,
                                                   memory_order_acquire, memory_order_relaxed);
}

void mp_visit_end(struct mp_heap *heap) {
    if (atomic_exchange_explicit(&heap->busy, MP_BUSY_NOT, memory_order_release) == MP_BUSY_AWAITED)
        mp_sys_futex_wake(&heap->busy, INT32_MAX);
}

void mp_visit_forget(void) {
    struct mp_heap *heap = mp_tls.heap;
    if (heap && atomic_load_explicit(&heap->busy, memory_order_relaxed) != MP_BUSY_OWN)
        atomic_store_explicit(&heap->busy, MP_BUSY_NOT, memory_order_relaxed);
}

void mp_slow_wait(void) {
    struct mp_heap *heap = mp_tls.heap;
    if (mp_lock_all_mine)
        return; /* it is this thread that closed the gate */
    do {
        atomic_store_explicit(&heap->busy, MP_BUSY_NOT, memory_order_seq_cst);
        while (atomic_load_explicit(&mp_gate, memory_order_acquire))
            mp_sys_futex_wait(&mp_gate, 1);
        mp_slow_wait_for_visitor(heap);
    } while (atomic_load_explicit(&mp_gate, memory_order_seq_cst));
}

void mp_heapless_enter(void) {
    mp_lock_take(&gate_lock);
}

void mp_heapless_leave(void) {
    mp_lock_drop(&gate_lock);
}

/* Waits until no thread is in a slow section. */
static void wait_for_all(void) {
    unsigned spins = 0;
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        struct mp_heap *heap = mp_heap_by_number(n);
        if (heap->state != MP_HEAP_LIVE || heap == mp_tls.heap)
            continue;
        while (atomic_load_explicit(&heap->busy, memory_order_seq_cst)) {
            if (++spins < 100)
                mp_arch_pause();
            else
                mp_sys_yield();
        }
    }
}

static void take_all(void) {
    mp_shared_before_fork();
    mp_huge_before_fork();
    mp_pool_before_fork();
    mp_arena_before_fork();
    mp_lock_all_mine = true;
}

void mp_gate_close(void) {
    mp_lock_take(&gate_lock);
    atomic_store_explicit(&mp_gate, 1, memory_order_seq_cst);
    /* From here on no heap comes or goes. No slow section takes this lock, so waiting for them
     * under it is safe. */
    mp_lock_take(&heaps_lock);
    wait_for_all();
    take_all();
}

void mp_gate_open(bool child) {
    mp_lock_all_mine = false;
    mp_arena_after_fork(child);
    mp_pool_after_fork(child);
    mp_huge_after_fork(child);
    mp_shared_after_fork(child);
    if (child) {
        for (uint32_t n = mp_heap_count(); n > 0; n--) {
            struct mp_heap *heap = mp_heap_by_number(n);
            if (heap != mp_tls.heap)
                mp_home_forget(heap);
            if (heap->state == MP_HEAP_LIVE && heap != mp_tls.heap) {
                heap->state = MP_HEAP_DEAD;
                for (unsigned c = 0; c < MP_SMALL_CLASSES; c++)
                    heap->bins[c].current = 0; /* somebody else's, once it is revived */
                mp_threads_lost = true;
            }
        }
        if (mp_threads_lost)
            mp_pages_orphan_lost();
        mp_lock_reset(&heaps_lock);
        atomic_store_explicit(&mp_gate, 0, memory_order_seq_cst);
        mp_lock_reset(&gate_lock);
    } else {
        mp_lock_drop(&heaps_lock);
        atomic_store_explicit(&mp_gate, 0, memory_order_seq_cst);
        mp_sys_futex_wake(&mp_gate, INT32_MAX);
        mp_lock_drop(&gate_lock);
    }
}
