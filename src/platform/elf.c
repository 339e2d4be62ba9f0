#include "platform/elf.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "platform/arch.h"

struct symbols {
    const ElfW(Sym) * table;
    const char *names;
    const uint32_t *gnu_hash;
};

static uint32_t hash_of(const char *name) {
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* The loader relocates the addresses in most objects' dynamic sections, but not in the vDSO's. */
static const void *dynamic_address(const struct link_map *map, ElfW(Addr) value) {
    return (const void *)(value < map->l_addr ? value + map->l_addr : value);
}

static const ElfW(Sym) * find_symbol(const struct symbols *symbols, const char *name) {
    const uint32_t *header = symbols->gnu_hash;
    uint32_t bucket_count = header[0], first = header[1], bloom_words = header[2];
    const uint32_t *buckets = header + 4 + bloom_words * (sizeof(ElfW(Addr)) / 4);
    const uint32_t *chain = buckets + bucket_count;
    uint32_t hash = hash_of(name);
    uint32_t index = bucket_count ? buckets[hash % bucket_count] : 0;
    if (index < first)
        return NULL;
    for (;; index++) {
        uint32_t entry = chain[index - first];
        const ElfW(Sym) *symbol = &symbols->table[index];
        if ((entry | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            strcmp(symbols->names + symbol->st_name, name) == 0)
            return symbol;
        if (entry & 1)
            return NULL;
    }
}

const void *mp_elf_find(const struct link_map *map, const char *name) {
    struct symbols symbols = {0};
    for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++) {
        const void *address = dynamic_address(map, entry->d_un.d_ptr);
        if (entry->d_tag == DT_SYMTAB)
            symbols.table = address;
        else if (entry->d_tag == DT_STRTAB)
            symbols.names = address;
        else if (entry->d_tag == DT_GNU_HASH)
            symbols.gnu_hash = address;
    }
    if (!symbols.table || !symbols.names || !symbols.gnu_hash)
        return NULL;
    const ElfW(Sym) *symbol = find_symbol(&symbols, name);
    return symbol ? (const char *)map->l_addr + symbol->st_value : NULL;
}

/* This object's own dynamic section: how it knows itself in the loader's list. */
extern MP_HIDDEN ElfW(Dyn) _DYNAMIC[];

const char *mp_elf_own_path(void) {
    for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
        if (map->l_ld == _DYNAMIC)
            return map->l_name;
    }
    return "";
}

const void *mp_elf_find_next(const char *name) {
    bool past_us = false;
    for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
        const void *address = past_us ? mp_elf_find(map, name) : NULL;
        if (address)
            return address;
        past_us |= map->l_ld == _DYNAMIC;
    }
    return NULL;
}
