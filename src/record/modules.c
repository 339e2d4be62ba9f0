#include "record/modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

#include "heap/arena.h"
#include "platform/lock.h"
#include "platform/sys.h"

extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* By number, in chunks that never move: readers need no lock. */
#define CHUNK  64u
#define CHUNKS (MP_MODULES_MAX / CHUNK + 1)

/* By place: open addressing over the start address; grows never, since more distinct places than
 * this do not happen in one process, and if they did, their frames would have no module. */
#define PLACES 4096u

#define FIRST_PAGE 4096u

static struct mp_lock modules_lock = MP_LOCK_INIT(MP_RANK_MODULES);
static struct mp_module *chunks[CHUNKS];
static _Atomic(uint32_t) module_count;
static _Atomic(uint32_t) places[PLACES]; /* the newest module there, or 0 */
static const char *program = "";

const struct mp_module *mp_modules_get(uint32_t number) {
    return &chunks[(number - 1) / CHUNK][(number - 1) % CHUNK];
}

uint32_t mp_modules_count(void) {
    return atomic_load_explicit(&module_count, memory_order_acquire);
}

void mp_modules_start(void) {
    char path[4096];
    long n = mp_sys_readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    /* Without /proc, as the program was started. */
    const char *executed = (const char *)getauxval(AT_EXECFN);
    program = n > 0 || !executed ? mp_meta_copy(path) : executed;
}

const char *mp_modules_program(void) {
    return program;
}

/* ---- what a loaded module says of itself ---- */

/* The build-id among the notes of a segment. */
static bool find_in_notes(struct mp_module *module, uintptr_t at, size_t size) {
    while (size >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)at;
        size_t name = (note->n_namesz + 3u) & ~(size_t)3, data = (note->n_descsz + 3u) & ~(size_t)3;
        size_t whole = sizeof *note + name + data;
        if (whole > size)
            return false;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
            memcmp(note + 1, "GNU", 4) == 0 && note->n_descsz) {
            uintptr_t at_id = (uintptr_t)(note + 1) + name;
            module->build_id_size = note->n_descsz < sizeof module->build_id
                                        ? note->n_descsz
                                        : (uint32_t)sizeof module->build_id;
            memcpy(module->build_id, (const void *)at_id, module->build_id_size);
            /* Looked at again later, when another module may be there, of which only the first
             * page is sure to be readable. That is where linkers put it. */
            if (at_id + module->build_id_size - module->start <= FIRST_PAGE)
                module->build_id_at = at_id;
            return true;
        }
        at += whole;
        size -= whole;
    }
    return false;
}

/* The first page of a module that is loaded as linkers lay it out begins with the ELF header. */
static void read_headers(struct mp_module *module) {
    const ElfW(Ehdr) *header = (const void *)module->start;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) > FIRST_PAGE)
        return;
    const ElfW(Phdr) *segments = (const void *)(module->start + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        uintptr_t at = module->bias + segments[i].p_vaddr;
        if (segments[i].p_type == PT_NOTE && at >= module->start && at < module->end &&
            segments[i].p_memsz <= module->end - at &&
            find_in_notes(module, at, segments[i].p_memsz))
            return;
    }
}

/* ---- finding ---- */

/* Is what is loaded there now, as the loader has just said, this module? Its own memory is
 * compared, which is mapped as surely as the frame that led here. */
static bool is_same(const struct mp_module *module, const struct dl_find_object *found) {
    const struct link_map *map = found->dlfo_link_map;
    if (module->end != (uintptr_t)found->dlfo_map_end || module->bias != map->l_addr)
        return false;
    if (module->build_id_at)
        return memcmp((const void *)module->build_id_at, module->build_id, module->build_id_size) ==
               0;
    return strcmp(map->l_name && *map->l_name ? map->l_name : program, module->path) == 0;
}

static uint32_t same_in(uint32_t number, const struct dl_find_object *found) {
    while (number && !is_same(mp_modules_get(number), found))
        number = mp_modules_get(number)->older;
    return number;
}

static uint32_t add(_Atomic(uint32_t) *place, const struct dl_find_object *found) {
    uint32_t number = module_count + 1, chunk = (number - 1) / CHUNK;
    if (number > MP_MODULES_MAX)
        return 0;
    if (!chunks[chunk])
        chunks[chunk] = mp_meta_alloc(CHUNK * sizeof(struct mp_module));
    if (!chunks[chunk])
        return 0;
    struct mp_module *module = &chunks[chunk][(number - 1) % CHUNK];
    const struct link_map *map = found->dlfo_link_map;
    *module = (struct mp_module){
        .start = (uintptr_t)found->dlfo_map_start,
        .end = (uintptr_t)found->dlfo_map_end,
        .bias = map->l_addr,
        .path = map->l_name && *map->l_name ? mp_meta_copy(map->l_name) : program,
        .older = *place,
    };
    read_headers(module);
    /* release: who sees the number sees the module */
    atomic_store_explicit(&module_count, number, memory_order_release);
    atomic_store_explicit(place, number, memory_order_release);
    return number;
}

/* The place's slot, or the empty one where it would be; NULL: the table is full. */
static _Atomic(uint32_t) *place_of(uintptr_t start) {
    uint32_t home = (uint32_t)((start >> 12) * 0x9e3779b97f4a7c15u >> 52);
    for (uint32_t i = 0; i < PLACES; i++) {
        _Atomic(uint32_t) *place = &places[(home + i) % PLACES];
        uint32_t number = atomic_load_explicit(place, memory_order_acquire);
        if (!number || mp_modules_get(number)->start == start)
            return place;
    }
    return NULL;
}

uint32_t mp_modules_find(uintptr_t address) {
    struct dl_find_object found;
    if (!_dl_find_object || _dl_find_object((void *)address, &found) != 0)
        return 0;
    _Atomic(uint32_t) *place = place_of((uintptr_t)found.dlfo_map_start);
    if (!place)
        return 0;
    uint32_t number = same_in(atomic_load_explicit(place, memory_order_acquire), &found);
    if (number)
        return number;
    mp_lock_take(&modules_lock);
    place = place_of((uintptr_t)found.dlfo_map_start);
    number = place ? same_in(*place, &found) : 0;
    if (place && !number)
        number = add(place, &found);
    mp_lock_drop(&modules_lock);
    return number;
}

uint32_t mp_modules_find_tagged(uintptr_t start, uint32_t tag) {
    _Atomic(uint32_t) *place = place_of(start);
    uint32_t number = place ? atomic_load_explicit(place, memory_order_acquire) : 0;
    while (number &&
           atomic_load_explicit(&mp_modules_get(number)->tag, memory_order_relaxed) != tag + 1)
        number = mp_modules_get(number)->older;
    return number;
}

void mp_modules_note_tag(uint32_t number, uintptr_t start, uint32_t tag) {
    struct mp_module *module = &chunks[(number - 1) / CHUNK][(number - 1) % CHUNK];
    if (module->start == start)
        atomic_store_explicit(&module->tag, tag + 1, memory_order_relaxed);
}

bool mp_modules_is_loaded(const struct mp_module *module) {
    struct dl_find_object found;
    return _dl_find_object && _dl_find_object((void *)module->start, &found) == 0 &&
           (uintptr_t)found.dlfo_map_start == module->start && is_same(module, &found);
}

void mp_modules_before_fork(void) {
    mp_lock_take(&modules_lock);
}

void mp_modules_after_fork(bool child) {
    if (child)
        mp_lock_reset(&modules_lock);
    else
        mp_lock_drop(&modules_lock);
}
