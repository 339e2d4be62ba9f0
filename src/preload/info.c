/* What operators ask the allocator: mallinfo, malloc_info, malloc_stats and their kin. Figures of a
 * running process; heap/census.h says within what. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>

#include "heap/census.h"
#include "heap/heap.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "preload/preload.h"

MP_EXPORT int malloc_trim(size_t pad);
MP_EXPORT int mallopt(int parameter, int value);
MP_EXPORT struct mallinfo mallinfo(void);
MP_EXPORT struct mallinfo2 mallinfo2(void);
MP_EXPORT void malloc_stats(void);
MP_EXPORT int malloc_info(int options, FILE *stream);

int malloc_trim(size_t pad) {
    (void)pad;
    return mp_trim();
}

/* glibc's knobs have nothing to turn here; a program that sets them is to go on. */
int mallopt(int parameter, int value) {
    (void)parameter;
    (void)value;
    return 1;
}

struct mallinfo2 mallinfo2(void) {
    struct mp_stats stats;
    mp_stats_get(&stats);
    struct mallinfo2 info = {
        .arena = stats.arena_bytes,
        .ordblks = stats.purgeable_bytes / MP_SLICE_SIZE,
        .hblks = stats.mapped_blocks,
        .hblkhd = stats.mapped_bytes,
        .uordblks = stats.live_bytes - stats.mapped_bytes, /* glibc tells mapped blocks apart */
        .keepcost = stats.purgeable_bytes,
    };
    if (info.arena > info.uordblks)
        info.fordblks = info.arena - info.uordblks;
    return info;
}

static int clamp(size_t n) {
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

struct mallinfo mallinfo(void) {
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo info = {
        .arena = clamp(wide.arena),
        .ordblks = clamp(wide.ordblks),
        .hblks = clamp(wide.hblks),
        .hblkhd = clamp(wide.hblkhd),
        .uordblks = clamp(wide.uordblks),
        .fordblks = clamp(wide.fordblks),
        .keepcost = clamp(wide.keepcost),
    };
    return info;
}

/* The kernel's resident set, bytes; 0 where /proc is not to be read. */
static uint64_t resident_bytes(void) {
    char text[128];
    long fd = mp_sys_open("/proc/self/statm", O_RDONLY, 0);
    if (fd < 0)
        return 0;
    long n = mp_sys_read((int)fd, text, sizeof text - 1);
    mp_sys_close((int)fd);
    uint64_t pages = 0;
    int field = 0;
    for (long i = 0; i < n && field < 2; i++) {
        if (text[i] == ' ')
            field++;
        else if (field == 1)
            pages = pages * 10 + (uint64_t)(text[i] - '0');
    }
    return pages * 4096;
}

/* ---- malloc_stats ---- */

static void flush_to_log(struct mp_text *text) {
    char *start = text->sink;
    mp_say_raw(start, (size_t)(text->at - start));
    text->room += (size_t)(text->at - start);
    text->at = start;
}

static void flush_to_stderr(struct mp_text *text) {
    char *start = text->sink;
    mp_sys_write(2, start, (size_t)(text->at - start));
    text->room += (size_t)(text->at - start);
    text->at = start;
}

static void row(struct mp_text *text, const char *name, uint64_t bytes, const char *what) {
    mp_text_add(text, "  %-12s %14zu  %s\n", name, (size_t)bytes, what);
}

static void print_classes(struct mp_text *text, const struct mp_stats *stats) {
    mp_text_add(text, "    %8s %10s %10s %12s %12s\n", "size", "pages", "used", "free",
                "allocated");
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        const struct mp_stats_class *class = &stats->classes[c];
        if (class->pages || class->allocated)
            mp_text_add(text, "    %8zu %10zu %10zu %12zu %12zu\n", mp_class_size(c),
                        (size_t) class->pages, (size_t) class->used,
                        (size_t)(class->blocks - class->used), (size_t) class->allocated);
    }
}

void mp_stats_print(bool to_stderr) {
    struct mp_stats stats;
    char buffer[2048];
    struct mp_text text;
    mp_stats_get(&stats);
    mp_text_init(&text, buffer, sizeof buffer);
    text.sink = buffer;
    text.flush = to_stderr ? flush_to_stderr : flush_to_log;
    mp_text_add(&text, "memprof: memory of process %d, bytes\n", (int)mp_sys_getpid());
    row(&text, "live", stats.live_bytes, "in blocks that the program holds");
    row(&text, "cached", stats.cached_max_bytes,
        "of these free, at most, at the hands of other threads");
    row(&text, "fragmented", stats.fragmented_bytes, "free blocks in pages in use");
    row(&text, "purgeable", stats.purgeable_bytes, "free, about to go back to the system");
    row(&text, "metadata", stats.metadata_bytes, "memprof's own");
    row(&text, "mapped", stats.mapped_bytes, "of live, in blocks with a mapping of their own");
    row(&text, "RSS", resident_bytes(), "the whole process, as the kernel counts it");
    mp_text_add(&text,
                "  %zu live blocks of %zu allocated; %zu threads; %zu bytes purged in %zu calls, "
                "%zu had again in huge pages\n",
                (size_t)stats.live_blocks, (size_t)stats.allocated_blocks, (size_t)stats.threads,
                (size_t)stats.purged_bytes, (size_t)stats.purges, (size_t)stats.fetched_bytes);
    print_classes(&text, &stats);
    if (stats.large_blocks)
        mp_text_add(&text, "    %8s %10s %10zu  (%zu bytes)\n", "large", "",
                    (size_t)stats.large_blocks, (size_t)stats.large_bytes);
    if (stats.mapped_blocks)
        mp_text_add(&text, "    %8s %10s %10zu  (%zu bytes)\n", "mapped", "",
                    (size_t)stats.mapped_blocks, (size_t)stats.mapped_bytes);
    text.flush(&text);
}

void malloc_stats(void) {
    mp_stats_print(true);
}

/* ---- malloc_info: the one place that writes to a stream, because its caller hands us one ---- */

static void flush_to_stream(struct mp_text *text) {
    char *start = ((void **)text->sink)[0];
    FILE *stream = ((void **)text->sink)[1];
    fwrite(start, 1, (size_t)(text->at - start), stream);
    text->room += (size_t)(text->at - start);
    text->at = start;
}

static void info_sizes(struct mp_text *text, const struct mp_stats *stats) {
    mp_text_add(text, "<sizes>\n");
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        const struct mp_stats_class *class = &stats->classes[c];
        if (class->pages)
            mp_text_add(text,
                        "<size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\" used=\"%zu\" "
                        "pages=\"%zu\"/>\n",
                        c ? mp_class_size(c - 1) + 1 : 0, mp_class_size(c),
                        (size_t) class->blocks * mp_class_size(c), (size_t) class->blocks,
                        (size_t) class->used, (size_t) class->pages);
    }
    mp_text_add(text, "</sizes>\n");
}

int malloc_info(int options, FILE *stream) {
    struct mp_stats stats;
    char buffer[1024];
    struct mp_text text;
    if (options != 0) {
        errno = EINVAL; /* as glibc's returns it */
        return EINVAL;
    }
    mp_stats_get(&stats);
    mp_text_init(&text, buffer, sizeof buffer);
    void *sink[2] = {buffer, stream};
    text.sink = sink;
    text.flush = flush_to_stream;
    mp_text_add(&text, "<malloc version=\"1\">\n<heap nr=\"0\">\n");
    info_sizes(&text, &stats);
    mp_text_add(&text, "<total type=\"fast\" count=\"0\" size=\"%zu\"/>\n",
                (size_t)stats.cached_max_bytes);
    mp_text_add(&text, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n",
                (size_t)stats.live_blocks,
                (size_t)(stats.fragmented_bytes + stats.purgeable_bytes));
    mp_text_add(&text, "<total type=\"large\" count=\"%zu\" size=\"%zu\"/>\n",
                (size_t)stats.large_blocks, (size_t)stats.large_bytes);
    mp_text_add(&text, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n</heap>\n",
                (size_t)stats.mapped_blocks, (size_t)stats.mapped_bytes);
    mp_text_add(&text, "<live count=\"%zu\" size=\"%zu\"/>\n", (size_t)stats.live_blocks,
                (size_t)stats.live_bytes);
    mp_text_add(&text, "<fragmented size=\"%zu\"/>\n<purgeable size=\"%zu\"/>\n",
                (size_t)stats.fragmented_bytes, (size_t)stats.purgeable_bytes);
    mp_text_add(&text, "<metadata size=\"%zu\"/>\n<resident size=\"%zu\"/>\n",
                (size_t)stats.metadata_bytes, (size_t)resident_bytes());
    mp_text_add(&text, "<system type=\"current\" size=\"%zu\"/>\n",
                (size_t)(stats.arena_bytes + stats.mapped_bytes));
    mp_text_add(&text, "</malloc>\n");
    flush_to_stream(&text);
    return 0;
}
