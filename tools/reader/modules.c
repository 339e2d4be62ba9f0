#include "reader/modules.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

struct seen {
    const struct dump *dump;
    uint32_t *numbers; /* of its modules, in `list` */
};

struct modules {
    struct module **list; /* each stays where it is */
    size_t count, capacity;
    struct tool_index by_key;
    const struct module **identities; /* a module of each */
    uint64_t *identity_dumps;         /* bit n: it is in seen[n] */
    size_t identity_count, identity_capacity, identity_dumps_capacity;
    struct tool_index by_identity;
    struct seen *seen;
    size_t seen_count, seen_capacity;
};

struct modules *modules_new(void) {
    return tool_alloc(1, sizeof(struct modules));
}

void modules_free(struct modules *modules) {
    if (!modules)
        return;
    for (size_t i = 0; i < modules->count; i++)
        free(modules->list[i]);
    for (size_t i = 0; i < modules->seen_count; i++)
        free(modules->seen[i].numbers);
    free(modules->list);
    free(modules->identities);
    free(modules->identity_dumps);
    free(modules->seen);
    tool_index_free(&modules->by_key);
    tool_index_free(&modules->by_identity);
    free(modules);
}

/* Code that every program has below its own: a stack's blame goes past it. */
static bool is_runtime(const char *base) {
    static const char *const names[] = {
        "libc.so",
        "libc-2.",
        "ld-linux",
        "ld-2.",
        "ld-musl",
        "libstdc++.so",
        "libc++.so",
        "libc++abi.so",
        "libgcc_s.so",
        "libpthread.so",
        "libpthread-2.",
        "libmemprof.so",
        "libmemprof-faults.so",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(base, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

static bool same_build(const struct module *a, const struct module *b) {
    return a->build_id_size == b->build_id_size &&
           memcmp(a->build_id, b->build_id, a->build_id_size) == 0;
}

static bool same_module(uint32_t value, const void *key, const void *context) {
    const struct modules *modules = context;
    const struct module *a = modules->list[value], *b = key;
    return strcmp(a->path, b->path) == 0 && same_build(a, b);
}

static bool same_identity(uint32_t value, const void *key, const void *context) {
    const struct modules *modules = context;
    const struct module *a = modules->identities[value], *b = key;
    return same_build(a, b) && (a->build_id_size || strcmp(a->base, b->base) == 0);
}

static uint32_t find_identity(struct modules *modules, const struct module *module) {
    uint32_t found = tool_index_find(&modules->by_identity, module->identity_hash, same_identity,
                                     module, modules);
    if (found != TOOL_INDEX_NONE)
        return found;
    modules->identities = tool_grow(modules->identities, modules->identity_count,
                                    &modules->identity_capacity, sizeof *modules->identities);
    modules->identity_dumps =
        tool_grow(modules->identity_dumps, modules->identity_count,
                  &modules->identity_dumps_capacity, sizeof *modules->identity_dumps);
    found = (uint32_t)modules->identity_count++;
    modules->identities[found] = module;
    modules->identity_dumps[found] = 0;
    tool_index_add(&modules->by_identity, module->identity_hash, found);
    return found;
}

static uint32_t find_module(struct modules *modules, const struct dump *dump,
                            const struct memprof_dump_module *record) {
    struct module key = {
        .path = dump_text(dump, record->path),
        .build_id = record->build_id,
        .build_id_size = record->build_id_size,
        .time_ns = dump->process->time_ns,
    };
    if (key.build_id_size > sizeof record->build_id)
        key.build_id_size = sizeof record->build_id;
    const char *slash = strrchr(key.path, '/');
    key.base = slash ? slash + 1 : key.path;
    key.runtime = is_runtime(key.base);
    key.identity_hash = key.build_id_size ? tool_hash(TOOL_HASH, key.build_id, key.build_id_size)
                                          : tool_hash_text(TOOL_HASH, key.base);
    uint64_t hash = tool_hash_text(key.identity_hash, key.path);
    uint32_t found = tool_index_find(&modules->by_key, hash, same_module, &key, modules);
    if (found != TOOL_INDEX_NONE) {
        struct module *known = modules->list[found];
        if (key.time_ns < known->time_ns)
            known->time_ns = key.time_ns;
        return found;
    }
    modules->list =
        tool_grow(modules->list, modules->count, &modules->capacity, sizeof *modules->list);
    struct module *made = tool_alloc(1, sizeof *made);
    *made = key;
    found = (uint32_t)modules->count++;
    modules->list[found] = made;
    made->identity = find_identity(modules, made);
    tool_index_add(&modules->by_key, hash, found);
    return found;
}

void modules_add(struct modules *modules, const struct dump *dump) {
    modules->seen =
        tool_grow(modules->seen, modules->seen_count, &modules->seen_capacity, sizeof(struct seen));
    struct seen *seen = &modules->seen[modules->seen_count];
    seen->dump = dump;
    seen->numbers = tool_alloc(dump->module_count, sizeof *seen->numbers);
    for (size_t i = 0; i < dump->module_count; i++) {
        seen->numbers[i] = find_module(modules, dump, &dump->modules[i]);
        uint32_t identity = modules->list[seen->numbers[i]]->identity;
        modules->identity_dumps[identity] |= (uint64_t)1 << (modules->seen_count & 63);
    }
    modules->seen_count++;
}

static size_t which(const struct modules *modules, const struct dump *dump) {
    size_t i = 0;
    while (i < modules->seen_count && modules->seen[i].dump != dump)
        i++;
    return i;
}

struct module *modules_of_frame(struct modules *modules, const struct dump *dump, uint64_t frame) {
    const struct memprof_dump_module *record = dump_frame_module(dump, frame);
    size_t seen = which(modules, dump);
    if (!record || seen == modules->seen_count)
        return NULL;
    return modules->list[modules->seen[seen].numbers[record - dump->modules]];
}

bool modules_in_dump(const struct modules *modules, const struct dump *dump, uint32_t identity) {
    return modules->identity_dumps[identity] >> (which(modules, dump) & 63) & 1;
}

uint64_t modules_offset(const struct dump *dump, uint64_t frame) {
    const struct memprof_dump_module *record = dump_frame_module(dump, frame);
    return MEMPROF_FRAME_ADDRESS(frame) - (record ? record->bias : 0);
}

struct module *modules_at(struct modules *modules, uint32_t number) {
    return number < modules->count ? modules->list[number] : NULL;
}
