#include "leak/twice.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/class.h"
#include "leak/threads.h"
#include "platform/own.h"
#include "platform/sys.h"

/* Addresses only: what is not written to takes no memory. */
#define ROOM          ((size_t)1 << 32)
#define WAIT_US       2000u
#define REGISTERS     16u /* of a thread, that hold addresses */
#define COMPARED      ((size_t)4096)
#define LARGER_BLOCKS MP_CLASSES

enum { AT_WORK, DONE, FAILED };

struct entry {
    uintptr_t start;
    size_t size;
    uint64_t hash;
};

struct mp_twice {
    _Atomic(uint32_t) state;
    uint64_t count;
    struct entry entries[];
};

#define ENTRIES_MOST ((ROOM - sizeof(struct mp_twice)) / sizeof(struct entry))

struct mp_twice *mp_twice_begin(void) {
    uintptr_t got = mp_sys_mmap(0, ROOM, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mp_sys_failed(got))
        return NULL;
    mp_own_add(got, ROOM);
    return (struct mp_twice *)got;
}

void mp_twice_end(struct mp_twice *twice) {
    mp_own_remove((uintptr_t)twice);
    mp_sys_munmap((uintptr_t)twice, ROOM);
}

static uint64_t hash_of(const struct mp_block_found *block) {
    const uint64_t *words = (const uint64_t *)block->start;
    size_t size = block->size < COMPARED ? block->size : COMPARED;
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size / sizeof *words; i++)
        hash = (hash ^ words[i]) * 0xff51afd7ed558ccdu;
    return hash;
}

static void note_block(const struct mp_block_found *block, void *context) {
    struct mp_twice *twice = context;
    if (twice->count < ENTRIES_MOST)
        twice->entries[twice->count++] = (struct entry){block->start, block->size, hash_of(block)};
}

void mp_twice_note(struct mp_twice *twice, const struct mp_marks *marks) {
    if (marks)
        mp_blocks_each(marks->reached, note_block, twice);
    atomic_store(&twice->state, marks ? DONE : FAILED);
}

static uint32_t wait_for(struct mp_twice *twice, long first) {
    struct mp_thread_status status;
    while (atomic_load(&twice->state) == AT_WORK) {
        if (!mp_threads_status(first, first, &status) || status.state == 'Z')
            return atomic_load(&twice->state);
        mp_trace_sleep_us(WAIT_US);
    }
    return atomic_load(&twice->state);
}

struct confirm {
    struct mp_marks *marks, confirmed;
    uint64_t most; /* blocks that registers may hold */
    uint64_t lost[MP_CLASSES + 1];
};

static unsigned class_of(const struct mp_block_found *block) {
    return block->whole ? LARGER_BLOCKS : mp_class_of(block->size);
}

static void mark_unconfirmed(const struct mp_block_found *block, void *context) {
    struct confirm *confirm = context;
    if (!mp_marks_has(&confirm->confirmed, block->number))
        mp_mark_word(confirm->marks, block->start);
}

static void count_lost(const struct mp_block_found *block, void *context) {
    struct confirm *confirm = context;
    confirm->lost[class_of(block)]++;
}

static void mark_few(const struct mp_block_found *block, void *context) {
    struct confirm *confirm = context;
    if (confirm->lost[class_of(block)] <= confirm->most)
        mp_mark_word(confirm->marks, block->start);
}

int mp_twice_confirm(struct mp_twice *twice, long first, uint32_t unknown, struct mp_marks *marks) {
    static struct confirm confirm;
    struct mp_block_found block;
    if (wait_for(twice, first) != DONE)
        return -ESRCH;
    memset(&confirm, 0, sizeof confirm);
    confirm.marks = marks;
    confirm.most = (uint64_t)unknown * REGISTERS;
    if (!mp_marks_begin(&confirm.confirmed, NULL))
        return -ENOMEM;
    for (uint64_t i = 0; i < twice->count; i++) {
        const struct entry *entry = &twice->entries[i];
        if (mp_blocks_find(entry->start, &block) && block.start == entry->start &&
            block.size == entry->size && mp_blocks_is_live(&block) &&
            hash_of(&block) == entry->hash)
            mp_mark_alone(&confirm.confirmed, block.start);
    }
    mp_blocks_each(marks->reached, mark_unconfirmed, &confirm);
    mp_mark_through(marks);
    mp_blocks_each(marks->reached, count_lost, &confirm);
    mp_blocks_each(marks->reached, mark_few, &confirm);
    mp_mark_through(marks);
    mp_marks_end(&confirm.confirmed);
    return 0;
}
