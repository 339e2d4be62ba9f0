#include "reader/records.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- errors ---- */

/* The name as it may be shown on a terminal; of a long one the end, which tells more. */
static size_t show_path(char *to, size_t room, const char *path) {
    size_t length = strlen(path), at = 0;
    if (length >= room) {
        path += length - (room - 4);
        at = (size_t)snprintf(to, room, "...");
    }
    for (; *path; path++)
        to[at++] = *path >= 0x20 && *path < 0x7f ? *path : '?';
    to[at] = '\0';
    return at;
}

enum { PATH_ROOM = 256 };

int dump_fail(const struct dump_check *check, uint64_t offset, const char *format, ...) {
    struct dump_error *error = check->error;
    char path[PATH_ROOM], why[sizeof error->text - PATH_ROOM - 48];
    va_list args;
    show_path(path, sizeof path, check->path);
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    error->offset = offset;
    snprintf(error->text, sizeof error->text, "%s: at byte %ju: %s", path, (uintmax_t)offset, why);
    return -1;
}

int dump_fail_whole(const char *path, struct dump_error *error, const char *why) {
    char shown[PATH_ROOM];
    show_path(shown, sizeof shown, path);
    error->offset = 0;
    snprintf(error->text, sizeof error->text, "%s: %s", shown, why);
    return -1;
}

/* ---- bytes ---- */

int dump_read_at(const struct dump_check *check, int fd, void *into, uint64_t offset, size_t size) {
    char *to = into;
    while (size > 0) {
        ssize_t n = pread(fd, to, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dump_fail(check, offset, "cannot be read: %s", strerror(errno));
        if (n == 0)
            return dump_fail(check, offset, "the file ends here; it has shrunk meanwhile");
        to += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

/* ---- sizes ---- */

static const struct dump_kind kinds[DUMP_KINDS] = {
    [MEMPROF_DUMP_PROCESS] = {"PROCESS", sizeof(struct memprof_dump_process), 184},
    [MEMPROF_DUMP_STRINGS] = {"STRINGS", 1, 1},
    [MEMPROF_DUMP_MODULES] = {"MODULES", sizeof(struct memprof_dump_module), 72},
    [MEMPROF_DUMP_FRAMES] = {"FRAMES", sizeof(uint64_t), 8},
    [MEMPROF_DUMP_STACKS] = {"STACKS", sizeof(struct memprof_dump_stack), 64},
    [MEMPROF_DUMP_SAMPLES] = {"SAMPLES", sizeof(struct memprof_dump_sample), 56},
    [MEMPROF_DUMP_CLASSES] = {"CLASSES", sizeof(struct memprof_dump_class), 56},
    [MEMPROF_DUMP_MAPS] = {"MAPS", sizeof(struct memprof_dump_map), 56},
    [MEMPROF_DUMP_NODES] = {"NODES", sizeof(struct memprof_dump_node), 72},
    [MEMPROF_DUMP_FREES] = {"FREES", sizeof(struct memprof_dump_free), 40},
    [MEMPROF_DUMP_SERIES] = {"SERIES", sizeof(struct memprof_dump_point), 56},
    [MEMPROF_DUMP_REGIONS] = {"REGIONS", sizeof(struct memprof_dump_region), 48},
    [MEMPROF_DUMP_LEAKS] = {"LEAKS", sizeof(struct memprof_dump_leaks), 88},
};

const struct dump_kind *dump_kind_find(uint32_t kind) {
    return kind > 0 && kind < DUMP_KINDS ? &kinds[kind] : NULL;
}

void dump_fit(void *bytes, size_t count, size_t from, size_t to) {
    char *base = bytes;
    /* Towards the free end first, so that no record is overwritten before it was moved. */
    if (from > to) {
        for (size_t i = 1; i < count; i++)
            memmove(base + i * to, base + i * from, to);
    } else if (from < to) {
        for (size_t i = count; i-- > 0;) {
            memmove(base + i * to, base + i * from, from);
            memset(base + i * to + from, 0, to - from);
        }
    }
}

/* ---- fields ---- */

/* Fails at a field of the i-th record of a kind; `type` is the record's struct. */
#define BAD(kind, i, type, field, ...)                                                             \
    dump_fail(check, byte_of(check, kind, i, offsetof(type, field)), __VA_ARGS__)

static uint64_t byte_of(const struct dump_check *check, unsigned kind, size_t i, size_t field) {
    const struct dump_place *place = &check->places[kind];
    return place->offset + i * place->record_size + field;
}

static bool is_text(const struct dump *dump, uint32_t text) {
    return text < dump->strings_size;
}

static bool is_estimate(double value) {
    return value >= 0 && value <= DUMP_ESTIMATE_MAX; /* and so a number, and finite */
}

static int check_strings(const struct dump_check *check, const struct dump *dump) {
    if (dump->strings_size == 0)
        return dump_fail(check, byte_of(check, MEMPROF_DUMP_STRINGS, 0, 0),
                         "STRINGS lacks the empty text that it begins with");
    if (dump->strings[0] != '\0')
        return dump_fail(check, byte_of(check, MEMPROF_DUMP_STRINGS, 0, 0),
                         "STRINGS does not begin with the empty text");
    size_t last = dump->strings_size - 1;
    if (dump->strings[last] != '\0')
        return dump_fail(check, byte_of(check, MEMPROF_DUMP_STRINGS, last, 0),
                         "the last text of STRINGS has no end");
    return 0;
}

#define BAD_TEXT(kind, i, type, field, value)                                                      \
    BAD(kind, i, type, field, "%s: no text has offset %u; STRINGS has %zu bytes", #field,          \
        (unsigned)(value), dump->strings_size)

static int check_process(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_PROCESS };
    typedef struct memprof_dump_process process;
    const process *p = dump->process;
    if (!is_text(dump, p->exe))
        return BAD_TEXT(kind, 0, process, exe, p->exe);
    if (!is_text(dump, p->command))
        return BAD_TEXT(kind, 0, process, command, p->command);
    if (!is_text(dump, p->host))
        return BAD_TEXT(kind, 0, process, host, p->host);
    if (!is_text(dump, p->library))
        return BAD_TEXT(kind, 0, process, library, p->library);
    if (p->unwinder > MEMPROF_UNWIND_LIBUNWIND)
        return BAD(kind, 0, process, unwinder, "there is no unwinder %u", p->unwinder);
    if (p->depth > DUMP_DEPTH_MAX)
        return BAD(kind, 0, process, depth, "depth %u; the most is %u", p->depth, DUMP_DEPTH_MAX);
    if (p->page_size == 0 || (p->page_size & (p->page_size - 1)) != 0)
        return BAD(kind, 0, process, page_size, "page size %u is no power of two", p->page_size);
    return 0;
}

static int check_modules(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_MODULES };
    typedef struct memprof_dump_module module;
    for (size_t i = 0; i < dump->module_count; i++) {
        const module *m = &dump->modules[i];
        if (m->start >= m->end)
            return BAD(kind, i, module, end, "module %zu ends before it starts", i);
        if (!is_text(dump, m->path))
            return BAD_TEXT(kind, i, module, path, m->path);
        if (m->build_id_size > sizeof m->build_id)
            return BAD(kind, i, module, build_id_size, "a build-id of %u bytes; %zu have room",
                       m->build_id_size, sizeof m->build_id);
        for (size_t b = m->build_id_size; b < sizeof m->build_id; b++) {
            if (m->build_id[b] != 0)
                return BAD(kind, i, module, build_id[b], "an unused byte is not zero");
        }
    }
    return 0;
}

static int check_frames(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_FRAMES };
    for (size_t i = 0; i < dump->frame_count; i++) {
        uint32_t module = MEMPROF_FRAME_MODULE(dump->frames[i]);
        if (module > dump->module_count)
            return dump_fail(check, byte_of(check, kind, i, 0), "frame %zu is in module %u of %zu",
                             i, module, dump->module_count);
    }
    return 0;
}

static int check_stacks(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_STACKS };
    typedef struct memprof_dump_stack stack;
    for (size_t i = 0; i < dump->stack_count; i++) {
        const stack *s = &dump->stacks[i];
        if (s->depth > DUMP_DEPTH_MAX)
            return BAD(kind, i, stack, depth, "a stack of %u frames; the most is %u", s->depth,
                       DUMP_DEPTH_MAX);
        if (s->frame > dump->frame_count || s->depth > dump->frame_count - s->frame)
            return BAD(kind, i, stack, frame, "%u frames from %ju on; FRAMES has %zu", s->depth,
                       (uintmax_t)s->frame, dump->frame_count);
        if (!is_estimate(s->allocated_objects))
            return BAD(kind, i, stack, allocated_objects, "not a number of objects");
        if (!is_estimate(s->allocated_bytes))
            return BAD(kind, i, stack, allocated_bytes, "not a number of bytes");
        if (!is_estimate(s->freed_objects))
            return BAD(kind, i, stack, freed_objects, "not a number of objects");
        if (!is_estimate(s->freed_bytes))
            return BAD(kind, i, stack, freed_bytes, "not a number of bytes");
        if (!is_estimate(s->peak_objects))
            return BAD(kind, i, stack, peak_objects, "not a number of objects");
        if (!is_estimate(s->peak_bytes))
            return BAD(kind, i, stack, peak_bytes, "not a number of bytes");
    }
    return 0;
}

static int check_samples(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_SAMPLES };
    typedef struct memprof_dump_sample sample;
    for (size_t i = 0; i < dump->sample_count; i++) {
        const sample *s = &dump->samples[i];
        if (s->coin == 0)
            return BAD(kind, i, sample, coin, "a sample with no chance to be one: coin is 0");
        if (s->rate == 0)
            return BAD(kind, i, sample, rate, "a sample with no chance to be one: rate is 0");
        if (s->stack >= dump->stack_count)
            return BAD(kind, i, sample, stack, "stack %u of %zu", s->stack, dump->stack_count);
    }
    return 0;
}

static int check_classes(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_CLASSES };
    typedef struct memprof_dump_class class;
    for (size_t i = 0; i < dump->class_count; i++) {
        const class *c = &dump->classes[i];
        if (c->kind > MEMPROF_CLASS_MAPPED)
            return BAD(kind, i, class, kind, "there is no kind %u of classes", c->kind);
        if ((c->size != 0) != (c->kind == MEMPROF_CLASS_SIZED))
            return BAD(kind, i, class, size, "a class of kind %u with blocks of %ju bytes", c->kind,
                       (uintmax_t)c->size);
        if (c->reserved != 0)
            return BAD(kind, i, class, reserved, "a reserved field is not zero");
    }
    return 0;
}

static int check_leaks(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_LEAKS };
    typedef struct memprof_dump_leaks leaks;
    const leaks *l = dump->leaks;
    if (l && (l->world < MEMPROF_WORLD_PTRACE || l->world > MEMPROF_WORLD_TWO_SCAN))
        return BAD(kind, 0, leaks, world, "there is no way %u of stopping threads", l->world);
    if (l && l->reserved != 0)
        return BAD(kind, 0, leaks, reserved, "a reserved field is not zero");
    return 0;
}

static int check_maps(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_MAPS };
    typedef struct memprof_dump_map map;
    for (size_t i = 0; i < dump->map_count; i++) {
        const map *m = &dump->maps[i];
        if (m->start >= m->end)
            return BAD(kind, i, map, end, "mapping %zu ends before it starts", i);
        if (!is_text(dump, m->path))
            return BAD_TEXT(kind, i, map, path, m->path);
        if (m->kind > MEMPROF_MAP_SPECIAL)
            return BAD(kind, i, map, kind, "there is no kind %u of mappings", (unsigned)m->kind);
    }
    return 0;
}

static int check_nodes(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_NODES };
    typedef struct memprof_dump_node node;
    for (size_t i = 0; i < dump->node_count; i++) {
        const node *n = &dump->nodes[i];
        if (i > 0 && n->node <= n[-1].node)
            return BAD(kind, i, node, node, "node %u stands behind node %u", n->node, n[-1].node);
    }
    return 0;
}

static int check_frees(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_FREES };
    typedef struct memprof_dump_free free;
    for (size_t i = 0; i < dump->free_count; i++) {
        const free *f = &dump->frees[i];
        if (f->stack >= dump->stack_count)
            return BAD(kind, i, free, stack, "stack %u of %zu", f->stack, dump->stack_count);
        if (f->node >= DUMP_NODES_MAX || f->on >= DUMP_NODES_MAX)
            return BAD(kind, i, free, node, "memory of node %u freed on node %u; they are below %u",
                       f->node, f->on, DUMP_NODES_MAX);
        if (f->lifetime > 64)
            return BAD(kind, i, free, lifetime, "a lifetime of %u bits", f->lifetime);
        if (f->reserved != 0 || f->reserved2 != 0)
            return BAD(kind, i, free, reserved, "a reserved field is not zero");
        if (!is_estimate(f->objects))
            return BAD(kind, i, free, objects, "not a number of objects");
        if (!is_estimate(f->bytes))
            return BAD(kind, i, free, bytes, "not a number of bytes");
    }
    return 0;
}

static int check_series(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_SERIES };
    typedef struct memprof_dump_point point;
    for (size_t i = 1; i < dump->point_count; i++) {
        const point *p = &dump->points[i];
        if (p->uptime_ns < p[-1].uptime_ns)
            return BAD(kind, i, point, uptime_ns, "point %zu is earlier than the one before", i);
    }
    return 0;
}

static int check_regions(const struct dump_check *check, const struct dump *dump) {
    enum { kind = MEMPROF_DUMP_REGIONS };
    typedef struct memprof_dump_region region;
    for (size_t i = 0; i < dump->region_count; i++) {
        const region *r = &dump->regions[i];
        if (r->start >= r->end)
            return BAD(kind, i, region, end, "region %zu ends before it starts", i);
        if (r->stack >= dump->stack_count)
            return BAD(kind, i, region, stack, "stack %u of %zu", r->stack, dump->stack_count);
        if (r->kind > MEMPROF_REGION_STACK)
            return BAD(kind, i, region, kind, "there is no kind %u of regions", (unsigned)r->kind);
        if (r->reserved != 0)
            return BAD(kind, i, region, reserved, "a reserved field is not zero");
    }
    return 0;
}

int dump_check_records(const struct dump_check *check, const struct dump *dump) {
    static int (*const checks[])(const struct dump_check *, const struct dump *) = {
        check_strings, check_process, check_modules, check_frames, check_stacks,
        check_samples, check_classes, check_maps,    check_nodes,  check_frees,
        check_series,  check_regions, check_leaks,
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (checks[i](check, dump) != 0)
            return -1;
    }
    return 0;
}
