/* The capture: from frame to frame by rows, most of which are in a cache that all threads share.
 *
 * What a frame costs, found in the cache: its module among the capture's last two, one cache line
 * for the row, and what it saved. Else _dl_find_object, a search of the table, and the programs:
 * some 300 ns.
 *
 * A row in the cache is right only for the module that it was made from; another one may be at its
 * address by now. So each capture looks up each module it passes through anew, and makes a tag
 * of what the loader says and of the build-id in the module itself; rows carry the tag. Nothing
 * that a row was made from is read again, as it may be gone, and a module with a frame on our stack
 * cannot go while we look. A file without a build-id is known by a few entries of its search table
 * instead. If tags ever agree by chance (1 in 2^24 per reload at the same address), captures in
 * that module are wrong, and no more: whatever a row says, the stack's bounds hold. */
#include "profile/cfi.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "profile/unwind.h"

extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* What is known of the registers of a frame that made a call. */
#define VALID_AFTER_CALL (MP_ARCH_PRESERVED | (uint64_t)1 << MP_ARCH_SP | (uint64_t)1 << MP_ARCH_PC)

/* ---- modules ---- */

struct modules {
    struct mp_unwind_module
        last[2]; /* that the capture was in, the current one first; size 0: none */
};

/* Those that this thread's last captures were in, round and round. */
#define PASSED 4u
static __thread struct {
    struct mp_unwind_module at[PASSED];
    unsigned count;
} passed __attribute__((tls_model("initial-exec")));

const struct mp_unwind_module *mp_unwind_module(uintptr_t address) {
    for (unsigned i = 0; i < PASSED; i++) {
        if (address - passed.at[i].start < passed.at[i].size)
            return &passed.at[i];
    }
    return NULL;
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

static MP_NOINLINE bool change_module(struct modules *modules, uintptr_t address) {
    struct dl_find_object found;
    struct mp_unwind_module left = modules->last[0];
    modules->last[0] = modules->last[1];
    modules->last[1] = left;
    if (address - modules->last[0].start < modules->last[0].size)
        return true;
    if (!find_object(address, &found))
        return false;
    uintptr_t start = (uintptr_t)found.dlfo_map_start;
    modules->last[0] =
        (struct mp_unwind_module){start, (uintptr_t)found.dlfo_map_end - start, tag_of(&found)};
    passed.at[passed.count++ % PASSED] = modules->last[0];
    return address - start < modules->last[0].size;
}

/* False: the address is in no module. */
MP_INLINE bool enter_module(struct modules *modules, uintptr_t address) {
    return MP_LIKELY(address - modules->last[0].start < modules->last[0].size) ||
           change_module(modules, address);
}

/* Where the unwind data of an address is: in the segment that holds its header, since between
 * segments there may be holes. A program whose own segments leave pages between them is several
 * objects to the loader, one for each segment, and the header is in another than the code. False:
 * there is none. */
static MP_NOINLINE bool find_tables(uintptr_t address, struct mp_cfi_tables *tables) {
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

/* ---- rows in the cache ---- */

#define SLOT_WORDS ((MP_ARCH_SAVED_COUNT + 3) / 4)

static const uint8_t saved[MP_ARCH_SAVED_COUNT] = {MP_ARCH_SAVED};

enum { SLOT_RA, SLOT_FP }; /* the order of MP_ARCH_SAVED */

/* A row, packed:
 *
 *   key      address << 16 | version; a version that is odd: being written
 *   rule     CFA's offset << 32 | module's tag << 8 | END << 7 | CFA's register
 *   offsets  from the CFA, of the registers of `saved`: 16 bits signed, / 8; 0: not saved
 *
 * A reader takes the key before and after; as the version grows with each change, a row that is the
 * same in both is whole. A writer that finds another at work leaves the entry to it; so does a
 * signal handler in the midst of a write. One that dies there costs one entry of 4096. */
struct entry {
    _Atomic uint64_t key;
    _Atomic uint64_t rule;
    _Atomic uint64_t offsets[SLOT_WORDS];
};

#define CACHE_BITS 12
#define END_BIT    0x80u

/* A row is in either of two entries, side by side: in one alone, two of twenty frames would fall on
 * the same in every twentieth stack, and be searched for anew each time. */
static struct entry cache[1 << CACHE_BITS] __attribute__((aligned(MP_CACHE_LINE)));

struct packed {
    uint64_t rule;
    uint64_t offsets[SLOT_WORDS];
};

MP_INLINE uint64_t cfa_from(const struct packed *row, uint64_t base) {
    return base + (uint64_t)((int64_t)row->rule >> 32);
}

/* Where a register was saved; at the CFA itself: nowhere. */
MP_INLINE uint64_t saved_at(const struct packed *row, unsigned slot, uint64_t cfa) {
    int64_t offset = (int16_t)(row->offsets[slot / 4] >> slot % 4 * 16);
    return cfa + (uint64_t)(offset * 8);
}

MP_INLINE uint64_t return_address_at(const struct packed *row, uint64_t cfa) {
    return MP_ARCH_CALL_PUSHES ? cfa - 8 : saved_at(row, SLOT_RA, cfa);
}

/* Each frame waits for this: no multiplication. */
MP_INLINE struct entry *entry_of(uint64_t address) {
    return &cache[(address ^ address >> CACHE_BITS) & ((1u << CACHE_BITS) - 1)];
}

MP_INLINE struct entry *other_of(struct entry *entry) {
    return &cache[(size_t)(entry - cache) ^ 1];
}

/* Relaxed up to the last load: acquire on each keeps them in order, which costs nothing on x86-64.
 */
MP_INLINE bool read_entry(const struct entry *entry, uint64_t address, uint32_t tag, unsigned words,
                          struct packed *row) {
    uint64_t key = atomic_load_explicit(&entry->key, memory_order_acquire);
    if (MP_UNLIKELY(key >> 16 != address || (key & 1)))
        return false;
    row->rule = atomic_load_explicit(&entry->rule, memory_order_acquire);
    for (unsigned i = 0; i < words; i++)
        row->offsets[i] = atomic_load_explicit(&entry->offsets[i], memory_order_acquire);
    return MP_LIKELY(((uint32_t)row->rule >> 8) == tag) &&
           MP_LIKELY(atomic_load_explicit(&entry->key, memory_order_relaxed) == key);
}

MP_INLINE bool look_up(uint64_t address, uint32_t tag, unsigned words, struct packed *row) {
    struct entry *entry = entry_of(address);
    return MP_LIKELY(read_entry(entry, address, tag, words, row)) ||
           read_entry(other_of(entry), address, tag, words, row);
}

/* The one that has the address already, or else the one that has changed less often. */
static struct entry *entry_for(uint64_t address) {
    struct entry *entry = entry_of(address), *other = other_of(entry);
    uint64_t key = atomic_load_explicit(&entry->key, memory_order_relaxed);
    uint64_t key_of_other = atomic_load_explicit(&other->key, memory_order_relaxed);
    if (key >> 16 == address)
        return entry;
    if (key_of_other >> 16 == address)
        return other;
    return (key & 0xffff) <= (key_of_other & 0xffff) ? entry : other;
}

static void keep(uint64_t address, const struct packed *row) {
    struct entry *entry = entry_for(address);
    uint64_t key = atomic_load_explicit(&entry->key, memory_order_relaxed);
    uint64_t version = (key + 1) & 0xffff;
    if ((key & 1) || !atomic_compare_exchange_strong_explicit(
                         &entry->key, &key, version, memory_order_acquire, memory_order_relaxed))
        return;
    /* Release: whoever sees one of these sees the odd version too. */
    atomic_store_explicit(&entry->rule, row->rule, memory_order_release);
    for (unsigned i = 0; i < SLOT_WORDS; i++)
        atomic_store_explicit(&entry->offsets[i], row->offsets[i], memory_order_release);
    atomic_store_explicit(&entry->key, address << 16 | ((version + 1) & 0xffff),
                          memory_order_release);
}

static unsigned slot_of(unsigned reg) {
    unsigned slot = 0;
    while (slot < MP_ARCH_SAVED_COUNT && saved[slot] != reg)
        slot++;
    return slot;
}

static void put(struct packed *packed, unsigned slot, int32_t offset) {
    packed->offsets[slot / 4] |= (uint64_t)(uint16_t)(offset / 8) << slot % 4 * 16;
}

/* False: it says more than a place in the cache can hold. */
static bool pack(const struct mp_cfi_row *row, uint32_t tag, struct packed *packed) {
    *packed = (struct packed){0};
    packed->rule = tag << 8;
    if (row->signal)
        return false;
    if (row->rule[MP_ARCH_RA - MP_ARCH_RULES_FIRST] == MP_CFI_UNDEFINED) {
        packed->rule |= END_BIT;
        return true;
    }
    if (row->cfa_rule != MP_CFI_VALUE)
        return false;
    packed->rule |= (uint64_t)(uint32_t)row->cfa_value << 32 | row->cfa_register;
    for (unsigned i = 0; i < MP_ARCH_RULES; i++) {
        unsigned slot = slot_of(MP_ARCH_RULES_FIRST + i);
        int32_t offset = row->value[i];
        if (row->rule[i] == MP_CFI_SAME)
            continue;
        if (row->rule[i] != MP_CFI_OFFSET || slot == MP_ARCH_SAVED_COUNT || offset >= 0 ||
            offset % 8 != 0 || offset / 8 < INT16_MIN)
            return false;
        put(packed, slot, offset);
    }
    /* Where the return address is in a register, only an interrupted frame can go on. */
    return saved_at(packed, SLOT_RA, 0) != 0 &&
           saved_at(packed, SLOT_RA, 0) == return_address_at(packed, 0);
}

/* ---- from frame to frame, with all registers ---- */

struct capture {
    struct mp_cfi_registers *registers;
    struct mp_stack stack;
    struct modules modules;
    uintptr_t stack_start; /* where this stack was entered */
};

/* Code without data: what the kernel put there to return from a handler? */
static enum mp_cfi_step leave_signal(struct capture *capture) {
    struct mp_cfi_registers *registers = capture->registers;
    struct mp_stack text = {0, 0, false};
    uint64_t pc = registers->r[MP_ARCH_PC], word;
    uint32_t code[2];
    for (unsigned i = 0; MP_ARCH_SIGNAL_CODE && i < 2; i++) {
        uint64_t at = pc + i * 4;
        if (!mp_stack_read(&text, at & ~(uint64_t)7, &word))
            return MP_CFI_BROKEN;
        code[i] = (uint32_t)(word >> (at & 4) * 8);
    }
    uintptr_t at =
        MP_ARCH_SIGNAL_CODE ? mp_arch_signal_registers(code, registers->r[MP_ARCH_SP]) : 0;
    if (!at)
        return MP_CFI_BROKEN;
    for (unsigned i = 0; i < MP_ARCH_REGISTERS; i++)
        if (!mp_stack_read(&capture->stack, at + i * 8, &registers->r[i]))
            return MP_CFI_BROKEN;
    registers->valid = ((uint64_t)1 << MP_ARCH_REGISTERS) - 1;
    registers->exact = true;
    return MP_CFI_STEPPED;
}

static MP_NOINLINE enum mp_cfi_step step_by_tables(struct capture *capture, uint64_t address) {
    struct mp_cfi_tables tables;
    struct mp_cfi_row row;
    struct packed packed;
    if (!find_tables(address, &tables))
        return leave_signal(capture);
    int error = mp_cfi_find_row(&tables, address, &row);
    if (error == -ENOENT && !capture->registers->exact &&
        mp_cfi_find_row(&tables, address + 1, &row) == 0)
        return MP_CFI_END; /* nobody calls from there: makecontext put it on a stack of its own */
    if (error)
        return error == -ENOENT ? leave_signal(capture) : MP_CFI_BROKEN;
    if (pack(&row, capture->modules.last[0].tag, &packed))
        keep(address, &packed);
    return mp_cfi_apply(&tables, &row, capture->registers, &capture->stack);
}

/* False: the row cannot be followed, or not without asking for more of the stack. */
static bool step_by_row(struct capture *capture, const struct packed *row) {
    struct mp_cfi_registers *registers = capture->registers;
    unsigned reg = row->rule & 0x7f;
    uint64_t cfa = cfa_from(row, registers->r[reg]), read = 0;
    if (!(registers->valid >> reg & 1) || MP_STACK_UNALIGNED(cfa) ||
        cfa <= registers->r[MP_ARCH_SP])
        return false;
    for (unsigned i = 0; i < MP_ARCH_SAVED_COUNT; i++)
        if (saved_at(row, i, cfa) != cfa && !mp_stack_has(&capture->stack, saved_at(row, i, cfa)))
            return false;
    for (unsigned i = 0; i < MP_ARCH_SAVED_COUNT; i++) {
        if (saved_at(row, i, cfa) != cfa) {
            registers->r[saved[i]] = mp_stack_word(saved_at(row, i, cfa));
            read |= (uint64_t)1 << saved[i];
        }
    }
    registers->r[MP_ARCH_SP] = cfa;
    registers->r[MP_ARCH_PC] = mp_arch_code_address(registers->r[MP_ARCH_RA]);
    registers->valid = ((registers->valid | read) & VALID_AFTER_CALL);
    registers->exact = false;
    return true;
}

static enum mp_cfi_step step(struct capture *capture) {
    struct mp_cfi_registers *registers = capture->registers;
    uint64_t address = mp_cfi_address(registers);
    enum mp_cfi_step stepped;
    struct packed row;
    if (!enter_module(&capture->modules, address)) {
        stepped = leave_signal(capture);
    } else {
        if (look_up(address, capture->modules.last[0].tag, SLOT_WORDS, &row)) {
            if (row.rule & END_BIT)
                return MP_CFI_END;
            if (step_by_row(capture, &row)) {
                uint64_t pc = registers->r[MP_ARCH_PC];
                return pc >> 48 ? MP_CFI_BROKEN : pc ? MP_CFI_STEPPED : MP_CFI_END;
            }
        }
        stepped = step_by_tables(capture, address);
    }
    if (stepped == MP_CFI_STEPPED && registers->exact) {
        capture->stack_start = registers->r[MP_ARCH_SP];
        mp_stack_enter(&capture->stack, capture->stack_start, false);
    }
    return stepped;
}

static MP_NOINLINE struct mp_unwound capture_all(struct mp_cfi_registers *registers,
                                                 struct mp_unwinding unwinding) {
    struct capture capture = {.registers = registers, .stack_start = registers->r[MP_ARCH_SP]};
    enum mp_cfi_step stepped;
    unsigned flags = 0;
    mp_stack_enter(&capture.stack, capture.stack_start, true);
    while ((stepped = step(&capture)) == MP_CFI_STEPPED) {
        uint64_t exact = registers->exact ? MP_UNWIND_EXACT : 0;
        enum mp_unwinding_next on = mp_unwinding_add(&unwinding, registers->r[MP_ARCH_PC] | exact);
        if (on == MP_UNWINDING_FULL)
            flags = MP_UNWIND_CUT;
        if (on != MP_UNWINDING_ON)
            break;
    }
    if (stepped == MP_CFI_BROKEN)
        flags = MP_UNWIND_BROKEN;
    mp_stack_leave(&capture.stack, capture.stack_start, registers->r[MP_ARCH_SP]);
    return (struct mp_unwound){unwinding.depth, flags};
}

/* ---- from frame to frame, with the stack and frame pointers alone ---- */

struct light {
    uint64_t address, sp, fp; /* the first is within the call, or of the instruction under way */
};

/* Almost all frames are found from these two, and almost always all rows are in the cache. Then
 * nothing else needs to be read. Where that fails, everything is done again, with all registers:
 * false. What changes from frame to frame is in variables that have no address, so that no frame
 * waits for a store of the one before. */
static MP_NOINLINE bool capture_light(struct light from, struct mp_unwinding unwinding,
                                      struct mp_unwound *unwound) {
    struct modules modules = {0};
    struct mp_stack stack;
    uint64_t address = from.address, sp = from.sp, fp = from.fp;
    mp_stack_enter(&stack, sp, true);
    unwound->flags = 0;
    for (;;) {
        struct packed row;
        if (!enter_module(&modules, address) ||
            MP_UNLIKELY(!look_up(address, modules.last[0].tag, 1, &row)))
            return false;
        if (MP_UNLIKELY(row.rule & END_BIT))
            break;
        unsigned reg = row.rule & 0x7f;
        if (MP_UNLIKELY(reg != MP_ARCH_SP && reg != MP_ARCH_FP))
            return false;
        uint64_t base = fp;
        if (reg == MP_ARCH_SP) {
            base = sp;
            __asm__("" : "+r"(base)); /* a branch, which is foreseen: a selection is waited for */
        }
        uint64_t cfa = cfa_from(&row, base);
        uint64_t ra_at = return_address_at(&row, cfa), fp_at = saved_at(&row, SLOT_FP, cfa);
        if (MP_UNLIKELY(MP_STACK_UNALIGNED(cfa) || cfa <= sp || !mp_stack_has(&stack, ra_at)))
            return false;
        if (fp_at != cfa) {
            if (MP_UNLIKELY(!mp_stack_has(&stack, fp_at)))
                return false;
            fp = mp_stack_word(fp_at);
        }
        uint64_t pc = mp_arch_code_address(mp_stack_word(ra_at));
        sp = cfa;
        address = pc - 1;
        if (MP_UNLIKELY(address >> 48)) { /* or 0 */
            if (pc)
                return false;
            break;
        }
        enum mp_unwinding_next on = mp_unwinding_add(&unwinding, pc);
        if (MP_UNLIKELY(on != MP_UNWINDING_ON)) {
            if (on == MP_UNWINDING_FULL)
                unwound->flags = MP_UNWIND_CUT;
            break;
        }
    }
    unwound->depth = unwinding.depth;
    mp_stack_leave(&stack, from.sp, sp);
    return true;
}

/* Our own frames keep frame pointers, which is how unwind=fp passes through them: two loads each
 * instead of a row. To the frame that called us from `caller`; false: it is not found so, or not
 * without asking for more of the stack. */
MP_INLINE bool leave_own_frames(struct light *from, const void *caller) {
    uintptr_t fp = (uintptr_t)__builtin_frame_address(0);
    struct mp_stack stack;
    mp_stack_enter(&stack, fp, true);
    for (unsigned i = 0; MP_ARCH_CALL_PUSHES && i < MP_UNWIND_OWN_FRAMES; i++) {
        if (MP_STACK_UNALIGNED(fp) || !mp_stack_has(&stack, fp) || !mp_stack_has(&stack, fp + 8))
            return false;
        uintptr_t next = mp_stack_word(fp);
        if (mp_stack_word(fp + 8) == (uintptr_t)caller) {
            *from = (struct light){(uintptr_t)caller - 1, fp + 16, next};
            return true;
        }
        if (next <= fp)
            return false;
        fp = next;
    }
    return false;
}

static MP_NOINLINE bool capture_from_caller(uint64_t *frames, unsigned max, const void *caller,
                                            struct mp_unwound *unwound) {
    struct light from;
    if (MP_UNLIKELY(!caller) || MP_UNLIKELY(!leave_own_frames(&from, caller)))
        return false;
    memset(&passed, 0, sizeof passed);
    struct mp_unwinding unwinding = mp_unwinding_begin(frames, max, NULL);
    mp_unwinding_add(&unwinding, (uintptr_t)caller);
    return capture_light(from, unwinding, unwound);
}

MP_NOINLINE struct mp_unwound mp_cfi_capture(uint64_t *frames, unsigned max, const void *caller) {
    struct mp_unwound unwound;
    if (MP_LIKELY(capture_from_caller(frames, max, caller, &unwound)))
        return unwound;
    memset(&passed, 0, sizeof passed);
    struct mp_unwinding unwinding = mp_unwinding_begin(frames, max, caller);
    struct mp_cfi_registers registers; /* both begin here, in this function's own frame */
    mp_arch_registers(registers.r);
    registers.valid = VALID_AFTER_CALL;
    registers.exact = true;
    struct light from = {registers.r[MP_ARCH_PC], registers.r[MP_ARCH_SP], registers.r[MP_ARCH_FP]};
    if (MP_LIKELY(capture_light(from, unwinding, &unwound)))
        return unwound;
    return capture_all(&registers, unwinding);
}

int mp_cfi_start(void) {
    return _dl_find_object ? 0 : -ENOSYS;
}
