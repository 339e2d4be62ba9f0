#include "leak/roots.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/huge.h"
#include "leak/present.h"
#include "leak/told.h"
#include "platform/own.h"
#include "platform/sys.h"
#include "record/maps.h"
#include "record/memory.h"

#define OS_PAGE  ((uintptr_t)4096)
#define RED_ZONE 128u /* below the stack's pointer, still in use by leaves */

struct span {
    uintptr_t start, end;
};

/* ---- what is no root: the heap, and what is ours ---- */

static struct span image;

void mp_roots_except(uintptr_t start, uintptr_t end) {
    image = (struct span){start, end};
}

/* Sorted, and none overlaps another. */
static struct {
    struct span *at;
    size_t count, room;
} except;

static void count_one(uintptr_t start, uintptr_t end, void *unused) {
    (void)start;
    (void)end;
    (void)unused;
    except.room++;
}

static void add_except(uintptr_t start, uintptr_t end, void *unused) {
    (void)unused;
    if (start < end && except.count < except.room)
        except.at[except.count++] = (struct span){start, end};
}

/* Heapsort: in place, whatever there is. */
static void sift(struct span *at, size_t from, size_t count) {
    for (size_t child; (child = 2 * from + 1) < count; from = child) {
        if (child + 1 < count && at[child + 1].start > at[child].start)
            child++;
        if (at[from].start >= at[child].start)
            return;
        struct span swapped = at[from];
        at[from] = at[child];
        at[child] = swapped;
    }
}

static void sort(struct span *at, size_t count) {
    for (size_t i = count / 2; i-- > 0;)
        sift(at, i, count);
    for (size_t end = count; end-- > 1;) {
        struct span swapped = at[0];
        at[0] = at[end];
        at[end] = swapped;
        sift(at, 0, end);
    }
}

static void join(void) {
    size_t kept = 0;
    for (size_t i = 0; i < except.count; i++) {
        if (kept && except.at[i].start <= except.at[kept - 1].end) {
            if (except.at[i].end > except.at[kept - 1].end)
                except.at[kept - 1].end = except.at[i].end;
        } else {
            except.at[kept++] = except.at[i];
        }
    }
    except.count = kept;
}

static bool list_exceptions(void) {
    uint32_t ranges = atomic_load_explicit(&mp_range_count, memory_order_acquire);
    except.count = 0;
    except.room = mp_blocks.huge_count + 2 * ranges + 2;
    mp_own_each(count_one, NULL);
    except.room += 8; /* for what is mapped meanwhile: the list itself */
    except.at = mp_record_alloc(except.room * sizeof *except.at);
    if (!except.at)
        return false;
    mp_own_each(add_except, NULL);
    add_except(image.start, image.end, NULL);
    for (uint32_t r = 0; r < ranges; r++) {
        const struct mp_range *range = &mp_ranges[r];
        add_except(range->base, range->base + ((uintptr_t)range->limit << MP_SLICE_SHIFT), NULL);
        add_except((uintptr_t)range->meta, (uintptr_t)(range->meta + range->meta_entries), NULL);
    }
    for (uint32_t i = 0; i < mp_blocks.huge_count; i++) {
        const struct mp_blocks_huge *block = &mp_blocks.huge[i];
        add_except(block->start, block->start + block->size, NULL);
    }
    sort(except.at, except.count);
    join();
    return true;
}

/* The first that ends behind this address. */
static size_t first_exception(uintptr_t address) {
    size_t low = 0, high = except.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (except.at[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct {
    struct mp_marks *marks;
    const struct mp_stopped *stopped;
    const struct mp_roots_caller *caller;
    struct mp_roots_seen *seen;
    bool has_resident;  /* mappings are told with what is resident */
    struct span before; /* the last mapping, if nothing may touch it */
    size_t id_offset;   /* in a thread's control block, of its number; 0: not known */
} work;

static void mark_part(uintptr_t start, uintptr_t end, void *unused) {
    (void)unused;
    mp_mark_range(work.marks, start, end);
    work.seen->bytes += end - start;
}

/* But for what is no root. */
static void mark_span(struct span span, bool shared) {
    for (size_t i = first_exception(span.start); span.start < span.end; i++) {
        bool met = i < except.count && except.at[i].start < span.end;
        struct span free = {span.start, met ? except.at[i].start : span.end};
        if (free.start < free.end)
            mp_present_each(free.start, free.end, shared, mark_part, NULL);
        if (!met)
            return;
        span.start = except.at[i].end;
    }
}

/* ---- threads ---- */

/* struct pthread, as far as it matters: on x86-64 it begins where the thread pointer points to,
 * with its own address twice, and stands above the stack. */
#define CONTROL_BYTES 2304u

/* In a copy, where what is not to be read reads zero. */
static bool is_control(uintptr_t tp) {
    const uintptr_t *words = (const uintptr_t *)tp;
    return words[0] == tp && words[2] == tp;
}

static uint32_t id_at(uintptr_t tp, size_t offset) {
    return *(const uint32_t *)(tp + offset);
}

/* Where all threads that have been stopped have their number. */
static void find_id_offset(void) {
#if defined(__x86_64__)
    for (size_t offset = 64; offset + 4 <= CONTROL_BYTES && !work.id_offset; offset += 4) {
        bool all = false;
        for (uint32_t i = 0; i < work.stopped->count; i++) {
            const struct mp_stopped_thread *thread = &work.stopped->threads[i];
            if (thread->register_count == 0)
                continue;
            all = thread->tp && is_control(thread->tp) &&
                  id_at(thread->tp, offset) == (uint32_t)thread->id;
            if (!all)
                break;
        }
        if (all)
            work.id_offset = offset;
    }
#endif
}

/* From where on the thread's stack is in use. */
static uintptr_t used_from(const struct mp_stopped_thread *thread) {
    uintptr_t from = thread->sp - RED_ZONE;
    return thread->id == work.caller->thread && work.caller->frame > from ? work.caller->frame
                                                                          : from;
}

/* The lowest stack in use there; 0: none. *by_libc: the control block is there as well. */
static uintptr_t find_stack(struct span span, bool *by_libc) {
    uintptr_t lowest = 0;
    for (uint32_t i = 0; i < work.stopped->count; i++) {
        const struct mp_stopped_thread *thread = &work.stopped->threads[i];
        if (thread->register_count == 0 || thread->sp < span.start || thread->sp >= span.end)
            continue;
        if (!lowest || used_from(thread) < lowest) {
            lowest = used_from(thread);
            *by_libc = thread->tp > thread->sp && thread->tp < span.end;
        }
    }
    return lowest;
}

static void find_control(uintptr_t start, uintptr_t end, void *context) {
    uintptr_t *found = context;
    for (uintptr_t at = (start + 63) & ~(uintptr_t)63; !*found && at + CONTROL_BYTES <= end;
         at += 64) {
        if (is_control(at))
            *found = at;
    }
}

/* A thread that has ended, and nobody will ask how: it was detached, or has been joined. */
static bool is_forgotten(uintptr_t tp) {
    const uintptr_t *words = (const uintptr_t *)tp;
    if (id_at(tp, work.id_offset) == UINT32_MAX)
        return true;
    for (size_t i = work.id_offset / sizeof tp + 1; i < CONTROL_BYTES / sizeof tp; i++) {
        if (words[i] == tp) /* who joins a detached thread: itself */
            return true;
    }
    return false;
}

/* The list of a thread's blocks for libraries' variables is libc's, which will use it again for the
 * next thread, or free it. */
static void keep_dtv(uintptr_t tp) {
    struct entry {
        uintptr_t value, to_free;
    };
    const struct entry *dtv = ((const struct entry *const *)tp)[1];
    mp_mark_alone(work.marks, (uintptr_t)dtv);
    for (uintptr_t i = 1; dtv && i <= dtv[-1].value && i < 65536; i++)
        mp_mark_alone(work.marks, dtv[i].to_free);
}

/* What a thread that has ended has left of its stack: up to where it is no root. */
static uintptr_t end_of_left(struct span span) {
    uintptr_t tp = 0;
    if (work.id_offset)
        mp_present_each(span.start, span.end, false, find_control, &tp);
    uint32_t id = tp ? id_at(tp, work.id_offset) : 1;
    if (id != 0 && id != UINT32_MAX)
        return span.start; /* none is left, or it has not ended: it is on another stack */
    keep_dtv(tp);
    if (!is_forgotten(tp))
        return tp;
    uintptr_t end = (tp + CONTROL_BYTES + OS_PAGE - 1) & ~(OS_PAGE - 1);
    return end < span.end ? end : span.end;
}

/* ---- mappings ---- */

static bool has_prefix(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool may_hold_pointers(const struct memprof_dump_map *map, const char *path) {
    bool file = path[0] && !has_prefix(path, "[stack") && !has_prefix(path, "[heap") &&
                !has_prefix(path, "[anon");
    if (path[0] == '[' && file)
        return false; /* the kernel's own */
    if (has_prefix(path, "anon_inode:") ||
        (has_prefix(path, "/dev/") && !has_prefix(path, "/dev/shm/") &&
         !has_prefix(path, "/dev/zero")))
        return false; /* a device's, for which being read may mean something */
    /* What is not to be written to any more, or not even to be read, may have been before. */
    bool shared = map->access & MEMPROF_MAP_SHARED;
    bool written = map->access & (MEMPROF_MAP_WRITE | (shared ? MEMPROF_MAP_MAY_WRITE : 0));
    if (file && !written && (shared || !mp_present_is_known()))
        return false;
    return (map->access & MEMPROF_MAP_SHARED) || !work.has_resident ||
           map->rss_bytes + map->swap_bytes > 0;
}

/* Its stack is nobody's then; other threads go on. */
static bool main_has_ended(void) {
    return work.stopped->missed == 0 && !mp_threads_find(work.stopped, work.stopped->process);
}

static void mark_mapping(struct memprof_dump_map *map, const char *path, void *unused) {
    struct span span = {map->start, map->end};
    bool guarded = work.before.end == span.start, shared = map->access & MEMPROF_MAP_SHARED;
    bool by_libc = false;
    (void)unused;
    work.before = (struct span){0, 0};
    if (!(map->access & (MEMPROF_MAP_READ | MEMPROF_MAP_WRITE | MEMPROF_MAP_EXEC)))
        work.before = span;
    if (!may_hold_pointers(map, path))
        return;
    if (!(map->access & MEMPROF_MAP_READ))
        mp_sys_mprotect(span.start, span.end - span.start, PROT_READ); /* of the copy */
    if (strcmp(path, "[stack]") == 0 && main_has_ended())
        return;
    uintptr_t used = find_stack(span, &by_libc);
    if (used && (strcmp(path, "[stack]") == 0 || (guarded && by_libc)))
        span.start = used > span.start ? used : span.start;
    else if (guarded && !shared && !path[0])
        span.start = end_of_left(span);
    mark_span(span, shared);
}

/* ---- all of it ---- */

static void mark_registers(void) {
    for (uint32_t i = 0; i < work.stopped->count; i++) {
        const struct mp_stopped_thread *thread = &work.stopped->threads[i];
        if (thread->id == work.caller->thread && work.caller->frame)
            continue;
        for (uint32_t r = 0; r < thread->register_count; r++)
            mp_mark_word(work.marks, (uintptr_t)thread->registers[r]);
    }
}

/* A stack that is in a block, as coroutines have them. */
static void mark_stacks_in_blocks(void) {
    struct mp_block_found block;
    for (uint32_t i = 0; i < work.stopped->count; i++) {
        const struct mp_stopped_thread *thread = &work.stopped->threads[i];
        if (thread->register_count && mp_blocks_find((uintptr_t)thread->sp, &block)) {
            mp_mark_alone(work.marks, block.start);
            uintptr_t from = used_from(thread);
            mp_mark_range(work.marks, from > block.start ? from : block.start,
                          block.start + block.size);
        }
    }
}

/* Be it wherever it wants, in a block as well: it is a root because somebody says so. */
static void mark_told(uintptr_t start, uintptr_t end, void *unused) {
    (void)unused;
    if (start < end)
        mark_part(start, end, NULL);
}

static void mark_ignored(uintptr_t address, void *unused) {
    (void)unused;
    mp_mark_word(work.marks, address);
}

int mp_roots_mark(struct mp_marks *marks, const struct mp_stopped *stopped,
                  const struct mp_roots_caller *caller, struct mp_roots_seen *seen) {
    long smaps = mp_maps_open(0, "smaps");
    memset(&work, 0, sizeof work);
    work.marks = marks;
    work.stopped = stopped;
    work.caller = caller;
    work.seen = seen;
    work.has_resident = smaps >= 0;
    if (smaps >= 0)
        mp_sys_close((int)smaps);
    if (!list_exceptions())
        return -ENOMEM;
    find_id_offset();
    mark_registers();
    mark_stacks_in_blocks();
    mp_told_each_root(mark_told, NULL);
    mp_told_each_ignored(mark_ignored, NULL);
    int error = mp_maps_each(0, mark_mapping, NULL);
    mp_record_free(except.at, except.room * sizeof *except.at);
    return error;
}
