#include "profile/cfi_module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* Those that this thread's last captures were in, round and round. */
#define PASSED 4u
static __thread struct {
    struct mp_unwind_module at[PASSED];
    unsigned count;
} passed __attribute__((tls_model("initial-exec")));

void mp_cfi_forget_modules(void) {
    memset(&passed, 0, sizeof passed);
}

/* Those that stay, by address. */
#define LASTING 128u
static struct mp_unwind_module lasting[LASTING];
static unsigned lasting_count;

static struct mp_unwind_module *find_lasting(uintptr_t address) {
    unsigned low = 0, high = lasting_count; /* the last that begins at the address or before */
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (lasting[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low && address - lasting[low - 1].start < lasting[low - 1].size ? &lasting[low - 1]
                                                                           : NULL;
}

struct mp_unwind_module *mp_unwind_module(uintptr_t address) {
    for (unsigned i = 0; i < PASSED; i++) {
        if (address - passed.at[i].start < passed.at[i].size)
            return &passed.at[i];
    }
    return find_lasting(address);
}

/* Where a module's build-id is, so that it need not be searched each time: the upper part names the
 * module, the lower 12 bits are the note's offset in its first page, 0 if it has none. Only a hint:
 * what is there must still look like the note. */
#define HINTS 64u
static _Atomic uint64_t hints[HINTS];

/* A module begins with a page that holds the headers and can always be read. */
#define HEAD 4096u

struct note {
    uint32_t name_size, size, type;
    char name[4];
    unsigned char id[8]; /* its beginning */
};

/* Nothing in a file need be aligned as it should. */
MP_INLINE uint64_t load64(uintptr_t address) {
    uint64_t word;
    memcpy(&word, (const void *)address, sizeof word);
    return word;
}

static bool is_build_id(uintptr_t start, uint64_t offset, uint64_t *word) {
    struct note note;
    if (offset == 0 || offset > HEAD - sizeof note)
        return false;
    memcpy(&note, (const void *)(start + offset), sizeof note);
    if (note.type != NT_GNU_BUILD_ID || note.name_size != 4 || memcmp(note.name, "GNU", 4) != 0 ||
        note.size < sizeof note.id)
        return false;
    memcpy(word, note.id, sizeof *word);
    return true;
}

/* The program headers, if they lie where linkers put them. */
static const ElfW(Phdr) * headers_of(uintptr_t start, uintptr_t end, unsigned *count) {
    const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)start;
    if (end - start < HEAD || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->e_phentsize != sizeof(ElfW(Phdr)) || elf->e_phoff % 8 != 0 || elf->e_phoff >= HEAD ||
        elf->e_phnum > (HEAD - elf->e_phoff) / sizeof(ElfW(Phdr)))
        return NULL;
    *count = elf->e_phnum;
    return (const ElfW(Phdr) *)(start + elf->e_phoff);
}

/* The build-id's note in the first page; 0: none. */
static MP_COLD uint64_t find_note(uintptr_t start, uintptr_t end, uintptr_t bias) {
    unsigned count = 0;
    const ElfW(Phdr) *header = headers_of(start, end, &count);
    for (unsigned i = 0; header && i < count; i++, header++) {
        uint64_t at = header->p_vaddr + bias - start;
        if (header->p_type != PT_NOTE || at >= HEAD || header->p_memsz > HEAD - at)
            continue;
        uint64_t note_end = at + header->p_memsz, word;
        uint64_t align = header->p_align == 8 ? 8 : 4;
        while (at + 12 <= note_end) {
            uint32_t sizes[2];
            if (is_build_id(start, at, &word))
                return at;
            memcpy(sizes, (const void *)(start + at), sizeof sizes);
            at += 12 + (((uint64_t)sizes[0] + 3) & ~(uint64_t)3);
            at = (at + align - 1) & ~(align - 1);
            at += ((uint64_t)sizes[1] + align - 1) & ~(align - 1);
        }
    }
    return 0;
}

/* 24 bits of the sum, each part of it spread by a multiplication that waits for no other. */
MP_INLINE uint32_t fold(uint64_t sum) {
    sum ^= sum >> 32;
    return (uint32_t)(sum * 0x9e3779b97f4a7c15u >> 40);
}

static uint32_t tag_of(const struct dl_find_object *found) {
    uintptr_t start = (uintptr_t)found->dlfo_map_start, end = (uintptr_t)found->dlfo_map_end;
    uintptr_t header = (uintptr_t)found->dlfo_eh_frame;
    uint64_t sum = start * 0xbf58476d1ce4e5b9u + end * 0x94d049bb133111ebu +
                   header * 0xd6e8feb86659fd93u +
                   (uintptr_t)found->dlfo_link_map * 0xa0761d6478bd642fu;
    uint64_t id = 0;
    if (end - start < HEAD || header < start || header > end - 16)
        return fold(sum);
    /* How much unwind data there is, and how many entries. */
    sum += load64(header + 4) * 0xe7037ed1a0b428dbu;
    _Atomic uint64_t *hint = &hints[(sum >> 58) % HINTS];
    uint64_t name = sum << 16 & ~(uint64_t)(HEAD - 1);
    uint64_t known = atomic_load_explicit(hint, memory_order_relaxed);
    if ((known & ~(uint64_t)(HEAD - 1)) != name) {
        known = name | find_note(start, end, found->dlfo_link_map->l_addr);
        /* One word: no order needed. */
        atomic_store_explicit(hint, known, memory_order_relaxed);
    }
    if (is_build_id(start, known & (HEAD - 1), &id))
        return fold(sum + id * 0x8ebc6af09c88c6e3u);
    /* Four entries of the table: in it and in .eh_frame behind it, if it is a short one. */
    uint64_t count = load64(header + 8) & 0xffffffff;
    for (uint64_t i = 1; i <= 4; i++) {
        uint64_t at = 12 + count * i / 4 * 8 - 8;
        if (count && at < end - 8 - header)
            sum += load64(header + at) * (0x8ebc6af09c88c6e3u + 2 * i);
    }
    return fold(sum);
}

static MP_NOINLINE bool find_object(uintptr_t address, struct dl_find_object *found) {
    return _dl_find_object && _dl_find_object((void *)address, found) == 0;
}

static struct mp_unwind_module module_of(const struct dl_find_object *found) {
    uintptr_t start = (uintptr_t)found->dlfo_map_start;
    return (struct mp_unwind_module){
        .start = start,
        .size = (uintptr_t)found->dlfo_map_end - start,
        .tag = tag_of(found),
    };
}

static void add_lasting(struct mp_unwind_module module) {
    unsigned at = lasting_count++;
    for (; at && lasting[at - 1].start > module.start; at--)
        lasting[at] = lasting[at - 1];
    lasting[at] = module;
}

/* The loader's list begins with what the program was started with, in the order in which one needs
 * the other, itself behind the first that needs it; what is loaded later comes at its end. So all
 * up to the loader can never be unloaded. Some behind it could not either: they are looked up anew
 * each time. */
int mp_cfi_start_modules(void) {
    struct dl_find_object loader, found;
    lasting_count = 0;
    if (!_dl_find_object)
        return -ENOSYS;
    if (!find_object((uintptr_t)_dl_find_object, &loader))
        return 0;
    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
        if (lasting_count < LASTING && find_object((uintptr_t)map->l_ld, &found) &&
            found.dlfo_link_map == map)
            add_lasting(module_of(&found));
        if (map == loader.dlfo_link_map)
            return 0;
    }
    lasting_count = 0; /* the loader is not in it: not the list that we know */
    return 0;
}

MP_NOINLINE bool mp_cfi_change_module(struct mp_cfi_modules *modules, uintptr_t address) {
    struct dl_find_object found;
    struct mp_unwind_module left = modules->last[0];
    modules->last[0] = modules->last[1];
    modules->last[1] = left;
    if (address - modules->last[0].start < modules->last[0].size)
        return true;
    const struct mp_unwind_module *stays = find_lasting(address);
    if (MP_LIKELY(stays != NULL)) {
        modules->last[0] = (struct mp_unwind_module){stays->start, stays->size, stays->tag, 0};
        return true;
    }
    if (!find_object(address, &found))
        return false;
    modules->last[0] = module_of(&found);
    passed.at[passed.count++ % PASSED] = modules->last[0];
    return address - modules->last[0].start < modules->last[0].size;
}

/* Where the unwind data of an address is: in the segment that holds its header, since between
 * segments there may be holes. A program whose own segments leave pages between them is several
 * objects to the loader, one for each segment, and the header is in another than the code. False:
 * there is none. */
MP_NOINLINE bool mp_cfi_find_tables(uintptr_t address, struct mp_cfi_tables *tables) {
    struct dl_find_object found;
    if (!find_object(address, &found) || !found.dlfo_eh_frame)
        return false;
    uintptr_t start = (uintptr_t)found.dlfo_map_start, end = (uintptr_t)found.dlfo_map_end;
    uintptr_t header = (uintptr_t)found.dlfo_eh_frame, bias = found.dlfo_link_map->l_addr;
    if (header < start || header >= end) {
        if (!find_object(header, &found) || (uintptr_t)found.dlfo_eh_frame != header)
            return false;
        *tables =
            (struct mp_cfi_tables){found.dlfo_map_start, found.dlfo_map_end, found.dlfo_eh_frame};
        return true;
    }
    unsigned count = 0;
    const ElfW(Phdr) *segment = headers_of(start, end, &count);
    *tables = (struct mp_cfi_tables){found.dlfo_map_start, found.dlfo_map_end, found.dlfo_eh_frame};
    for (unsigned i = 0; segment && i < count; i++, segment++) {
        uintptr_t low = segment->p_vaddr + bias, size = segment->p_memsz;
        if (segment->p_type == PT_LOAD && header - low < size && low >= start &&
            size <= end - low) {
            tables->low = (const unsigned char *)low;
            tables->high = (const unsigned char *)low + size;
            break;
        }
    }
    return true;
}
