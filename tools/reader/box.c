#include "reader/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <memprof/box.h>

#include "common.h"

/* More than any memprof makes. */
#define SIZE_MOST ((uint64_t)1 << 30)

/* Records of a process that runs are read again so often in all: it writes to few at a time. */
#define PATIENCE_IN_ALL 20000
#define TORN_MOST       4096 /* threads that were in the midst of an addition */

/* How often a record is read again, in the end a millisecond apart: of a process that runs, and of
 * one that perhaps does so where it cannot be seen from here. */
#define PATIENCE               200
#define PATIENCE_WITH_THE_DEAD 20

struct reading {
    struct box *box;
    const struct dump_check *check;
    int fd;
    uint64_t size;
    struct memprof_box_head head;
    struct memprof_box_state state;
    uint64_t now_ns; /* the latest time that the box knows of, monotonic */
    int patience, attempts;
    uint64_t rss;
    unsigned torn; /* sums that were being added to when the process ended */
};

#define HEAD_BYTE(field)  offsetof(struct memprof_box_head, field)
#define STATE_BYTE(field) (MEMPROF_BOX_PAGE + offsetof(struct memprof_box_state, field))

bool box_is(const unsigned char *magic, size_t size) {
    return size >= 8 && memcmp(magic, MEMPROF_BOX_MAGIC, 8) == 0;
}

/* ---- bytes ---- */

static int read_at(const struct reading *r, void *into, uint64_t offset, size_t size) {
    return dump_read_at(r->check, r->fd, into, offset, size);
}

static void wait_a_little(int attempt) {
    const struct timespec time = {0, attempt < 100 ? 10000 : 1000000};
    nanosleep(&time, NULL);
}

/* ---- head and state ---- */

static const struct {
    const char *name;
    size_t known;
} areas[MEMPROF_BOX_AREAS] = {
    [MEMPROF_BOX_TEXTS] = {"TEXTS", 1},
    [MEMPROF_BOX_MODULES] = {"MODULES", sizeof(struct memprof_box_module)},
    [MEMPROF_BOX_FRAMES] = {"FRAMES", sizeof(uint64_t)},
    [MEMPROF_BOX_STACKS] = {"STACKS", sizeof(struct memprof_box_stack)},
    [MEMPROF_BOX_FREES] = {"FREES", sizeof(struct memprof_box_free)},
    [MEMPROF_BOX_SAMPLES] = {"SAMPLES", sizeof(struct memprof_box_sample)},
    [MEMPROF_BOX_REGIONS] = {"REGIONS", sizeof(struct memprof_box_region)},
    [MEMPROF_BOX_SERIES] = {"SERIES", sizeof(struct memprof_box_point)},
};

static int check_place(const struct reading *r, unsigned area) {
    const struct memprof_box_place *place = &r->head.areas[area];
    uint64_t byte = HEAD_BYTE(areas) + area * sizeof *place;
    uint64_t least = MEMPROF_BOX_PAGE + sizeof r->state;
    if (place->offset < least || place->offset > r->size || place->room > r->size - place->offset)
        return dump_fail(r->check, byte, "%s: %ju bytes from byte %ju on; the file has %ju",
                         areas[area].name, (uintmax_t)place->room, (uintmax_t)place->offset,
                         (uintmax_t)r->size);
    if (place->record_size != areas[area].known)
        return dump_fail(r->check, byte, "records of %u bytes in %s, not %zu", place->record_size,
                         areas[area].name, areas[area].known);
    return 0;
}

static int read_head(struct reading *r) {
    const struct memprof_box_head *head = &r->head;
    if (r->size < sizeof *head)
        return dump_fail(r->check, r->size, "the file ends here, in its head");
    if (read_at(r, &r->head, 0, sizeof r->head) != 0)
        return -1;
    if (head->version > MEMPROF_BOX_VERSION)
        return dump_fail(r->check, HEAD_BYTE(version),
                         "a black box of version %u, from a newer memprof; this one reads %u",
                         head->version, MEMPROF_BOX_VERSION);
    if (head->version != MEMPROF_BOX_VERSION || head->head_size != sizeof *head ||
        head->check != memprof_box_check(head, HEAD_BYTE(check)))
        return dump_fail(r->check, HEAD_BYTE(check), "the head of the black box is damaged");
    if (head->file_size > SIZE_MOST)
        return dump_fail(r->check, HEAD_BYTE(file_size), "a black box of %ju bytes",
                         (uintmax_t)head->file_size);
    if (head->file_size != r->size)
        return dump_fail(r->check, HEAD_BYTE(file_size),
                         "the file has %ju bytes and should have %ju", (uintmax_t)r->size,
                         (uintmax_t)head->file_size);
    for (unsigned area = 0; area < MEMPROF_BOX_AREAS; area++) {
        if (check_place(r, area) != 0)
            return -1;
    }
    return 0;
}

/* Of the process that the box is of, if that still runs and can be seen from here. */
static bool is_running(const struct memprof_box_head *head, uint64_t *rss) {
    char path[64], text[1024];
    unsigned long long ticks = 0, pages = 0;
    snprintf(path, sizeof path, "/proc/%u/stat", head->process.pid);
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = '\0';
    const char *at = strrchr(text, ')');
    bool is_zombie = at && at[1] && (at[2] == 'Z' || at[2] == 'X');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    *rss = 0;
    if (!at || sscanf(at, "%llu %*s %llu", &ticks, &pages) != 2 ||
        (head->start_ticks && ticks != head->start_ticks) || is_zombie)
        return false;
    *rss = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

/* Its number says nothing here: that is of another PID namespace. */
static bool is_elsewhere(const struct memprof_box_head *head) {
    uint64_t here = tool_pid_namespace();
    return here && head->pid_namespace && here != head->pid_namespace;
}

/* How much of an area there is now. */
static int read_used(struct reading *r, unsigned area, size_t *used) {
    const struct memprof_box_place *place = &r->head.areas[area];
    uint64_t count, at = STATE_BYTE(used) + area * sizeof count;
    if (read_at(r, &count, at, sizeof count) != 0)
        return -1;
    if (count > place->room / place->record_size)
        return dump_fail(r->check, at, "%ju records in %s; %ju have room", (uintmax_t)count,
                         areas[area].name, (uintmax_t)(place->room / place->record_size));
    *used = (size_t)count;
    return 0;
}

/* What is there of an area by now, with room for one more behind. */
static void *read_area(struct reading *r, unsigned area, size_t *used) {
    const struct memprof_box_place *place = &r->head.areas[area];
    if (read_used(r, area, used) != 0)
        return NULL;
    void *bytes = calloc(*used + 1, place->record_size);
    if (!bytes) {
        dump_fail(r->check, place->offset, "not enough memory for %zu records of %s", *used,
                  areas[area].name);
        return NULL;
    }
    if (read_at(r, bytes, place->offset, *used * place->record_size) == 0)
        return bytes;
    free(bytes);
    return NULL;
}

static uint64_t byte_of(const struct reading *r, unsigned area, size_t i) {
    return r->head.areas[area].offset + i * r->head.areas[area].record_size;
}

/* A record that does not fit, from the file again. */
static int again(struct reading *r, unsigned area, size_t i, void *record, int attempt) {
    if (++r->attempts > PATIENCE_IN_ALL)
        r->patience = 0;
    wait_a_little(attempt);
    return read_at(r, record, byte_of(r, area, i), r->head.areas[area].record_size);
}

static int damaged(const struct reading *r, unsigned area, size_t i) {
    return dump_fail(r->check, byte_of(r, area, i), "record %zu of %s is damaged", i,
                     areas[area].name);
}

static void *keep(struct reading *r, unsigned kind, size_t count, size_t size) {
    void *records = calloc(count ? count : 1, size);
    if (!records)
        dump_fail(r->check, 0, "not enough memory for %zu records", count);
    r->box->records[kind] = records;
    r->box->counts[kind] = count;
    return records;
}

static bool figures_fit(const struct memprof_box_figures *figures) {
    return figures->time_ns && figures->class_count <= MEMPROF_BOX_CLASSES &&
           figures->check ==
               memprof_box_check(figures, offsetof(struct memprof_box_figures, check));
}

/* The newer of the two that is whole; NULL: none was ever written. */
static const struct memprof_box_figures *newest_figures(const struct reading *r) {
    const struct memprof_box_figures *newest = NULL;
    for (int i = 0; i < 2; i++) {
        const struct memprof_box_figures *figures = &r->state.figures[i];
        if (figures_fit(figures) && (!newest || figures->uptime_ns > newest->uptime_ns))
            newest = figures;
    }
    return newest;
}

/* ---- records ---- */

static void note_time(struct reading *r, uint64_t ns) {
    if (ns > r->now_ns)
        r->now_ns = ns;
}

static bool sample_fits(const struct memprof_box_sample *sample) {
    return !sample->serial ||
           sample->check == memprof_box_check(sample, offsetof(struct memprof_box_sample, check));
}

static int read_samples(struct reading *r) {
    size_t used, count = 0;
    struct memprof_box_sample *from = read_area(r, MEMPROF_BOX_SAMPLES, &used);
    struct memprof_dump_sample *to = from ? keep(r, MEMPROF_DUMP_SAMPLES, used, sizeof *to) : NULL;
    int result = to ? 0 : -1;
    for (size_t i = 0; i < used && result == 0; i++) {
        for (int attempt = 0; !sample_fits(&from[i]) && result == 0; attempt++)
            result = attempt < r->patience ? again(r, MEMPROF_BOX_SAMPLES, i, &from[i], attempt)
                                           : damaged(r, MEMPROF_BOX_SAMPLES, i);
        if (result != 0 || !from[i].serial)
            continue;
        note_time(r, from[i].born_ns);
        to[count++] = (struct memprof_dump_sample){
            .serial = from[i].serial,
            .address = from[i].address,
            .size = from[i].size,
            .coin = from[i].coin,
            .rate = from[i].rate,
            .age_ns = from[i].born_ns, /* made an age at the end */
            .stack = from[i].stack,
            .thread = from[i].thread,
            .node = from[i].node,
            .resizes = from[i].resizes,
            .flags = from[i].flags,
        };
    }
    r->box->counts[MEMPROF_DUMP_SAMPLES] = count;
    free(from);
    return result;
}

static bool region_fits(const struct memprof_box_region *region) {
    return !region->start ||
           region->check == memprof_box_check(region, offsetof(struct memprof_box_region, check));
}

static int by_start(const void *a, const void *b) {
    const struct memprof_dump_region *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

/* What is resident nobody can say. */
static int read_regions(struct reading *r) {
    size_t used, count = 0;
    struct memprof_box_region *from = read_area(r, MEMPROF_BOX_REGIONS, &used);
    struct memprof_dump_region *to = from ? keep(r, MEMPROF_DUMP_REGIONS, used, sizeof *to) : NULL;
    int result = to ? 0 : -1;
    for (size_t i = 0; i < used && result == 0; i++) {
        for (int attempt = 0; !region_fits(&from[i]) && result == 0; attempt++)
            result = attempt < r->patience ? again(r, MEMPROF_BOX_REGIONS, i, &from[i], attempt)
                                           : damaged(r, MEMPROF_BOX_REGIONS, i);
        if (result != 0 || !from[i].start)
            continue;
        note_time(r, from[i].born_ns);
        to[count++] = (struct memprof_dump_region){
            .start = from[i].start,
            .end = from[i].end,
            .rss_bytes = MEMPROF_REGION_UNKNOWN,
            .age_ns = from[i].born_ns, /* made an age at the end */
            .stack = from[i].stack,
            .thread = from[i].thread,
            .kind = from[i].kind,
            .access = from[i].access,
        };
    }
    if (count)
        qsort(to, count, sizeof *to, by_start);
    r->box->counts[MEMPROF_DUMP_REGIONS] = count;
    free(from);
    return result;
}

/* Sums that never fit were being added to when the process ended: by as many threads as it had, at
 * most. */
static int take_torn(struct reading *r, unsigned area, size_t i) {
    const struct memprof_box_figures *figures = newest_figures(r);
    uint64_t most = figures && figures->threads < TORN_MOST ? figures->threads + 1 : TORN_MOST;
    return ++r->torn <= (figures ? most : 2) ? 0 : damaged(r, area, i);
}

static bool free_fits(const struct memprof_box_free *record) {
    return record->sum_check ==
           memprof_box_sum_check(record->check, record->sums, MEMPROF_BOX_SUMS);
}

static int read_frees(struct reading *r) {
    size_t used;
    struct memprof_box_free *from = read_area(r, MEMPROF_BOX_FREES, &used);
    struct memprof_dump_free *to = from ? keep(r, MEMPROF_DUMP_FREES, used, sizeof *to) : NULL;
    int result = to ? 0 : -1;
    for (size_t i = 0; i < used && result == 0; i++) {
        struct memprof_box_free *record = &from[i];
        int attempt = 0;
        while (!free_fits(record) && attempt < r->patience && result == 0)
            result = again(r, MEMPROF_BOX_FREES, i, record, attempt++);
        if (record->check != memprof_box_check(record, offsetof(struct memprof_box_free, check)))
            result = damaged(r, MEMPROF_BOX_FREES, i);
        else if (!free_fits(record) && result == 0)
            result = take_torn(r, MEMPROF_BOX_FREES, i);
        to[i] = (struct memprof_dump_free){
            .stack = record->stack,
            .node = record->node,
            .on = record->on,
            .lifetime = record->lifetime,
            .flags = record->flags,
            .samples = record->sums[MEMPROF_BOX_SUM_SAMPLES],
            .objects = (double)record->sums[MEMPROF_BOX_SUM_OBJECTS] / MEMPROF_BOX_OBJECTS_ONE,
            .bytes = (double)record->sums[MEMPROF_BOX_SUM_BYTES] / MEMPROF_BOX_BYTES_ONE,
        };
    }
    free(from);
    return result;
}

static bool stack_fits(const struct memprof_box_stack *record) {
    return record->allocated_check ==
               memprof_box_sum_check(record->check, record->allocated, MEMPROF_BOX_SUMS) &&
           record->freed_check ==
               memprof_box_sum_check(record->check, record->freed, MEMPROF_BOX_FREED_SUMS);
}

static uint64_t less(uint64_t more, uint64_t by) {
    return more > by ? more - by : 0;
}

static struct memprof_dump_stack stack_of(struct memprof_box_stack *from, uint64_t peak_number,
                                          bool every_block) {
    uint64_t *allocated = from->allocated, *freed = from->freed;
    if (every_block) {
        allocated[MEMPROF_BOX_SUM_SAMPLES] = allocated[MEMPROF_BOX_SUM_OBJECTS] >> 16;
        freed[MEMPROF_BOX_SUM_SAMPLES] = freed[MEMPROF_BOX_SUM_OBJECTS] >> 16;
    }
    struct memprof_dump_stack stack = {
        .frame = from->frame,
        .depth = from->depth,
        .flags = from->flags,
        .allocated_samples = allocated[MEMPROF_BOX_SUM_SAMPLES],
        .freed_samples = freed[MEMPROF_BOX_SUM_SAMPLES],
        .allocated_objects = (double)allocated[MEMPROF_BOX_SUM_OBJECTS] / MEMPROF_BOX_OBJECTS_ONE,
        .allocated_bytes = (double)allocated[MEMPROF_BOX_SUM_BYTES] / MEMPROF_BOX_BYTES_ONE,
        .freed_objects = (double)freed[MEMPROF_BOX_SUM_OBJECTS] / MEMPROF_BOX_OBJECTS_ONE,
        .freed_bytes = (double)freed[MEMPROF_BOX_SUM_BYTES] / MEMPROF_BOX_BYTES_ONE,
    };
    bool noted = freed[MEMPROF_BOX_PEAK_NUMBER] == peak_number;
    uint64_t objects =
        noted ? freed[MEMPROF_BOX_PEAK_OBJECTS]
              : less(allocated[MEMPROF_BOX_SUM_OBJECTS], freed[MEMPROF_BOX_SUM_OBJECTS]);
    uint64_t bytes = noted ? freed[MEMPROF_BOX_PEAK_BYTES]
                           : less(allocated[MEMPROF_BOX_SUM_BYTES], freed[MEMPROF_BOX_SUM_BYTES]);
    stack.peak_objects = (double)objects / MEMPROF_BOX_OBJECTS_ONE;
    stack.peak_bytes = (double)bytes / MEMPROF_BOX_BYTES_ONE;
    return stack;
}

static int check_frames(struct reading *r, const struct memprof_box_stack *record, size_t i,
                        const uint64_t *frames, size_t frame_count) {
    if (record->depth == 0 || record->frame > frame_count ||
        record->depth > frame_count - record->frame ||
        record->check != memprof_box_check_on(
                             memprof_box_check(record, offsetof(struct memprof_box_stack, check)),
                             frames + record->frame, record->depth * sizeof *frames))
        return damaged(r, MEMPROF_BOX_STACKS, i);
    return 0;
}

static int read_stacks(struct reading *r) {
    size_t used, frame_count;
    struct memprof_box_stack *from = read_area(r, MEMPROF_BOX_STACKS, &used);
    uint64_t *frames = from ? read_area(r, MEMPROF_BOX_FRAMES, &frame_count) : NULL;
    struct memprof_dump_stack *to = frames ? keep(r, MEMPROF_DUMP_STACKS, used, sizeof *to) : NULL;
    int result = to ? 0 : -1;
    for (size_t i = 0; i < used && result == 0; i++) {
        int attempt = 0;
        while (!stack_fits(&from[i]) && attempt < r->patience && result == 0)
            result = again(r, MEMPROF_BOX_STACKS, i, &from[i], attempt++);
        if (result == 0)
            result = check_frames(r, &from[i], i, frames, frame_count);
        if (result == 0 && !stack_fits(&from[i]))
            result = take_torn(r, MEMPROF_BOX_STACKS, i);
        to[i] = stack_of(&from[i], r->state.peak_number, r->head.process.rate == 1);
    }
    free(from);
    r->box->records[MEMPROF_DUMP_FRAMES] = frames;
    r->box->counts[MEMPROF_DUMP_FRAMES] = frames ? frame_count : 0;
    return result;
}

static int read_modules(struct reading *r) {
    size_t used;
    struct memprof_box_module *from = read_area(r, MEMPROF_BOX_MODULES, &used);
    struct memprof_dump_module *to = from ? keep(r, MEMPROF_DUMP_MODULES, used, sizeof *to) : NULL;
    int result = to ? 0 : -1;
    for (size_t i = 0; i < used && result == 0; i++) {
        to[i] = from[i].module;
        if (from[i].check != memprof_box_check(&from[i].module, sizeof from[i].module))
            result = damaged(r, MEMPROF_BOX_MODULES, i);
    }
    free(from);
    return result;
}

static int read_texts(struct reading *r) {
    size_t used;
    char *texts = read_area(r, MEMPROF_BOX_TEXTS, &used);
    r->box->records[MEMPROF_DUMP_STRINGS] = texts;
    r->box->counts[MEMPROF_DUMP_STRINGS] = used;
    return texts ? 0 : -1;
}

static int by_time(const void *a, const void *b) {
    const struct memprof_dump_point *x = a, *y = b;
    return (x->uptime_ns > y->uptime_ns) - (x->uptime_ns < y->uptime_ns);
}

/* Points that are being moved stand there twice, or do not fit: others tell enough. */
static int read_series(struct reading *r) {
    size_t used, count = 0, kept = 0;
    struct memprof_box_point *from = read_area(r, MEMPROF_BOX_SERIES, &used);
    struct memprof_dump_point *to = from ? keep(r, MEMPROF_DUMP_SERIES, used, sizeof *to) : NULL;
    for (size_t i = 0; to && i < used; i++) {
        if (from[i].check == memprof_box_check(&from[i].point, sizeof from[i].point))
            to[count++] = from[i].point;
    }
    if (count)
        qsort(to, count, sizeof *to, by_time);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || to[kept - 1].uptime_ns != to[i].uptime_ns)
            to[kept++] = to[i];
    }
    r->box->counts[MEMPROF_DUMP_SERIES] = kept;
    free(from);
    return to ? 0 : -1;
}

/* ---- the process ---- */

static int make_process(struct reading *r) {
    const struct memprof_box_figures *figures = newest_figures(r);
    struct memprof_dump_process *process = keep(r, MEMPROF_DUMP_PROCESS, 1, sizeof *process);
    struct memprof_dump_class *classes =
        keep(r, MEMPROF_DUMP_CLASSES, figures ? figures->class_count : 0, sizeof *classes);
    if (!process || !classes)
        return -1;
    *process = r->head.process;
    process->samples_taken = r->state.samples_taken;
    if (figures) {
        memcpy(classes, figures->classes, figures->class_count * sizeof *classes);
        process->live_bytes = figures->live_bytes;
        process->live_objects = figures->live_objects;
        process->allocated_objects = figures->allocated_objects;
        process->cached_bytes = figures->cached_bytes;
        process->fragmented_bytes = figures->fragmented_bytes;
        process->purgeable_bytes = figures->purgeable_bytes;
        process->metadata_bytes = figures->metadata_bytes;
        process->profile_bytes = figures->profile_bytes;
        process->threads = (uint32_t)figures->threads;
        process->samples_dropped = figures->samples_dropped;
        if (process->samples_taken < figures->samples_taken) /* with rate 1 */
            process->samples_taken = figures->samples_taken;
        note_time(r, r->state.begun_ns + figures->uptime_ns);
        r->box->about.figures_age_ns = less(r->now_ns, r->state.begun_ns + figures->uptime_ns);
    }
    note_time(r, r->state.begun_ns);
    note_time(r, r->state.peak_ns);
    process->uptime_ns = r->now_ns - r->state.begun_ns;
    process->time_ns = process->start_time_ns + process->uptime_ns;
    process->peak_bytes = (uint64_t)((double)r->state.peak_bytes / MEMPROF_BOX_BYTES_ONE);
    process->peak_age_ns = r->state.peak_ns ? less(r->now_ns, r->state.peak_ns) : 0;
    process->rss_bytes = r->rss;
    return 0;
}

static void make_ages(struct reading *r) {
    struct memprof_dump_sample *samples = r->box->records[MEMPROF_DUMP_SAMPLES];
    for (size_t i = 0; i < r->box->counts[MEMPROF_DUMP_SAMPLES]; i++)
        samples[i].age_ns = r->now_ns - samples[i].age_ns;
    struct memprof_dump_region *regions = r->box->records[MEMPROF_DUMP_REGIONS];
    for (size_t i = 0; i < r->box->counts[MEMPROF_DUMP_REGIONS]; i++)
        regions[i].age_ns = r->now_ns - regions[i].age_ns;
}

/* Each after what refers to it. */
int box_read(struct box *box, int fd, const struct dump_check *check) {
    struct reading r = {.box = box, .check = check, .fd = fd};
    struct stat status;
    memset(box, 0, sizeof *box);
    if (fstat(fd, &status) != 0)
        return dump_fail(check, 0, "%s", strerror(errno));
    r.size = (uint64_t)status.st_size;
    if (read_head(&r) != 0 || read_at(&r, &r.state, MEMPROF_BOX_PAGE, sizeof r.state) != 0)
        return -1;
    box->about.is_unknown = is_elsewhere(&r.head);
    box->about.is_running = !box->about.is_unknown && is_running(&r.head, &r.rss);
    bool may_run = box->about.is_running || box->about.is_unknown;
    r.patience = may_run ? PATIENCE : PATIENCE_WITH_THE_DEAD;
    if (read_samples(&r) != 0 || read_regions(&r) != 0 || read_frees(&r) != 0 ||
        read_stacks(&r) != 0 || read_modules(&r) != 0 || read_texts(&r) != 0 ||
        read_series(&r) != 0 || make_process(&r) != 0 ||
        !keep(&r, MEMPROF_DUMP_MAPS, 0, sizeof(struct memprof_dump_map)))
        return -1;
    make_ages(&r);
    box->about.is_box = true;
    box->about.has_ended = r.state.ended == 1;
    box->about.sums_only = r.head.process.rate == 1;
    box->about.unmirrored = r.state.unmirrored;
    box->about.torn = r.torn;
    return 0;
}

void box_free(struct box *box) {
    for (unsigned kind = 0; kind < DUMP_KINDS; kind++)
        free(box->records[kind]);
}

int box_glance(struct box_glance *glance, const char *path, struct dump_error *error) {
    const struct dump_check check = {.path = path, .error = error};
    struct reading r = {.check = &check};
    struct stat status;
    r.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (r.fd < 0)
        return dump_fail_whole(path, error, strerror(errno));
    int result = -1;
    if (fstat(r.fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        dump_fail_whole(path, error, "not a regular file");
    } else {
        r.size = (uint64_t)status.st_size;
        result = read_head(&r);
    }
    if (result == 0 && !box_is(r.head.magic, sizeof r.head.magic))
        result = dump_fail_whole(path, error, "no black box");
    if (result == 0)
        result = read_at(&r, &r.state, MEMPROF_BOX_PAGE, sizeof r.state);
    close(r.fd);
    const struct memprof_box_figures *figures = result == 0 ? newest_figures(&r) : NULL;
    if (figures)
        *glance = (struct box_glance){*figures, r.head.process.start_time_ns};
    return result == 0 ? !figures : -1;
}
