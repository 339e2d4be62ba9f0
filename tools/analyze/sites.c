#include "analyze/sites.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where a site's key is in `keys`. */
struct key_place {
    size_t offset, length;
};

bool site_parse_by(const char *text, enum site_by *out) {
    static const char *const names[] = {"stack", "function", "module", "class", "node"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum site_by)i;
            return true;
        }
    }
    return false;
}

const char *site_verdict_name(enum site_verdict verdict) {
    static const char *const names[] = {"leaking", "growing",   "warming",
                                        "steady",  "shrinking", "noise"};
    return names[verdict];
}

bool sites_same_process(const struct dump *a, const struct dump *b) {
    return a->process->pid == b->process->pid &&
           a->process->start_time_ns == b->process->start_time_ns &&
           strcmp(dump_text(a, a->process->exe), dump_text(b, b->process->exe)) == 0;
}

static int by_number(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void list_classes(struct sites *sites, int side) {
    const struct dump *dump = sites->dumps[side];
    uint64_t *sizes = tool_alloc(dump->class_count, sizeof *sizes);
    size_t count = 0;
    for (size_t i = 0; i < dump->class_count; i++) {
        if (dump->classes[i].kind == MEMPROF_CLASS_SIZED)
            sizes[count++] = dump->classes[i].size;
    }
    qsort(sizes, count, sizeof *sizes, by_number);
    sites->class_sizes[side] = sizes;
    sites->class_counts[side] = count;
}

void sites_begin(struct sites *sites, enum site_by by, const struct dump *old,
                 const struct dump *new) {
    *sites = (struct sites){.by = by, .modules = modules_new()};
    sites->symbols = symbols_new(sites->modules);
    sites->dumps[SITE_OLD] = old;
    sites->dumps[SITE_NEW] = new;
    sites->same_process = old && sites_same_process(old, new);
    for (int side = 0; side < SITE_SIDES; side++) {
        const struct dump *dump = sites->dumps[side];
        if (dump) {
            modules_add(sites->modules, dump);
            sites->of_stack[side] = tool_alloc(dump->stack_count, sizeof **sites->of_stack);
            list_classes(sites, side);
        }
    }
}

void sites_free(struct sites *sites) {
    symbols_free(sites->symbols);
    modules_free(sites->modules);
    for (int side = 0; side < SITE_SIDES; side++) {
        free(sites->of_stack[side]);
        free(sites->class_sizes[side]);
    }
    for (size_t i = 0; i < sites->count; i++) {
        free(sites->list[i].freed);
        free(sites->list[i].lifetimes);
    }
    free(sites->list);
    free(sites->places);
    tool_index_free(&sites->index);
    tool_text_free(&sites->key);
    tool_text_free(&sites->keys);
    frame_list_free(&sites->frames);
    *sites = (struct sites){0};
}

/* ---- keys ---- */

static bool same_key(uint32_t value, const void *key, const void *context) {
    const struct sites *sites = context;
    const struct tool_text *wanted = key;
    const struct key_place *place = &sites->places[value];
    return place->length == wanted->length &&
           memcmp(sites->keys.at + place->offset, wanted->at, wanted->length) == 0;
}

/* The site with the key that is in `sites->key`; a new one gets the id. */
static struct site *find(struct sites *sites, uint64_t id, bool *made) {
    uint64_t hash = tool_hash(TOOL_HASH, sites->key.at, sites->key.length);
    uint32_t found = tool_index_find(&sites->index, hash, same_key, &sites->key, sites);
    *made = found == TOOL_INDEX_NONE;
    if (!*made)
        return &sites->list[found];
    sites->list = tool_grow(sites->list, sites->count, &sites->capacity, sizeof *sites->list);
    sites->places =
        tool_grow(sites->places, sites->count, &sites->places_capacity, sizeof *sites->places);
    sites->places[sites->count] = (struct key_place){sites->keys.length, sites->key.length};
    tool_text_add(&sites->keys, sites->key.at, sites->key.length);
    tool_index_add(&sites->index, hash, (uint32_t)sites->count);
    struct site *site = &sites->list[sites->count++];
    *site = (struct site){.id = id};
    return site;
}

static void add_number(struct tool_text *key, uint64_t number) {
    tool_text_add(key, &number, sizeof number);
}

static void add_text(struct tool_text *key, const char *text) {
    tool_text_add(key, text, strlen(text) + 1);
}

/* Begins each part of a key, so that no two kinds look alike. */
enum {
    KEY_STACK = 's',
    KEY_ADDRESS = 'a',
    KEY_OFFSET = 'o',
    KEY_NAME = 'n',
    KEY_PLACE = 'p',
    KEY_CLASS = 'c',
    KEY_NODE = 'N'
};

static void add_kind(struct tool_text *key, char kind) {
    tool_text_add(key, &kind, 1);
}

/* Can this frame of the one dump be told by its offset in the other? */
static bool is_in_both(const struct sites *sites, const struct module *module) {
    if (!sites->dumps[SITE_OLD] || sites->same_process)
        return true;
    return module->build_id_size > 0 &&
           modules_in_dump(sites->modules, sites->dumps[SITE_OLD], module->identity) &&
           modules_in_dump(sites->modules, sites->dumps[SITE_NEW], module->identity);
}

/* By names, with what was inlined: builds differ in that, too, but seldom in all. */
static void add_names(struct sites *sites, const struct dump *dump, uint64_t frame) {
    const struct frame *functions;
    size_t count = symbols_find(sites->symbols, dump, frame, &functions);
    for (size_t i = 0; i < count; i++) {
        if (functions[i].function) {
            add_kind(&sites->key, KEY_NAME);
            add_text(&sites->key, functions[i].function);
        } else if (i + 1 == count) {
            sites->blind = true;
            add_kind(&sites->key, KEY_PLACE);
            add_text(&sites->key, functions[i].module->base);
            add_number(&sites->key, functions[i].offset);
        }
    }
}

/* `node`: NULL, on all of them. */
static struct site *by_stack(struct sites *sites, const struct dump *dump,
                             const struct memprof_dump_stack *stack, const uint32_t *node) {
    uint64_t id = TOOL_HASH;
    bool made, names = false;
    if (node) {
        add_kind(&sites->key, KEY_NODE);
        add_number(&sites->key, *node);
        id = tool_hash_number(id, *node);
    }
    add_kind(&sites->key, KEY_STACK);
    for (uint32_t i = 0; i < stack->depth; i++) {
        uint64_t frame = dump->frames[stack->frame + i], offset = modules_offset(dump, frame);
        const struct module *module = modules_of_frame(sites->modules, dump, frame);
        id = tool_hash_number(id, module ? module->identity_hash : 0);
        id = tool_hash_number(id, offset);
        if (!module) {
            add_kind(&sites->key, KEY_ADDRESS);
            add_number(&sites->key, offset);
        } else if (is_in_both(sites, module)) {
            add_kind(&sites->key, KEY_OFFSET);
            add_number(&sites->key, module->identity);
            add_number(&sites->key, offset);
        } else {
            add_names(sites, dump, frame);
            names = true;
        }
    }
    struct site *site = find(sites, id, &made);
    site->by_names |= names;
    return site;
}

static void expand(struct sites *sites, const struct dump *dump, uint32_t number) {
    const struct memprof_dump_stack *stack = &dump->stacks[number];
    sites->frames.count = 0;
    for (uint32_t i = 0; i < stack->depth; i++) {
        const struct frame *functions;
        size_t count =
            symbols_find(sites->symbols, dump, dump->frames[stack->frame + i], &functions);
        for (size_t j = 0; j < count; j++)
            frame_list_add(&sites->frames, &functions[j]);
    }
}

/* By the function or module that the stack is blamed on. Names and no offsets make the id: a
 * function is the same one in the next build. */
static struct site *by_name(struct sites *sites, const struct dump *dump, uint32_t number) {
    struct frame blamed = {0};
    bool made;
    expand(sites, dump, number);
    if (sites->frames.count > 0)
        blamed = sites->frames.at[blame_find(&sites->frames)];
    const char *base = blamed.module ? blamed.module->base : "";
    add_text(&sites->key, base);
    uint64_t id = tool_hash_text(TOOL_HASH, base);
    if (sites->by == SITE_BY_FUNCTION && blamed.function) {
        add_kind(&sites->key, KEY_NAME);
        add_text(&sites->key, blamed.function);
        id = tool_hash_text(id, blamed.function);
    } else if (sites->by == SITE_BY_FUNCTION) {
        add_kind(&sites->key, KEY_PLACE);
        add_number(&sites->key, blamed.offset);
        id = tool_hash_number(id, blamed.offset);
    }
    struct site *site = find(sites, id, &made);
    if (sites->by == SITE_BY_FUNCTION && blamed.module && !is_in_both(sites, blamed.module)) {
        site->by_names = true;
        sites->blind |= !blamed.function;
    }
    if (made) {
        site->name = blamed;
        site->name.line = 0;
        site->name.inlined = false;
        if (sites->by == SITE_BY_MODULE) {
            site->name.function = site->name.file = NULL;
            site->name.offset = 0;
        }
    }
    return site;
}

struct site *sites_of_stack(struct sites *sites, int side, uint32_t stack) {
    uint32_t *known = &sites->of_stack[side][stack];
    if (*known)
        return &sites->list[*known - 1];
    const struct dump *dump = sites->dumps[side];
    tool_text_clear(&sites->key);
    struct site *site = sites->by == SITE_BY_STACK
                            ? by_stack(sites, dump, &dump->stacks[stack], NULL)
                            : by_name(sites, dump, stack);
    *known = (uint32_t)(site - sites->list) + 1;
    if (!site->dump || side == SITE_NEW) {
        site->dump = dump;
        site->stack = stack;
    }
    return site;
}

struct site *sites_of_node(struct sites *sites, int side, uint32_t stack, uint32_t node) {
    const struct dump *dump = sites->dumps[side];
    tool_text_clear(&sites->key);
    struct site *site = by_stack(sites, dump, &dump->stacks[stack], &node);
    site->node = node;
    if (!site->dump || side == SITE_NEW) {
        site->dump = dump;
        site->stack = stack;
    }
    return site;
}

struct site *sites_of_class(struct sites *sites, int side, uint64_t size) {
    bool made;
    tool_text_clear(&sites->key);
    add_kind(&sites->key, KEY_CLASS);
    add_number(&sites->key, size);
    struct site *site = find(sites, tool_hash_number(TOOL_HASH, size), &made);
    site->class_size = size;
    site->dump = sites->dumps[side];
    return site;
}

/* A sample's chance was computed from its class's size, which is how the class is told. */
static uint64_t class_of(const struct sites *sites, int side,
                         const struct memprof_dump_sample *sample) {
    if (sample->flags & MEMPROF_SAMPLE_LARGE)
        return 0;
    const uint64_t *found = bsearch(&sample->coin, sites->class_sizes[side],
                                    sites->class_counts[side], sizeof *found, by_number);
    return found ? *found : 0;
}

struct site *sites_of_sample(struct sites *sites, int side,
                             const struct memprof_dump_sample *sample) {
    if (sites->by == SITE_BY_CLASS)
        return sites_of_class(sites, side, class_of(sites, side, sample));
    if (sites->by == SITE_BY_NODE)
        return sites_of_node(sites, side, sample->stack, sample->node);
    return sites_of_stack(sites, side, sample->stack);
}

bool sites_are_stacks(enum site_by by) {
    return by == SITE_BY_STACK || by == SITE_BY_NODE;
}

static struct pile *freed_on(struct site *site, int side, uint32_t on) {
    size_t at = 0, room = site->freed_count;
    while (at < site->freed_count && site->freed[at].on < on)
        at++;
    if (at == site->freed_count || site->freed[at].on != on) {
        site->freed = tool_grow(site->freed, site->freed_count, &room, sizeof *site->freed);
        memmove(&site->freed[at + 1], &site->freed[at],
                (site->freed_count - at) * sizeof *site->freed);
        site->freed[at] = (struct site_freed){.on = on};
        site->freed_count++;
    }
    return &site->freed[at].pile[side];
}

void sites_add_frees(struct sites *sites, int side) {
    const struct dump *dump = sites->dumps[side];
    for (size_t i = 0; i < dump->free_count; i++) {
        const struct memprof_dump_free *record = &dump->frees[i];
        struct site *site = sites_of_node(sites, side, record->stack, record->node);
        struct pile pile = pile_of_totals(record->samples, record->objects, record->bytes);
        pile_join(freed_on(site, side, record->on), &pile);
    }
}

void sites_add_lifetimes(struct sites *sites, int side) {
    const struct dump *dump = sites->dumps[side];
    for (size_t i = 0; i < dump->free_count; i++) {
        const struct memprof_dump_free *record = &dump->frees[i];
        struct site *site = sites->by == SITE_BY_NODE
                                ? sites_of_node(sites, side, record->stack, record->node)
                                : sites_of_stack(sites, side, record->stack);
        struct pile pile = pile_of_totals(record->samples, record->objects, record->bytes);
        if (dump->process->rate == 1)
            pile.bytes_variance = pile.objects_variance = 0;
        pile_join(&site->live[side], &pile);
        if (!site->lifetimes)
            site->lifetimes = tool_alloc(1, sizeof *site->lifetimes);
        site->lifetimes->objects[record->lifetime] += record->objects;
        if (record->flags & MEMPROF_FREE_ELSEWHERE)
            site->lifetimes->elsewhere += record->objects;
        if (record->flags & MEMPROF_FREE_RESIZED)
            site->lifetimes->resized += record->objects;
    }
}

double sites_lived(const struct site_lifetimes *lifetimes, double share) {
    double all = 0, sum = 0;
    int step = 0;
    for (int i = 0; i < SITE_LIFETIMES; i++)
        all += lifetimes->objects[i];
    while (step < SITE_LIFETIMES - 1 && (sum += lifetimes->objects[step]) < share * all)
        step++;
    return step ? ldexp(0.75, step) : 0;
}

const struct frame_list *sites_frames(struct sites *sites, const struct site *site) {
    sites->frames.count = 0;
    if (sites_are_stacks(sites->by))
        expand(sites, site->dump, site->stack);
    else if (sites->by != SITE_BY_CLASS)
        frame_list_add(&sites->frames, &site->name);
    return &sites->frames;
}
