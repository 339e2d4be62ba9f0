/* The bytes of a memprof dump: what the library writes and the tools read, and all that the two
 * have in common. docs/format.md says it in words.
 *
 *   +--------+---------------+-----------+-----------+-- ... --+
 *   | header | section table | section 0 | section 1 |         |
 *   +--------+---------------+-----------+-----------+-- ... --+
 *
 * Little-endian; every record and section begins at a multiple of 8. Sections follow each other
 * without gaps, in the order of the table; the last ends with the file. Unused and padding bytes
 * are zero. Every byte is under a checksum: the header's covers header and table, each section has
 * its own.
 *
 * How it grows: a new section kind is skipped by readers that do not know it; a record grows at
 * its end, and `record_size` tells by how much. `version` changes only if neither will do. */
#ifndef MEMPROF_DUMP_H
#define MEMPROF_DUMP_H

#include <stdint.h>

#define MEMPROF_DUMP_MAGIC   "memprof\x1a" /* 8 bytes, no NUL */
#define MEMPROF_DUMP_VERSION 1u

struct memprof_dump_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t header_size;   /* of this struct: where the section table begins */
    uint32_t section_count; /* 1 .. MEMPROF_DUMP_SECTIONS_MAX */
    uint32_t section_size;  /* of a section table's entry */
    uint64_t file_size;
    uint32_t reserved;
    uint32_t checksum; /* CRC-32 (IEEE, as zlib's) of header and table, this field taken as zero */
};

#define MEMPROF_DUMP_SECTIONS_MAX 64u

struct memprof_dump_section {
    uint32_t kind;        /* enum memprof_dump_kind */
    uint32_t record_size; /* bytes; 1 for STRINGS */
    uint64_t offset;      /* from the file's start */
    uint64_t count;       /* records */
    uint64_t size;        /* bytes: count * record_size, padded with zeroes to a multiple of 8 */
    uint32_t checksum;    /* CRC-32 of those bytes */
    uint32_t reserved;
};

/* Each kind stands at most once. The first eight are in every dump, if perhaps empty. */
enum memprof_dump_kind {
    MEMPROF_DUMP_PROCESS = 1,  /* one struct memprof_dump_process */
    MEMPROF_DUMP_STRINGS = 2,  /* bytes: NUL-terminated texts; at 0 the empty one */
    MEMPROF_DUMP_MODULES = 3,  /* struct memprof_dump_module */
    MEMPROF_DUMP_FRAMES = 4,   /* uint64_t, see below */
    MEMPROF_DUMP_STACKS = 5,   /* struct memprof_dump_stack */
    MEMPROF_DUMP_SAMPLES = 6,  /* struct memprof_dump_sample: those that are live */
    MEMPROF_DUMP_CLASSES = 7,  /* struct memprof_dump_class */
    MEMPROF_DUMP_MAPS = 8,     /* struct memprof_dump_map */
    MEMPROF_DUMP_NODES = 9,    /* struct memprof_dump_node; where there are several */
    MEMPROF_DUMP_FREES = 10,   /* struct memprof_dump_free */
    MEMPROF_DUMP_SERIES = 11,  /* struct memprof_dump_point: how the heap came to this */
    MEMPROF_DUMP_REGIONS = 12, /* struct memprof_dump_region: what the program has mapped itself */
    MEMPROF_DUMP_LEAKS = 13,   /* one struct memprof_dump_leaks, where they were looked for */
};

/* A text is named by its offset in STRINGS. */

enum memprof_dump_unwinder {
    MEMPROF_UNWIND_NONE = 0,
    MEMPROF_UNWIND_CFI = 1,
    MEMPROF_UNWIND_FP = 2,
    MEMPROF_UNWIND_LIBUNWIND = 3,
};

struct memprof_dump_process {
    uint64_t time_ns;       /* when the copy was made; since 1970 */
    uint64_t start_time_ns; /* when the library was loaded; since 1970 */
    uint64_t uptime_ns;     /* between the two by the monotonic clock */
    uint32_t pid;
    uint32_t parent_pid;
    uint32_t uid;
    uint32_t dump_number; /* of this process, from 1 */
    uint32_t exe;         /* text: path of the program */
    uint32_t command;     /* text: arguments, separated by spaces */
    uint32_t host;        /* text */
    uint32_t library;     /* text: memprof's version */
    uint64_t rate;        /* mean bytes between samples; 1: all; 0: none are taken */
    uint64_t seed;
    uint32_t unwinder; /* enum memprof_dump_unwinder */
    uint32_t depth;    /* frames kept of a stack at most */
    uint32_t page_size;
    uint32_t threads; /* that have a heap */

    uint64_t samples_taken;   /* ever */
    uint64_t samples_dropped; /* due and not recorded, for want of memory */
    uint64_t pause_ns;        /* how long the last dump's copy held the threads up; 0: none yet */

    /* The heap, counted in the copy block by block. */
    uint64_t live_bytes; /* of blocks as rounded up to their classes */
    uint64_t live_objects;
    uint64_t allocated_objects; /* ever; may count what threads keep at hand */
    uint64_t cached_bytes;      /* free blocks at the threads' hands, at most */
    uint64_t fragmented_bytes; /* free blocks in pages where others are live, the cached included */
    uint64_t purgeable_bytes;  /* free pages that have not gone back to the system */
    uint64_t metadata_bytes;   /* the heap's own structures */
    uint64_t profile_bytes;    /* the profiler's own structures */

    uint64_t rss_bytes; /* of the process, as the kernel counts */

    uint64_t peak_bytes;  /* estimate of what was live, as requested, when that was most */
    uint64_t peak_age_ns; /* since then */

    uint64_t regions_missed; /* calls of mmap and its kin that are not in REGIONS */
};

struct memprof_dump_module {
    uint64_t start, end;    /* addresses it occupies or occupied */
    uint64_t bias;          /* address minus the file's virtual address */
    uint32_t path;          /* text */
    uint32_t flags;         /* MEMPROF_MODULE_* */
    uint32_t build_id_size; /* bytes; 0: it has none */
    uint8_t build_id[36];   /* cut if it is longer */
};

#define MEMPROF_MODULE_GONE 1u /* no longer loaded when the dump was made */

/* A frame: an address in its low 48 bits; above, in 15 bits, its module's index plus one, or 0 if
 * it lies in none; on top, whether the address is that of an instruction that was interrupted. Else
 * it is a return address: the call ends there. */
#define MEMPROF_FRAME_ADDRESS(frame) ((frame) & (((uint64_t)1 << 48) - 1))
#define MEMPROF_FRAME_MODULE(frame)  ((uint32_t)((frame) >> 48) & 0x7fff)
#define MEMPROF_FRAME_EXACT(frame)   ((uint32_t)((frame) >> 63))

/* A stack that allocated, and what its samples add up to since the start: estimates, each sample
 * counted with its weight. realloc counts as a free and an allocation. */
struct memprof_dump_stack {
    uint64_t frame; /* index of its first frame, the innermost: that of the call of malloc */
    uint32_t depth; /* frames */
    uint32_t flags; /* MEMPROF_STACK_* */
    uint64_t allocated_samples;
    uint64_t freed_samples;
    double allocated_objects;
    double allocated_bytes; /* as requested */
    double freed_objects;
    double freed_bytes;
    double peak_objects; /* live when the heap was at its highest, by the estimate */
    double peak_bytes;
};

#define MEMPROF_STACK_CUT    1u /* deeper than what is kept */
#define MEMPROF_STACK_BROKEN 2u /* its end could not be reached: code without unwind data */

/* A block that was sampled and is live. It stands for `weight` blocks like it:
 * 1 if rate is 1, else 1 / (1 - exp(-coin / rate)). */
struct memprof_dump_sample {
    uint64_t serial;  /* of this sample in its process: names it in every later dump too */
    uint64_t address; /* of the block */
    uint64_t size;    /* bytes as requested */
    uint64_t coin;   /* bytes that its chance was computed from: its class's size, or whole pages */
    uint64_t rate;   /* mean bytes between samples when it was drawn */
    uint64_t age_ns; /* since it was allocated */
    uint32_t stack;  /* index */
    uint32_t thread; /* the one that allocated it: they are numbered as they come, from 1 */
    uint32_t node;   /* kernel's number of the one whose memory it is */
    uint16_t resizes; /* how often it was resized before, each time a block of its own */
    uint16_t flags;   /* MEMPROF_SAMPLE_* */
};

#define MEMPROF_SAMPLE_LARGE    1u /* in none of the size classes, whatever its coin */
#define MEMPROF_SAMPLE_LEAKED   2u /* nothing leads to it, but perhaps what it leads to itself */
#define MEMPROF_SAMPLE_INDIRECT 4u /* only leaked blocks lead to it */

enum memprof_dump_class_kind {
    MEMPROF_CLASS_SIZED = 0,  /* blocks of `size` bytes in pages */
    MEMPROF_CLASS_LARGE = 1,  /* blocks that are a span of slices each */
    MEMPROF_CLASS_MAPPED = 2, /* blocks with a mapping of their own */
};

struct memprof_dump_class {
    uint64_t size; /* bytes of a block; 0 for LARGE and MAPPED, where sizes differ */
    uint32_t kind; /* enum memprof_dump_class_kind */
    uint32_t reserved;
    uint64_t pages;
    uint64_t live_objects;
    uint64_t live_bytes;
    uint64_t free_objects;   /* made and free */
    uint64_t stranded_bytes; /* of free blocks in pages where others are live */
    uint64_t leaked_objects; /* of the live ones, where LEAKS is there, else 0 */
    uint64_t leaked_bytes;
    uint64_t indirect_objects;
    uint64_t indirect_bytes;
};

enum memprof_dump_map_kind {
    MEMPROF_MAP_OTHER = 0,    /* anonymous memory of the program's */
    MEMPROF_MAP_FILE = 1,     /* a file, code included */
    MEMPROF_MAP_HEAP = 2,     /* pages and spans of the heap */
    MEMPROF_MAP_BLOCK = 3,    /* blocks with a mapping of their own */
    MEMPROF_MAP_METADATA = 4, /* the heap's and the profiler's structures */
    MEMPROF_MAP_STACK = 5,    /* the main thread's stack, or a thread's that was seen */
    MEMPROF_MAP_BRK = 6,      /* what the kernel calls [heap]: not this heap */
    MEMPROF_MAP_SPECIAL = 7,  /* [vdso] and the like */
};

#define MEMPROF_MAP_READ   1u
#define MEMPROF_MAP_WRITE  2u
#define MEMPROF_MAP_EXEC   4u
#define MEMPROF_MAP_SHARED 8u
/* Pointers that are there alone were not seen: a copy of the process does not have these pages. */
#define MEMPROF_MAP_UNSEEN 16u
/* It may be made writable, or has been it: of a file that is open for writing, or private. */
#define MEMPROF_MAP_MAY_WRITE 32u

struct memprof_dump_map {
    uint64_t start, end;
    uint64_t file_offset;
    uint64_t rss_bytes;
    uint64_t dirty_bytes; /* of these, private and written to */
    uint64_t swap_bytes;
    uint32_t path; /* text */
    uint16_t kind; /* enum memprof_dump_map_kind */
    uint16_t access;
};

/* A NUMA node that has memory, or some of the process's. What is resident is the kernel's count of
 * pages when the dump was made. A heap with memory of each node apart (see HOME) knows which part
 * of it is a node's; the last five are of that. */
struct memprof_dump_node {
    uint32_t node;        /* the kernel's number */
    uint32_t flags;       /* MEMPROF_NODE_* */
    uint64_t heap_bytes;  /* on this node: pages and spans of the heap */
    uint64_t block_bytes; /* ... blocks with a mapping of their own */
    uint64_t other_bytes; /* ... all else that the process has mapped */
    uint64_t live_bytes;  /* in live blocks, as rounded up to their classes, wherever it lies */
    uint64_t live_objects;
    uint64_t misplaced_bytes; /* resident on other nodes; MEMPROF_NODE_UNKNOWN: that is not known */
    uint64_t remote_freed_bytes; /* ever, of blocks, by threads that ran on other nodes then */
    uint64_t remote_frees;       /* these blocks */
};

#define MEMPROF_NODE_HOME    1u /* threads that run there have memory of their own */
#define MEMPROF_NODE_UNKNOWN UINT64_MAX

/* Of the blocks of a stack that were freed, those that were alike: estimates, as in STACKS. */
struct memprof_dump_free {
    uint32_t stack;   /* index */
    uint16_t node;    /* the kernel's number of the one whose memory it was */
    uint16_t on;      /* and of the one where the thread ran that freed them */
    uint8_t lifetime; /* bits of the nanoseconds that they lived: n: 2^(n-1) to 2^n - 1; 0: none */
    uint8_t flags;    /* MEMPROF_FREE_* */
    uint16_t reserved;
    uint32_t reserved2;
    uint64_t samples;
    double objects;
    double bytes; /* as requested */
};

#define MEMPROF_FREE_ELSEWHERE 1u /* by another thread than the one that allocated them */
#define MEMPROF_FREE_RESIZED   2u /* by realloc: the memory went on as another block */

/* What the heap held at some time: by its running counts, so up to `cached_bytes` of what is live
 * may have been free blocks at threads' hands. A point a second at most, in a long run fewer; in
 * the order of time. */
struct memprof_dump_point {
    uint64_t time_ns; /* since 1970 */
    uint64_t uptime_ns;
    uint64_t live_bytes;
    uint64_t live_objects;
    uint64_t cached_bytes;
    uint64_t
        heap_bytes; /* pages and spans with live blocks, and blocks with mappings of their own */
    uint64_t allocated_objects; /* ever */
};

enum memprof_dump_region_kind {
    MEMPROF_REGION_ANONYMOUS = 0,
    MEMPROF_REGION_FILE = 1,        /* a file's pages, its own when written to */
    MEMPROF_REGION_SHARED = 2,      /* with children of fork */
    MEMPROF_REGION_SHARED_FILE = 3, /* or POSIX shared memory */
    MEMPROF_REGION_STACK = 4,       /* in use as a thread's stack */
};

/* What the program has mapped by mmap or mremap, and the kernel says is there. In the order of
 * addresses. */
struct memprof_dump_region {
    uint64_t start, end;
    uint64_t rss_bytes; /* of these pages; MEMPROF_REGION_UNKNOWN: not known */
    uint64_t age_ns;    /* since it was mapped, or moved or resized */
    uint32_t stack;     /* index: by which */
    uint32_t thread;    /* as in SAMPLES */
    uint16_t kind;      /* enum memprof_dump_region_kind */
    uint16_t access;    /* MEMPROF_MAP_*, as it was mapped */
    uint32_t reserved;
};

#define MEMPROF_REGION_UNKNOWN UINT64_MAX

enum memprof_dump_world {
    MEMPROF_WORLD_PTRACE = 1,   /* all threads were stopped by ptrace */
    MEMPROF_WORLD_SIGNAL = 2,   /* ... by a signal that each waited in */
    MEMPROF_WORLD_TWO_SCAN = 3, /* they ran: what two scans say both */
};

/* What no pointer leads to, counted block by block; bytes as rounded up to classes. */
struct memprof_dump_leaks {
    uint32_t world;          /* enum memprof_dump_world */
    uint32_t threads;        /* that there were */
    uint32_t threads_missed; /* of these, not stopped in time: their registers are not known */
    uint32_t reserved;
    uint64_t pause_ns;       /* for which the threads stood still */
    uint64_t scan_ns;        /* that the search took, in the copy */
    uint64_t root_bytes;     /* that were gone through for pointers, outside the heap */
    uint64_t leaked_objects; /* that nothing leads to, but perhaps what they lead to themselves */
    uint64_t leaked_bytes;
    uint64_t indirect_objects; /* that only leaked blocks lead to */
    uint64_t indirect_bytes;
    uint64_t reachable_objects;
    uint64_t reachable_bytes;
};

#endif
