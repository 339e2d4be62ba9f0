#include "v1.h"

#include <stdbool.h>

#include <memprof/dump.h>

#include "build_dump.h"

/* What records were at first. */
#define PROCESS_V1   184u
#define STACK_V1     64u
#define SAMPLE_V1    56u
#define CLASS_V1     56u
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A frame as dump.h packs it; `module` counts from 1, 0: in none. */
#define FRAME(exact, module, address)                                                              \
    ((uint64_t)(exact) << 63 | (uint64_t)(module) << 48 | (uint64_t)(address))

static uint8_t *golden(bool nodes, size_t *size) {
    struct build_texts texts = {0};
    const struct memprof_dump_process process = {
        .time_ns = 1700000060000000000,
        .start_time_ns = 1700000000000000000,
        .uptime_ns = 60000000123,
        .pid = 4242,
        .parent_pid = 4200,
        .uid = 1000,
        .dump_number = 2,
        .exe = build_text(&texts, "/usr/bin/leaky"),
        .command = build_text(&texts, "leaky --port 80"),
        .host = build_text(&texts, "host.example"),
        .library = build_text(&texts, "0.1.0"),
        .rate = 524288,
        .seed = 0x123456789abcdef0,
        .unwinder = MEMPROF_UNWIND_LIBUNWIND,
        .depth = 64,
        .page_size = 4096,
        .threads = 3,
        .samples_taken = 25,
        .samples_dropped = 1,
        .pause_ns = 1500000,
        .live_bytes = 3145808,
        .live_objects = 1500,
        .allocated_objects = 90000,
        .cached_bytes = 65536,
        .fragmented_bytes = 98304,
        .purgeable_bytes = 131072,
        .metadata_bytes = 262144,
        .profile_bytes = 196608,
        .rss_bytes = 7340032,
        .peak_bytes = 9437184,
        .peak_age_ns = 20000000000,
        .regions_missed = 1,
    };
    const struct memprof_dump_module modules[] = {
        {
            .start = 0x555555554000,
            .end = 0x555555560000,
            .bias = 0x555555554000,
            .path = build_text(&texts, "/usr/bin/leaky"),
            .build_id_size = 20,
            .build_id = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x10, 0x32,
                         0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0xde, 0xad, 0xbe, 0xef},
        },
        {
            /* It has no build-id. */
            .start = 0x7ffff7a00000,
            .end = 0x7ffff7c00000,
            .bias = 0x7ffff7a00000,
            .path = build_text(&texts, "/lib/libc.so.6"),
        },
        {
            .start = 0x7ffff7900000,
            .end = 0x7ffff7910000,
            .bias = 0x7ffff78ff000,
            .path = build_text(&texts, "/opt/plugin.so"),
            .flags = MEMPROF_MODULE_GONE,
            .build_id_size = 8,
            .build_id = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7},
        },
    };
    const uint64_t frames[] = {
        /* stack 0 */
        FRAME(0, 1, 0x555555555123),
        FRAME(0, 1, 0x555555555456),
        FRAME(0, 2, 0x7ffff7a23d0a),
        /* stack 1: its caller was interrupted by a signal; code of no module is last */
        FRAME(0, 3, 0x7ffff7900777),
        FRAME(1, 1, 0x555555555789),
        FRAME(0, 0, 0x7ffff0001000),
        /* stack 2 */
        FRAME(0, 1, 0x555555555abc),
    };
    const struct memprof_dump_stack stacks[] = {
        {
            .frame = 0,
            .depth = 3,
            .allocated_samples = 20,
            .freed_samples = 18,
            .allocated_objects = 80.5,
            .allocated_bytes = 5242880.25,
            .freed_objects = 72,
            .freed_bytes = 4194304,
            .peak_objects = 40,
            .peak_bytes = 3145728,
        },
        {
            .frame = 3,
            .depth = 3,
            .flags = MEMPROF_STACK_CUT,
            .allocated_samples = 4,
            .freed_samples = 4,
            .allocated_objects = 4,
            .allocated_bytes = 4194304,
            .freed_objects = 4,
            .freed_bytes = 4194304,
            .peak_objects = 4,
            .peak_bytes = 4194304,
        },
        {
            .frame = 6,
            .depth = 1,
            .flags = MEMPROF_STACK_BROKEN,
            .allocated_samples = 1,
            .allocated_objects = 5461.83,
            .allocated_bytes = 546183,
        },
    };
    const struct memprof_dump_sample samples[] = {
        {
            .serial = 7,
            .address = 0x100000010000,
            .size = 100000,
            .coin = 131072,
            .rate = 524288,
            .age_ns = 30000000000,
            .stack = 0,
            .thread = 4242,
        },
        {
            .serial = 24,
            .address = 0x100000400000,
            .size = 1048576,
            .coin = 1048576,
            .rate = 1,
            .age_ns = 1000,
            .stack = 0,
            .thread = 4243,
            .node = 2,
            .resizes = 3,
        },
        {
            .serial = 25,
            .address = 0x100000020040,
            .size = 90,
            .coin = 96,
            .rate = 524288,
            .age_ns = 0,
            .stack = 2,
            .thread = 4244,
        },
    };
    const struct memprof_dump_class classes[] = {
        {
            .size = 96,
            .kind = MEMPROF_CLASS_SIZED,
            .pages = 3,
            .live_objects = 1498,
            .live_bytes = 143808,
            .free_objects = 548,
            .stranded_bytes = 52608,
            .leaked_objects = 20,
            .leaked_bytes = 1920,
            .indirect_objects = 7,
            .indirect_bytes = 672,
        },
        {
            .kind = MEMPROF_CLASS_LARGE,
            .pages = 1,
            .live_objects = 1,
            .live_bytes = 131072,
        },
        {
            .kind = MEMPROF_CLASS_MAPPED,
            .live_objects = 1,
            .live_bytes = 1048576,
        },
    };
    const struct memprof_dump_map maps[] = {
        {
            .start = 0x100000000000,
            .end = 0x100000800000,
            .rss_bytes = 3145728,
            .dirty_bytes = 3145728,
            .swap_bytes = 4096,
            .kind = MEMPROF_MAP_HEAP,
            .access = MEMPROF_MAP_READ | MEMPROF_MAP_WRITE,
        },
        {
            .start = 0x555555555000,
            .end = 0x555555556000,
            .file_offset = 0x1000,
            .rss_bytes = 4096,
            .path = build_text(&texts, "/usr/bin/leaky"),
            .kind = MEMPROF_MAP_FILE,
            .access = MEMPROF_MAP_READ | MEMPROF_MAP_EXEC,
        },
        {
            .start = 0x7ffffffde000,
            .end = 0x7ffffffff000,
            .rss_bytes = 16384,
            .dirty_bytes = 16384,
            .path = build_text(&texts, "[stack]"),
            .kind = MEMPROF_MAP_STACK,
            .access = MEMPROF_MAP_READ | MEMPROF_MAP_WRITE,
        },
    };
    const struct memprof_dump_node numa_nodes[] = {
        {
            .node = 0,
            .flags = MEMPROF_NODE_HOME,
            .heap_bytes = 2097152,
            .block_bytes = 1048576,
            .other_bytes = 4096,
            .live_bytes = 1048576,
            .live_objects = 1000,
            .misplaced_bytes = 8192,
            .remote_freed_bytes = 65536,
            .remote_frees = 64,
        },
        {
            .node = 2,
            .flags = MEMPROF_NODE_HOME,
            .heap_bytes = 1048576,
            .live_bytes = 524288,
            .live_objects = 499,
            .misplaced_bytes = MEMPROF_NODE_UNKNOWN,
        },
        {
            .node = 3,
            .other_bytes = 16384,
        },
    };
    const struct memprof_dump_free frees[] = {
        {
            .stack = 0,
            .lifetime = 10,
            .samples = 10,
            .objects = 40,
            .bytes = 2097152,
        },
        {
            .stack = 0,
            .on = 2,
            .lifetime = 30,
            .flags = MEMPROF_FREE_ELSEWHERE,
            .samples = 8,
            .objects = 32,
            .bytes = 2097152,
        },
        {
            .stack = 1,
            .node = 2,
            .lifetime = 0,
            .flags = MEMPROF_FREE_RESIZED,
            .samples = 4,
            .objects = 4,
            .bytes = 4194304,
        },
    };
    const struct memprof_dump_point points[] = {
        {
            .time_ns = 1700000000000000000,
            .uptime_ns = 1000000000,
            .live_bytes = 1048576,
            .live_objects = 700,
            .cached_bytes = 4096,
            .heap_bytes = 2097152,
            .allocated_objects = 1000,
        },
        {
            .time_ns = 1700000010000000000,
            .uptime_ns = 11000000000,
            .live_bytes = 3145808,
            .live_objects = 1500,
            .cached_bytes = 65536,
            .heap_bytes = 4194304,
            .allocated_objects = 90000,
        },
    };
    const struct memprof_dump_region regions[] = {
        {
            .start = 0x7ffff0000000,
            .end = 0x7ffff0100000,
            .rss_bytes = 65536,
            .age_ns = 50000000000,
            .stack = 1,
            .thread = 1,
            .kind = MEMPROF_REGION_ANONYMOUS,
            .access = MEMPROF_MAP_READ | MEMPROF_MAP_WRITE,
        },
        {
            .start = 0x7ffff0200000,
            .end = 0x7ffff0201000,
            .rss_bytes = MEMPROF_REGION_UNKNOWN,
            .age_ns = 1000000000,
            .stack = 2,
            .thread = 2,
            .kind = MEMPROF_REGION_SHARED_FILE,
            .access = MEMPROF_MAP_READ | MEMPROF_MAP_SHARED,
        },
    };
    const struct memprof_dump_leaks leaks = {
        .world = MEMPROF_WORLD_SIGNAL,
        .threads = 5,
        .threads_missed = 1,
        .pause_ns = 1234567,
        .scan_ns = 98765432,
        .root_bytes = 400000,
        .leaked_objects = 20,
        .leaked_bytes = 1920,
        .indirect_objects = 7,
        .indirect_bytes = 672,
        .reachable_objects = 1473,
        .reachable_bytes = 1320864,
    };
    const struct build_section sections[] = {
        {MEMPROF_DUMP_PROCESS, sizeof process, 1, &process, nodes ? 0 : PROCESS_V1},
        build_texts_section(&texts),
        {MEMPROF_DUMP_MODULES, sizeof *modules, COUNT(modules), modules, 0},
        {MEMPROF_DUMP_FRAMES, sizeof *frames, COUNT(frames), frames, 0},
        {MEMPROF_DUMP_STACKS, sizeof *stacks, COUNT(stacks), stacks, nodes ? 0 : STACK_V1},
        {MEMPROF_DUMP_SAMPLES, sizeof *samples, COUNT(samples), samples, nodes ? 0 : SAMPLE_V1},
        {MEMPROF_DUMP_CLASSES, sizeof *classes, COUNT(classes), classes, nodes ? 0 : CLASS_V1},
        {MEMPROF_DUMP_MAPS, sizeof *maps, COUNT(maps), maps, 0},
        {MEMPROF_DUMP_NODES, sizeof *numa_nodes, COUNT(numa_nodes), numa_nodes, 0},
        {MEMPROF_DUMP_FREES, sizeof *frees, COUNT(frees), frees, 0},
        {MEMPROF_DUMP_SERIES, sizeof *points, COUNT(points), points, 0},
        {MEMPROF_DUMP_REGIONS, sizeof *regions, COUNT(regions), regions, 0},
        {MEMPROF_DUMP_LEAKS, sizeof leaks, 1, &leaks, 0},
    };
    return build_dump(sections, nodes ? COUNT(sections) : MEMPROF_DUMP_MAPS, NULL, size);
}

uint8_t *golden_v1(size_t *size) {
    return golden(false, size);
}

uint8_t *golden_v1_nodes(size_t *size) {
    return golden(true, size);
}
