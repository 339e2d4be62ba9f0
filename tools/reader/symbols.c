#include "reader/symbols.h"

#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "reader/demangle.h"

enum {
    INLINE_MAX = 64,      /* calls in one frame; files that claim more are cut */
    RANGES_MAX = 1 << 22, /* of a file's units */
    READABLE_MAX = 4096,  /* bytes of a readable name */
    BUILD_ID_CUT = sizeof((struct memprof_dump_module *)0)->build_id, /* may be longer in truth */
};

/* Code of one compilation unit. */
struct unit_range {
    Dwarf_Addr start, end;
    Dwarf_Die unit;
    Dwarf_Addr bias;
};

/* A module's file, opened when its first frame is asked for. */
struct symbols_file {
    Dwfl *dwfl;
    Dwfl_Module *module;       /* NULL: it has no names to give */
    GElf_Addr bias;            /* between the file's addresses and libdwfl's */
    struct unit_range *ranges; /* by start; see find_unit */
    size_t range_count, range_capacity;
    bool has_ranges; /* they have been read */
};

/* What one frame came to: `count` functions, in the block `block`. */
struct resolved {
    const struct module *module;
    uint64_t offset;
    bool exact;
    uint32_t block, count;
};

struct symbols {
    struct modules *modules;
    struct resolved *list;
    size_t count, capacity;
    struct tool_index index;
    /* Blocks of functions: each stays where it is, so answers stay valid. */
    struct frame **functions;
    size_t function_count, function_capacity;
    char **texts; /* each once */
    size_t text_count, text_capacity;
    struct tool_index by_text;
};

struct symbols *symbols_new(struct modules *modules) {
    struct symbols *symbols = tool_alloc(1, sizeof *symbols);
    symbols->modules = modules;
    /* libdwfl would ask servers for debug information. */
    unsetenv("DEBUGINFOD_URLS");
    return symbols;
}

void symbols_free(struct symbols *symbols) {
    if (!symbols)
        return;
    struct module *module;
    for (uint32_t i = 0; (module = modules_at(symbols->modules, i)); i++) {
        if (module->file && module->file->dwfl)
            dwfl_end(module->file->dwfl);
        if (module->file)
            free(module->file->ranges);
        free(module->file);
        module->file = NULL;
    }
    for (size_t i = 0; i < symbols->function_count; i++)
        free(symbols->functions[i]);
    for (size_t i = 0; i < symbols->text_count; i++)
        free(symbols->texts[i]);
    free(symbols->list);
    free(symbols->functions);
    free(symbols->texts);
    tool_index_free(&symbols->index);
    tool_index_free(&symbols->by_text);
    free(symbols);
}

static bool same_text(uint32_t value, const void *key, const void *context) {
    const struct symbols *symbols = context;
    return strcmp(symbols->texts[value], key) == 0;
}

static const char *keep(struct symbols *symbols, const char *text) {
    if (!text || !*text)
        return NULL;
    uint64_t hash = tool_hash_text(TOOL_HASH, text);
    uint32_t found = tool_index_find(&symbols->by_text, hash, same_text, text, symbols);
    if (found != TOOL_INDEX_NONE)
        return symbols->texts[found];
    symbols->texts = tool_grow(symbols->texts, symbols->text_count, &symbols->text_capacity,
                               sizeof *symbols->texts);
    symbols->texts[symbols->text_count] = tool_copy(text);
    tool_index_add(&symbols->by_text, hash, (uint32_t)symbols->text_count);
    return symbols->texts[symbols->text_count++];
}

static const char *keep_name(struct symbols *symbols, const char *name) {
    char readable[READABLE_MAX];
    if (!name)
        return NULL;
    demangle(name, readable, sizeof readable);
    return keep(symbols, readable);
}

/* ---- a module's file ---- */

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
};

/* Whether the open file is the one that the dump saw. Without a build-id its age must do: one that
 * was touched since may be another. */
static bool is_same(int fd, const struct module *module, const struct stat *status) {
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!elf)
        return false;
    const void *build_id = NULL;
    ssize_t size = elf_kind(elf) == ELF_K_ELF ? dwelf_elf_gnu_build_id(elf, &build_id) : -1;
    bool same;
    if (module->build_id_size > 0) {
        same = size >= (ssize_t)module->build_id_size &&
               memcmp(build_id, module->build_id, module->build_id_size) == 0;
    } else {
        uint64_t changed =
            (uint64_t)status->st_ctim.tv_sec * 1000000000u + (uint64_t)status->st_ctim.tv_nsec;
        same = size == 0 && changed <= module->time_ns;
    }
    elf_end(elf);
    return same;
}

/* A descriptor of the right file, or -1 with the reason. Paths come out of dumps: nothing but a
 * plain file is opened for reading. */
static int open_same(const char *path, const struct module *module, const char **reason) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0) {
        *reason = strerror(errno);
    } else if (!S_ISREG(status.st_mode)) {
        *reason = "no plain file";
    } else if (!is_same(fd, module, &status)) {
        *reason = NULL; /* it has changed */
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Where distributions put a file's debug information. It has all that names need, also where the
 * file itself is gone. */
static int open_debug(const struct module *module, char *path, size_t size) {
    static const char digits[] = "0123456789abcdef";
    const char *reason;
    if (module->build_id_size < 2 || module->build_id_size >= BUILD_ID_CUT)
        return -1;
    int at = snprintf(path, size, "/usr/lib/debug/.build-id/");
    for (uint32_t i = 0; i < module->build_id_size; i++) {
        path[at++] = digits[module->build_id[i] >> 4];
        path[at++] = digits[module->build_id[i] & 15];
        if (i == 0)
            path[at++] = '/';
    }
    snprintf(path + at, size - (size_t)at, ".debug");
    return open_same(path, module, &reason);
}

static void open_file(struct module *module) {
    struct symbols_file *file = module->file = tool_alloc(1, sizeof *file);
    const char *reason = NULL, *path = module->path;
    char debug[256];
    /* What has no path is the kernel's ([vdso]), or code that was made at run time. */
    if (path[0] != '/')
        return;
    elf_version(EV_CURRENT);
    int fd = open_same(path, module, &reason);
    if (fd < 0) {
        fd = open_debug(module, debug, sizeof debug);
        if (fd < 0) {
            if (reason)
                tool_note("%s: %s: its frames stay unnamed", path, reason);
            else
                tool_note("%s has changed since the dump was written: its frames stay unnamed",
                          path);
            return;
        }
        path = debug;
    }
    file->dwfl = dwfl_begin(&callbacks);
    if (file->dwfl) {
        dwfl_report_begin(file->dwfl);
        file->module = dwfl_report_elf(file->dwfl, module->base, path, fd, 0, true);
        if (file->module)
            fd = -1; /* it is libdwfl's now */
        dwfl_report_end(file->dwfl, NULL, NULL);
    }
    if (fd >= 0)
        close(fd);
    if (!file->module || !dwfl_module_getelf(file->module, &file->bias)) {
        tool_note("%s: %s: its frames stay unnamed", path, dwfl_errmsg(-1));
        file->module = NULL;
    }
}

/* ---- one address ---- */

static int by_start(const void *a, const void *b) {
    const struct unit_range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void read_ranges(struct symbols_file *file) {
    Dwarf_Die *unit = NULL;
    Dwarf_Addr bias;
    file->has_ranges = true;
    while ((unit = dwfl_module_nextcu(file->module, unit, &bias))) {
        struct unit_range range = {.unit = *unit, .bias = bias};
        Dwarf_Addr base;
        ptrdiff_t next = 0;
        while (file->range_count < RANGES_MAX &&
               (next = dwarf_ranges(unit, next, &base, &range.start, &range.end)) > 0) {
            file->ranges = tool_grow(file->ranges, file->range_count, &file->range_capacity,
                                     sizeof *file->ranges);
            file->ranges[file->range_count++] = range;
        }
    }
    if (file->range_count > 0)
        qsort(file->ranges, file->range_count, sizeof *file->ranges, by_start);
}

/* The compilation unit that an address belongs to. libdwfl looks it up in .debug_aranges, which
 * clang and rustc leave out: then the units are asked one by one, once. */
static Dwarf_Die *find_unit(struct symbols_file *file, GElf_Addr address, Dwarf_Addr *bias) {
    Dwarf_Die *unit = dwfl_module_addrdie(file->module, address, bias);
    if (unit)
        return unit;
    if (!file->has_ranges)
        read_ranges(file);
    size_t low = 0, high = file->range_count;
    while (low < high) { /* the last that begins at or before the address */
        size_t middle = low + (high - low) / 2;
        if (file->ranges[middle].start <= address - file->ranges[middle].bias)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address - file->ranges[low - 1].bias >= file->ranges[low - 1].end)
        return NULL;
    *bias = file->ranges[low - 1].bias;
    return &file->ranges[low - 1].unit;
}

static void find_line(struct symbols *symbols, Dwarf_Die *unit, Dwarf_Addr address,
                      struct frame *out) {
    Dwarf_Line *line = dwarf_getsrc_die(unit, address);
    int number = 0;
    if (!line)
        return;
    out->file = keep(symbols, dwarf_linesrc(line, NULL, NULL));
    if (dwarf_lineno(line, &number) == 0 && number > 0)
        out->line = (unsigned)number;
}

/* A function's name as its debug information has it. */
static const char *die_name(struct symbols *symbols, Dwarf_Die *die) {
    Dwarf_Attribute attribute;
    const char *name = NULL;
    if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) ||
        dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute))
        name = dwarf_formstring(&attribute);
    if (!name && dwarf_attr_integrate(die, DW_AT_name, &attribute))
        name = dwarf_formstring(&attribute);
    return keep_name(symbols, name);
}

/* The symbol that covers an address. One without a size covers none: the nearest name below may
 * be that of anything. */
static const char *symbol_name(struct symbols *symbols, const struct symbols_file *file,
                               GElf_Addr address) {
    GElf_Sym symbol;
    GElf_Off offset;
    const char *name =
        dwfl_module_addrinfo(file->module, address, &offset, &symbol, NULL, NULL, NULL);
    return name && offset < symbol.st_size ? keep_name(symbols, name) : NULL;
}

/* Where a function was inlined: the call's file and line. */
static void call_site(struct symbols *symbols, Dwarf_Die *unit, Dwarf_Die *die,
                      struct frame *frame) {
    Dwarf_Attribute attribute;
    Dwarf_Word number;
    Dwarf_Files *files;
    size_t count;
    frame->file = NULL;
    frame->line = 0;
    if (dwarf_getsrcfiles(unit, &files, &count) == 0 &&
        dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attribute), &number) == 0 &&
        number < count)
        frame->file = keep(symbols, dwarf_filesrc(files, number, NULL, NULL));
    if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attribute), &number) == 0 &&
        number <= UINT32_MAX)
        frame->line = (unsigned)number;
}

/* The functions around an address, innermost first, by debug information; 0: it has none. */
static size_t from_debug(struct symbols *symbols, struct symbols_file *file, GElf_Addr address,
                         struct frame *out) {
    Dwarf_Addr bias;
    Dwarf_Die *unit = find_unit(file, address, &bias), *scopes = NULL;
    if (!unit)
        return 0;
    find_line(symbols, unit, address - bias, out);
    int count = dwarf_getscopes(unit, address - bias, &scopes);
    if (count <= 0)
        return 0;
    /* These are the scopes of the source: where a function was inlined, those of its definition.
     * What is wanted is how they lie in the code. */
    Dwarf_Die inner = scopes[0], *nested = NULL;
    free(scopes);
    count = dwarf_getscopes_die(&inner, &nested);
    struct frame next = out[0]; /* with the file and line of the address itself */
    size_t found = 0;
    for (int i = 0; i < count && found < INLINE_MAX; i++) {
        int tag = dwarf_tag(&nested[i]);
        if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
            continue;
        out[found] = next;
        out[found].function = die_name(symbols, &nested[i]);
        out[found].inlined = tag == DW_TAG_inlined_subroutine;
        found++;
        if (tag == DW_TAG_subprogram)
            break;
        call_site(symbols, unit, &nested[i], &next);
    }
    free(nested);
    /* An inlined function without one around it: the symbol table knows the latter. */
    if (found > 0 && found < INLINE_MAX && out[found - 1].inlined) {
        next.inlined = false;
        next.function = symbol_name(symbols, file, address);
        out[found++] = next;
    }
    return found;
}

static size_t resolve(struct symbols *symbols, struct module *module, uint64_t offset, bool exact,
                      struct frame *out) {
    out[0] = (struct frame){.module = module, .offset = offset};
    if (!module)
        return 1;
    if (!module->file)
        open_file(module);
    struct symbols_file *file = module->file;
    if (!file->module)
        return 1;
    /* A return address may be the next function's first; the call is before it. */
    GElf_Addr address = offset - (exact ? 0 : 1) + file->bias;
    size_t count = from_debug(symbols, file, address, out);
    if (count == 0) {
        out[0].function = symbol_name(symbols, file, address);
        count = 1;
    } else if (!out[count - 1].function) {
        out[count - 1].function = symbol_name(symbols, file, address);
    }
    return count;
}

/* ---- the cache ---- */

static bool same_place(uint32_t value, const void *key, const void *context) {
    const struct symbols *symbols = context;
    const struct resolved *a = &symbols->list[value], *b = key;
    return a->module == b->module && a->offset == b->offset && a->exact == b->exact;
}

size_t symbols_find(struct symbols *symbols, const struct dump *dump, uint64_t frame,
                    const struct frame **out) {
    struct module *module = modules_of_frame(symbols->modules, dump, frame);
    struct resolved key = {
        .module = module,
        .offset = modules_offset(dump, frame),
        .exact = MEMPROF_FRAME_EXACT(frame),
    };
    uint64_t hash = tool_hash_number((uintptr_t)module, key.offset ^ (uint64_t)key.exact << 63);
    uint32_t found = tool_index_find(&symbols->index, hash, same_place, &key, symbols);
    if (found == TOOL_INDEX_NONE) {
        struct frame functions[INLINE_MAX];
        size_t count = resolve(symbols, module, key.offset, key.exact, functions);
        struct frame *kept = tool_alloc(count, sizeof *kept);
        memcpy(kept, functions, count * sizeof *kept);
        symbols->functions = tool_grow(symbols->functions, symbols->function_count,
                                       &symbols->function_capacity, sizeof *symbols->functions);
        key.block = (uint32_t)symbols->function_count;
        key.count = (uint32_t)count;
        symbols->functions[symbols->function_count++] = kept;
        symbols->list =
            tool_grow(symbols->list, symbols->count, &symbols->capacity, sizeof *symbols->list);
        found = (uint32_t)symbols->count++;
        symbols->list[found] = key;
        tool_index_add(&symbols->index, hash, found);
    }
    *out = symbols->functions[symbols->list[found].block];
    return symbols->list[found].count;
}
