#include "profile/contents.h"

#include <string.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/thread.h"
#include "platform/numa.h"
#include "platform/sys.h"
#include "profile/live.h"
#include "profile/peak.h"
#include "profile/regions.h"
#include "profile/sampler.h"
#include "profile/series.h"
#include "profile/stacks.h"
#include "record/box.h"
#include "record/maps.h"
#include "record/memory.h"
#include "record/modules.h"
#include "record/writer.h"

/* ---- what the map is of ---- */

#define MAPS_AT_FIRST 1024u

static bool overlaps(const struct memprof_dump_map *map, uintptr_t start, uintptr_t end) {
    return map->start < end && map->end > start;
}

static bool is_heap(const struct memprof_dump_map *map) {
    for (uint32_t r = 0; r < mp_range_count; r++) {
        const struct mp_range *range = &mp_ranges[r];
        if (overlaps(map, range->base, range->base + ((uintptr_t)range->limit << MP_SLICE_SHIFT)))
            return true;
    }
    return false;
}

static bool is_table(const struct memprof_dump_map *map) {
    for (uint32_t r = 0; r < mp_range_count; r++) {
        const struct mp_range *range = &mp_ranges[r];
        if (overlaps(map, (uintptr_t)range->meta, (uintptr_t)(range->meta + range->meta_entries)))
            return true;
    }
    return false;
}

/* A thread's control block stands at the upper end of its stack. */
static bool is_thread_stack(uintptr_t start, uintptr_t end) {
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        const struct mp_heap *heap = mp_heap_by_number(n);
        if (heap->state == MP_HEAP_LIVE && heap->owner >= start && heap->owner < end)
            return true;
    }
    return false;
}

static enum memprof_dump_map_kind kind_of(const struct memprof_dump_map *map, const char *path) {
    if (strcmp(path, "[stack]") == 0)
        return MEMPROF_MAP_STACK;
    if (strcmp(path, "[heap]") == 0)
        return MEMPROF_MAP_BRK;
    if (path[0] == '[' && strncmp(path, "[anon", 5) != 0)
        return MEMPROF_MAP_SPECIAL;
    if (mp_box_overlaps(map->start, map->end))
        return MEMPROF_MAP_METADATA;
    if (path[0] == '/')
        return MEMPROF_MAP_FILE;
    if (is_heap(map))
        return MEMPROF_MAP_HEAP;
    if (is_table(map))
        return MEMPROF_MAP_METADATA;
    if (is_thread_stack(map->start, map->end))
        return MEMPROF_MAP_STACK;
    if (mp_huge_peek_overlap(map->start, map->end))
        return MEMPROF_MAP_BLOCK;
    return MEMPROF_MAP_OTHER;
}

/* The maps that are written: the regions are held against them later. To have the kernel look at
 * every page once more takes it 2 ms for 33 MiB. */
static struct {
    struct memprof_dump_map *at; /* NULL: there was no memory for them */
    uint32_t count, room;
} written;

static void keep_map(const struct memprof_dump_map *map) {
    if (written.count == written.room) {
        uint32_t room = written.room * 2;
        struct memprof_dump_map *wider = mp_record_alloc(room * sizeof *wider);
        if (wider)
            memcpy(wider, written.at, written.count * sizeof *wider);
        mp_record_free(written.at, written.room * sizeof *wider);
        written.at = wider;
        written.room = room;
    }
    if (written.at)
        written.at[written.count++] = *map;
}

static void write_map(struct memprof_dump_map *map, const char *path, void *unused) {
    (void)unused;
    map->kind = (uint16_t)kind_of(map, path);
    map->path = mp_writer_text(path);
    mp_writer_add(map, sizeof *map);
    if (written.at)
        keep_map(map);
}

static void write_maps(long pid) {
    written.count = 0;
    written.room = MAPS_AT_FIRST;
    written.at = mp_record_alloc(written.room * sizeof *written.at);
    mp_maps_each(pid, write_map, NULL);
}

/* ---- stacks and samples ---- */

static void write_frames(const struct mp_stack *stack, void *unused) {
    (void)unused;
    mp_writer_add(stack->frames, stack->depth * sizeof stack->frames[0]);
}

static void write_stack(const struct mp_stack *stack, void *context) {
    uint64_t *frame = context, peak_objects, peak_bytes;
    struct mp_stack_totals freed = mp_stack_freed_in_all(stack);
    mp_stack_at_peak(stack, &peak_objects, &peak_bytes);
    const struct memprof_dump_stack record = {
        .frame = *frame,
        .depth = stack->depth,
        .flags = stack->flags,
        .allocated_samples = stack->counts->allocated.samples,
        .freed_samples = freed.samples,
        .allocated_objects = (double)stack->counts->allocated.objects / MP_OBJECTS_ONE,
        .allocated_bytes = (double)stack->counts->allocated.bytes / MP_BYTES_ONE,
        .freed_objects = (double)freed.objects / MP_OBJECTS_ONE,
        .freed_bytes = (double)freed.bytes / MP_BYTES_ONE,
        .peak_objects = (double)peak_objects / MP_OBJECTS_ONE,
        .peak_bytes = (double)peak_bytes / MP_BYTES_ONE,
    };
    *frame += stack->depth;
    mp_writer_add(&record, sizeof record);
}

struct samples {
    uint64_t now_ns;
    const struct mp_leaks *leaks; /* NULL: leaks were not looked for */
};

static uint16_t flags_of(const struct mp_live *live, const struct mp_leaks *leaks) {
    static const uint16_t leaked[] = {
        [MP_REACHABLE] = 0,
        [MP_LEAKED] = MEMPROF_SAMPLE_LEAKED,
        [MP_LEAKED_INDIRECTLY] = MEMPROF_SAMPLE_INDIRECT,
    };
    return (uint16_t)((live->large ? MEMPROF_SAMPLE_LARGE : 0) |
                      (leaks ? leaked[mp_leaks_of(leaks, live->address)] : 0));
}

static void write_sample(const struct mp_live *live, void *context) {
    const struct samples *samples = context;
    uint64_t now_ns = samples->now_ns;
    const struct memprof_dump_sample record = {
        .serial = live->serial,
        .address = live->address,
        .size = live->size,
        .coin = live->coin,
        .rate = mp_sampler_rate_of(live),
        .age_ns = now_ns > live->born_ns ? now_ns - live->born_ns : 0,
        .stack = mp_stacks_get(live->stack)->number,
        .thread = live->thread,
        .node = live->node,
        .resizes = live->resizes,
        .flags = flags_of(live, samples->leaks),
    };
    mp_writer_add(&record, sizeof record);
}

static void write_modules(void) {
    for (uint32_t n = 1; n <= mp_modules_count(); n++) {
        const struct mp_module *module = mp_modules_get(n);
        struct memprof_dump_module record = {
            .start = module->start,
            .end = module->end,
            .bias = module->bias,
            .path = mp_writer_text(module->path),
            .flags = mp_modules_is_loaded(module) ? 0 : MEMPROF_MODULE_GONE,
            .build_id_size = module->build_id_size,
        };
        memcpy(record.build_id, module->build_id, module->build_id_size);
        mp_writer_add(&record, sizeof record);
    }
}

/* ---- the heap ---- */

static void add_leaks(struct memprof_dump_class *record, const struct mp_leaks_sums *sums) {
    record->leaked_objects = sums->objects[MP_LEAKED];
    record->leaked_bytes = sums->bytes[MP_LEAKED];
    record->indirect_objects = sums->objects[MP_LEAKED_INDIRECTLY];
    record->indirect_bytes = sums->bytes[MP_LEAKED_INDIRECTLY];
}

/* `leaks`: NULL where leaks were not looked for. */
static void write_classes(const struct mp_census *census, const struct mp_leaks *leaks) {
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        const struct mp_census_class *class = &census->classes[c];
        struct memprof_dump_class record = {
            .size = mp_class_size(c),
            .kind = MEMPROF_CLASS_SIZED,
            .pages = class->pages,
            .live_objects = class->live,
            .live_bytes = class->live * mp_class_size(c),
            .free_objects = class->free,
            .stranded_bytes = class->free * mp_class_size(c),
        };
        if (leaks)
            add_leaks(&record, &leaks->classes[c]);
        mp_writer_add(&record, sizeof record);
    }
    struct memprof_dump_class large = {
        .kind = MEMPROF_CLASS_LARGE,
        .pages = census->large_blocks,
        .live_objects = census->large_blocks,
        .live_bytes = census->large_bytes,
    };
    struct memprof_dump_class mapped = {
        .kind = MEMPROF_CLASS_MAPPED,
        .pages = census->huge_blocks,
        .live_objects = census->huge_blocks,
        .live_bytes = census->huge_bytes,
    };
    if (leaks) {
        add_leaks(&large, &leaks->large);
        add_leaks(&mapped, &leaks->mapped);
    }
    mp_writer_add(&large, sizeof large);
    mp_writer_add(&mapped, sizeof mapped);
}

static void fill_in(struct memprof_dump_process *process, const struct mp_census *census,
                    long pid) {
    static struct mp_stats stats; /* stacks may be small */
    struct mp_sampler_counts counts;
    mp_sampler_get_counts(&counts);
    mp_stats_get(&stats);
    process->threads = (uint32_t)stats.threads;
    process->samples_taken = counts.taken;
    process->samples_dropped = counts.dropped;
    process->live_bytes = census->live_bytes;
    process->live_objects = census->live_blocks;
    process->allocated_objects = stats.allocated_blocks;
    process->cached_bytes = stats.cached_max_bytes;
    process->fragmented_bytes = 0;
    for (unsigned c = 0; c < MP_CLASSES; c++)
        process->fragmented_bytes += census->classes[c].free * mp_class_size(c);
    process->purgeable_bytes = stats.purgeable_bytes;
    process->metadata_bytes = stats.metadata_bytes;
    process->profile_bytes = mp_record_bytes();
    process->rss_bytes = mp_maps_resident(pid);
    uint64_t now_ns = mp_sys_now_ns(), peak_ns;
    process->peak_bytes = (uint64_t)((double)mp_peak_height(&peak_ns) / MP_BYTES_ONE);
    process->regions_missed = mp_regions_missed();
    process->peak_age_ns = peak_ns && now_ns > peak_ns ? now_ns - peak_ns : 0;
}

/* ---- nodes ---- */

#define OS_PAGE 4096u

enum { ON_HEAP, ON_BLOCK, ON_OTHER, ON_KINDS };

static struct {
    uint64_t resident[MP_NUMA_NUMBERS][ON_KINDS];
    uint64_t misplaced[MP_NUMA_NUMBERS];
} placed;

/* The range's own mappings hold nothing else; blocks with a mapping of their own may have merged
 * with the program's. */
static bool is_in_heap(uintptr_t address) {
    for (uint32_t r = 0; r < mp_range_count; r++) {
        uintptr_t slice = (address - mp_ranges[r].base) >> MP_SLICE_SHIFT;
        if (slice >= mp_ranges[r].first && slice < mp_ranges[r].limit)
            return true;
    }
    return false;
}

static void place(const struct mp_placed *found, void *blocks_by_mapping) {
    const bool *by_mapping = blocks_by_mapping;
    bool heap = is_in_heap(found->start);
    bool block = *by_mapping && !heap && mp_huge_peek_overlap(found->start, found->end);
    if (found->node >= MP_NUMA_NUMBERS)
        return;
    placed.resident[found->node][heap ? ON_HEAP : block ? ON_BLOCK : ON_OTHER] += found->bytes;
    if (heap && found->preferred < MP_NUMA_NUMBERS && found->preferred != found->node)
        placed.misplaced[found->preferred] += found->bytes;
}

#define ASK 512u /* pages at a time */

/* Page by page; what is there has been counted as something else. */
static void place_block(uintptr_t start, size_t size) {
    static uintptr_t pages[ASK]; /* the copy runs on whatever stack there was */
    static int nodes[ASK];
    for (size_t at = 0; at < size; at += ASK * OS_PAGE) {
        size_t count = (size - at + OS_PAGE - 1) / OS_PAGE;
        count = count < ASK ? count : ASK;
        for (size_t i = 0; i < count; i++)
            pages[i] = start + at + i * OS_PAGE;
        if (mp_sys_where(count, pages, nodes) != 0)
            return;
        for (size_t i = 0; i < count; i++) {
            if (nodes[i] < 0 || (unsigned)nodes[i] >= MP_NUMA_NUMBERS)
                continue;
            uint64_t *resident = placed.resident[nodes[i]];
            uint64_t moved = resident[ON_OTHER] < OS_PAGE ? resident[ON_OTHER] : OS_PAGE;
            resident[ON_OTHER] -= moved;
            resident[ON_BLOCK] += OS_PAGE;
        }
    }
}

/* Pages of blocks are asked for one by one unless a filter might end the copy for it: then the
 * whole of a mapping counts as a block's. */
static void place_all(void) {
    bool filtered = mp_numa_is_filtered("");
    mp_maps_each_placed(place, &filtered);
    if (!filtered)
        mp_huge_peek_each(place_block);
}

/* What the heap knows of the node's part of it; false: there is no such part. */
static bool fill_in_node(struct memprof_dump_node *record, const struct mp_census *census) {
    for (unsigned node = 0; node < mp_numa_count(); node++) {
        struct mp_pool_stats pool;
        if (mp_numa_number(node) != record->node)
            continue;
        mp_pool_get_stats(node, &pool);
        record->flags |= MEMPROF_NODE_HOME;
        record->live_bytes = census->nodes[node].live_bytes;
        record->live_objects = census->nodes[node].live_blocks;
        record->misplaced_bytes =
            mp_numa_has_seed(node) ? placed.misplaced[record->node] : MEMPROF_NODE_UNKNOWN;
        record->remote_freed_bytes = pool.remote_bytes;
        record->remote_frees = pool.remote_blocks;
        return true;
    }
    return false;
}

static void write_nodes(const struct mp_census *census) {
    place_all();
    for (uint32_t number = 0; number < MP_NUMA_NUMBERS; number++) {
        const uint64_t *resident = placed.resident[number];
        struct memprof_dump_node record = {
            .node = number,
            .heap_bytes = resident[ON_HEAP],
            .block_bytes = resident[ON_BLOCK],
            .other_bytes = resident[ON_OTHER],
        };
        bool home = mp_numa_count() > 1 && fill_in_node(&record, census);
        if (home || mp_numa_has_memory(number) ||
            resident[ON_HEAP] + resident[ON_BLOCK] + resident[ON_OTHER] > 0)
            mp_writer_add(&record, sizeof record);
    }
}

static void write_frees(const struct mp_stack *stack, void *unused) {
    (void)unused;
    for (const struct mp_stack_free *free = stack->frees; free; free = free->next) {
        const struct memprof_dump_free record = {
            .stack = stack->number,
            .node = (uint16_t)free->kind,
            .on = (uint16_t)(free->kind >> 16),
            .lifetime = (uint8_t)(free->kind >> 32),
            .flags = (uint8_t)(free->kind >> 40),
            .samples = free->sums->samples,
            .objects = (double)free->sums->objects / MP_OBJECTS_ONE,
            .bytes = (double)free->sums->bytes / MP_BYTES_ONE,
        };
        mp_writer_add(&record, sizeof record);
    }
}

/* ---- regions ---- */

#define PAGES_MOST ((uint64_t)1 << 18) /* that are looked at one by one */

/* The kernel's mapping that is looked at, and what of the process's pages tells. */
static struct {
    const struct memprof_dump_map *map;
    int pagemap; /* a descriptor, negative: none */
    uint64_t now_ns;
} reconciled;

/* Resident bytes of a part of the mapping: other mappings of the program's may be in it, which the
 * kernel has joined. */
static uint64_t resident_of(uint64_t start, uint64_t end) {
    static uint64_t entries[512];
    const struct memprof_dump_map *map = reconciled.map;
    uint64_t pages = (end - start) / OS_PAGE, present = 0;
    if (map->rss_bytes == 0 || (start == map->start && end == map->end))
        return map->rss_bytes;
    if (reconciled.pagemap < 0 || pages > PAGES_MOST)
        return MEMPROF_REGION_UNKNOWN;
    for (uint64_t done = 0; done < pages;) {
        uint64_t some = pages - done < 512 ? pages - done : 512;
        long n = mp_sys_pread(reconciled.pagemap, entries, some * sizeof *entries,
                              (int64_t)((start / OS_PAGE + done) * sizeof *entries));
        if (n != (long)(some * sizeof *entries))
            return MEMPROF_REGION_UNKNOWN;
        for (uint64_t i = 0; i < some; i++)
            present += entries[i] >> 63; /* the bit that says so */
        done += some;
    }
    return present * OS_PAGE;
}

static void write_region(const struct mp_region *region, void *unused) {
    const struct memprof_dump_map *map = reconciled.map;
    uint64_t start = region->start > map->start ? region->start : map->start;
    uint64_t end = region->end < map->end ? region->end : map->end;
    (void)unused;
    if (start >= end)
        return;
    const struct memprof_dump_region record = {
        .start = start,
        .end = end,
        .rss_bytes = resident_of(start, end),
        .age_ns = reconciled.now_ns > region->born_ns ? reconciled.now_ns - region->born_ns : 0,
        .stack = mp_stacks_get(region->stack)->number,
        .thread = region->thread,
        .kind = is_thread_stack(start, end) ? MEMPROF_REGION_STACK : region->kind,
        .access = region->access,
    };
    mp_writer_add(&record, sizeof record);
}

static void write_regions_of(struct memprof_dump_map *map, const char *path, void *unused) {
    (void)path;
    (void)unused;
    reconciled.map = map;
    mp_regions_each_in(map->start, map->end, write_region, NULL);
}

/* What there is no mapping of any more is left out: it went by a way that we do not see. */
static void write_regions(long pid) {
    reconciled.now_ns = mp_sys_precise_ns();
    reconciled.pagemap = (int)mp_maps_open(pid, "pagemap");
    if (!written.at)
        mp_maps_each(pid, write_regions_of, NULL);
    else
        for (uint32_t i = 0; i < written.count; i++)
            write_regions_of(&written.at[i], NULL, NULL);
    mp_record_free(written.at, written.room * sizeof *written.at);
    written.at = NULL;
    if (reconciled.pagemap >= 0)
        mp_sys_close(reconciled.pagemap);
}

static void write_leaks(const struct mp_contents_leaks *leaks) {
    const struct mp_leaks_sums *all = &leaks->found->all;
    const struct memprof_dump_leaks record = {
        .world = leaks->world,
        .threads = leaks->threads,
        .threads_missed = leaks->threads_missed,
        .pause_ns = leaks->pause_ns,
        .scan_ns = leaks->found->scan_ns,
        .root_bytes = leaks->found->roots.bytes,
        .leaked_objects = all->objects[MP_LEAKED],
        .leaked_bytes = all->bytes[MP_LEAKED],
        .indirect_objects = all->objects[MP_LEAKED_INDIRECTLY],
        .indirect_bytes = all->bytes[MP_LEAKED_INDIRECTLY],
        .reachable_objects = all->objects[MP_REACHABLE],
        .reachable_bytes = all->bytes[MP_REACHABLE],
    };
    mp_writer_add(&record, sizeof record);
}

static void write_point(const struct memprof_dump_point *point) {
    mp_writer_add(point, sizeof *point);
}

#define WRITE(kind, type, body)                                                                    \
    do {                                                                                           \
        mp_writer_begin(kind, sizeof(type));                                                       \
        body;                                                                                      \
        mp_writer_end();                                                                           \
    } while (0)

uint32_t mp_contents_sections(bool leaks) {
    return 11 + mp_numa_is_several() + leaks;
}

void mp_contents_write(struct memprof_dump_process *process, long pid,
                       const struct mp_contents_leaks *leaks) {
    static struct mp_census made;
    const struct mp_census *census = leaks ? &leaks->found->census : &made;
    uint64_t frame = 0;
    struct samples samples = {mp_sys_precise_ns(), leaks ? leaks->found : NULL};
    if (!leaks)
        mp_census(&made);
    fill_in(process, census, pid);
    WRITE(MEMPROF_DUMP_PROCESS, struct memprof_dump_process,
          mp_writer_add(process, sizeof *process));
    WRITE(MEMPROF_DUMP_MODULES, struct memprof_dump_module, write_modules());
    WRITE(MEMPROF_DUMP_FRAMES, uint64_t, mp_stacks_each(write_frames, NULL));
    WRITE(MEMPROF_DUMP_STACKS, struct memprof_dump_stack, mp_stacks_each(write_stack, &frame));
    WRITE(MEMPROF_DUMP_SAMPLES, struct memprof_dump_sample, mp_live_each(write_sample, &samples));
    WRITE(MEMPROF_DUMP_CLASSES, struct memprof_dump_class, write_classes(census, samples.leaks));
    WRITE(MEMPROF_DUMP_MAPS, struct memprof_dump_map, write_maps(pid));
    WRITE(MEMPROF_DUMP_FREES, struct memprof_dump_free, mp_stacks_each(write_frees, NULL));
    WRITE(MEMPROF_DUMP_REGIONS, struct memprof_dump_region, write_regions(pid));
    WRITE(MEMPROF_DUMP_SERIES, struct memprof_dump_point, mp_series_each(write_point));
    if (mp_numa_is_several())
        WRITE(MEMPROF_DUMP_NODES, struct memprof_dump_node, write_nodes(census));
    if (leaks)
        WRITE(MEMPROF_DUMP_LEAKS, struct memprof_dump_leaks, write_leaks(leaks));
}
