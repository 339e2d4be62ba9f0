/* Writes the dumps that test-memdiff looks at: a made-up process with known figures, whose stacks
 * are real ones, of this very program, so that its names, lines and inlined calls can be held
 * against its source.
 *
 *   make-dumps FOLDER     old.heap, new.heap        one process, one sample per 64 KiB
 *                         exact-old.heap, exact-new.heap    the same, with rate=1
 *                         other.heap                another process of the same program
 *                         none.heap                 rate=0
 *                         gone.heap                 as old.heap; the program's file is missing
 *                         rebuilt.heap              as old.heap; its build-id is another one
 *
 * The process forgets sessions, serves requests evenly, keeps its configuration and drops pages. */
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include <memprof/dump.h>

#include "build_dump.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#ifdef __clang__
#define OUT_OF_LINE __attribute__((noinline))
#else
#define OUT_OF_LINE __attribute__((noipa))
#endif
#define ALWAYS_IN_LINE static inline __attribute__((always_inline))

enum { STACKS = 4, DEPTH = 16, MODULES = 32 };
enum { SESSIONS, REQUESTS, CONFIGURATION, PAGES };

/* ---- stacks ---- */

static uintptr_t stacks[STACKS][DEPTH];
static int depths[STACKS];
static volatile int kept; /* what follows a call, so that it is no tail call */

/* Not backtrace(), which a sanitizer replaces. */
static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *which) {
    int stack = *(int *)which;
    if (depths[stack] < DEPTH && _Unwind_GetIP(context))
        stacks[stack][depths[stack]++] = _Unwind_GetIP(context);
    return _URC_NO_REASON;
}

/* Stands for malloc: the stack begins with the call of this. */
static OUT_OF_LINE void take_stack(int which) {
    _Unwind_Backtrace(add_frame, &which);
    kept = which;
}

static OUT_OF_LINE void remember_session(void) {
    take_stack(SESSIONS); /* line: remember_session */
    kept = 1;
}

ALWAYS_IN_LINE void copy_body(void) {
    take_stack(REQUESTS); /* line: copy_body */
    kept = 2;
}

static OUT_OF_LINE void serve_request(void) {
    copy_body(); /* line: serve_request */
    kept = 3;
}

static OUT_OF_LINE void load_configuration(void) {
    take_stack(CONFIGURATION);
    kept = 4;
}

static OUT_OF_LINE void drop_pages(void) {
    take_stack(PAGES);
    kept = 5;
}

static OUT_OF_LINE void run_service(void) {
    remember_session();
    serve_request();
    load_configuration();
    drop_pages();
    kept = 6;
}

/* ---- modules ---- */

static struct memprof_dump_module modules[MODULES];
static size_t module_count;
static struct build_texts texts;
static char program[4096];

/* The GNU build-id among a segment's notes. */
static void find_build_id(const unsigned char *notes, size_t size,
                          struct memprof_dump_module *out) {
    for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
        ElfW(Nhdr) note;
        memcpy(&note, notes + at, sizeof note);
        size_t name = at + sizeof note, value = name + ((note.n_namesz + 3) & ~3u);
        if (note.n_type == NT_GNU_BUILD_ID && memcmp(notes + name, "GNU", 4) == 0 &&
            note.n_descsz <= sizeof out->build_id) {
            out->build_id_size = note.n_descsz;
            memcpy(out->build_id, notes + value, note.n_descsz);
            return;
        }
        at = value + ((note.n_descsz + 3) & ~3u);
    }
}

static int add_module(struct dl_phdr_info *info, size_t size, void *unused) {
    struct memprof_dump_module *module = &modules[module_count];
    const char *path = module_count == 0 ? program : info->dlpi_name;
    if (module_count == MODULES)
        return 1;
    module->start = UINT64_MAX;
    module->bias = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t start = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_NOTE)
            find_build_id((const unsigned char *)start, segment->p_memsz, module);
        if (segment->p_type != PT_LOAD)
            continue;
        if (start < module->start)
            module->start = start;
        if (start + segment->p_memsz > module->end)
            module->end = start + segment->p_memsz;
    }
    module->path = build_text(&texts, path);
    module_count++;
    return 0;
}

/* ---- dumps ---- */

/* `count` samples of a site, whose serials begin at `serial`. */
struct group {
    uint32_t stack;
    uint64_t serial;
    size_t count;
    uint64_t size, coin;
};

static const struct group old_groups[] = {
    {SESSIONS, 1000, 10, 480, 512},
    {REQUESTS, 2000, 20, 1000, 1024},
    {CONFIGURATION, 3000, 5, 100, 112},
    {PAGES, 4000, 30, 4096, 4096},
};

static const struct group new_groups[] = {
    {SESSIONS, 1000, 50, 480, 512},
    {REQUESTS, 2500, 22, 1000, 1024},
    {CONFIGURATION, 3000, 5, 100, 112},
    {PAGES, 4000, 5, 4096, 4096},
};

struct what {
    const char *name;
    const struct group *groups; /* STACKS of them; NULL: none */
    uint64_t rate, time;
    uint32_t pid;
    uint64_t live_bytes, live_objects, rss;
    const char *path;    /* of the program; NULL: its own */
    uint8_t other_build; /* 1: of another build */
};

static void write_dump(const char *folder, const struct what *what) {
    static uint64_t frames[STACKS * DEPTH];
    static struct memprof_dump_sample samples[1000];
    struct memprof_dump_stack stack_records[STACKS];
    struct memprof_dump_module module_records[MODULES];
    size_t frame_count = 0, sample_count = 0;
    char path[4096];

    memcpy(module_records, modules, sizeof modules);
    if (what->path)
        module_records[0].path = build_text(&texts, what->path);
    module_records[0].build_id[0] ^= what->other_build;
    memset(stack_records, 0, sizeof stack_records);
    for (uint32_t s = 0; s < STACKS; s++) {
        stack_records[s].frame = frame_count;
        stack_records[s].depth = (uint32_t)depths[s] - 1;
        stack_records[s].allocated_samples = 100;
        stack_records[s].allocated_objects = 100 * (s + 1);
        stack_records[s].allocated_bytes = 100000 * (s + 1);
        for (int i = 1; i < depths[s]; i++) {
            uint64_t address = stacks[s][i], number = 0;
            for (size_t m = 0; m < module_count; m++) {
                if (address >= modules[m].start && address < modules[m].end)
                    number = m + 1;
            }
            frames[frame_count++] = number << 48 | address;
        }
    }
    for (size_t g = 0; what->groups && g < STACKS; g++) {
        const struct group *group = &what->groups[g];
        for (size_t i = 0; i < group->count; i++)
            samples[sample_count++] = (struct memprof_dump_sample){
                .serial = group->serial + i,
                .address = 0x7e0000000000 + group->serial * 65536 + i * 4096,
                .size = group->size,
                .coin = group->coin,
                .rate = what->rate,
                .age_ns = 1000000000,
                .stack = group->stack,
                .thread = what->pid,
            };
    }
    const struct memprof_dump_process process = {
        .time_ns = what->time * 1000000000,
        .start_time_ns = 1800000000000000000 + what->pid,
        .uptime_ns = (what->time - 1800000000) * 1000000000,
        .pid = what->pid,
        .parent_pid = 1,
        .dump_number = 1,
        .exe = build_text(&texts, program),
        .command = build_text(&texts, "make-dumps"),
        .host = build_text(&texts, "host"),
        .library = build_text(&texts, "0.1.0"),
        .rate = what->rate,
        .unwinder = MEMPROF_UNWIND_CFI,
        .depth = 64,
        .page_size = 4096,
        .threads = 1,
        .samples_taken = 1000,
        .live_bytes = what->live_bytes,
        .live_objects = what->live_objects,
        .allocated_objects = 100000,
        .cached_bytes = 20000,
        .fragmented_bytes = 50000,
        .purgeable_bytes = 65536,
        .metadata_bytes = 131072,
        .profile_bytes = 65536,
        .rss_bytes = what->rss,
    };
    const struct memprof_dump_class classes[] = {
        {.size = 512,
         .pages = 2,
         .live_objects = what->live_objects / 2,
         .live_bytes = what->live_objects / 2 * 512,
         .free_objects = 10,
         .stranded_bytes = 5120},
        {.kind = MEMPROF_CLASS_LARGE, .pages = 1, .live_objects = 1, .live_bytes = 131072},
    };
    const struct memprof_dump_map maps[] = {
        {.start = 0x100000,
         .end = 0x200000,
         .rss_bytes = what->rss / 2,
         .kind = MEMPROF_MAP_HEAP,
         .access = MEMPROF_MAP_READ},
        {.start = 0x200000,
         .end = 0x300000,
         .rss_bytes = what->rss / 4,
         .kind = MEMPROF_MAP_FILE,
         .access = MEMPROF_MAP_READ},
        {.start = 0x300000, .end = 0x400000, .rss_bytes = 131072, .kind = MEMPROF_MAP_STACK},
    };
#define SECTION(kind_, array, n)                                                                   \
    { .kind = MEMPROF_DUMP_##kind_, .size = sizeof *(array), .count = (n), .records = (array) }
    const struct build_section sections[] = {
        SECTION(PROCESS, &process, 1),
        build_texts_section(&texts),
        SECTION(MODULES, module_records, module_count),
        SECTION(FRAMES, frames, frame_count),
        SECTION(STACKS, stack_records, STACKS),
        SECTION(SAMPLES, samples, sample_count),
        SECTION(CLASSES, classes, COUNT(classes)),
        SECTION(MAPS, maps, COUNT(maps)),
    };
    snprintf(path, sizeof path, "%s/%s", folder, what->name);
    build_dump_file(path, sections, COUNT(sections));
}

int main(int argc, char **argv) {
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (argc != 2 || length < 0)
        return 2;
    program[length] = '\0';
    run_service();
    dl_iterate_phdr(add_module, NULL);
    enum { MIB = 1 << 20, RATE = 65536, TIME = 1800000100 };
    const struct what all[] = {
        {"old.heap", old_groups, RATE, TIME, 77, 10 * MIB, 9000, 20 * MIB, NULL, 0},
        {"new.heap", new_groups, RATE, TIME + 10, 77, 12 * MIB, 15000, 23 * MIB, NULL, 0},
        {"exact-old.heap", old_groups, 1, TIME, 78, 10 * MIB, 9000, 20 * MIB, NULL, 0},
        {"exact-new.heap", new_groups, 1, TIME + 10, 78, 12 * MIB, 15000, 23 * MIB, NULL, 0},
        {"other.heap", new_groups, RATE, TIME + 20, 79, 12 * MIB, 15000, 23 * MIB, NULL, 0},
        {"none.heap", NULL, 0, TIME, 80, 10 * MIB, 9000, 20 * MIB, NULL, 0},
        {"gone.heap", old_groups, RATE, TIME, 77, 10 * MIB, 9000, 20 * MIB, "/none/such", 0},
        {"rebuilt.heap", old_groups, RATE, TIME, 81, 10 * MIB, 9000, 20 * MIB, NULL, 1},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        write_dump(argv[1], &all[i]);
    return 0;
}
