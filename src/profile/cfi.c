/* The capture: from frame to frame by rows, most of which are in a cache that all threads share.
 *
 * What a frame costs, found in the cache: its module among the capture's last two, one cache line
 * for the row, and what it saved. Else _dl_find_object, a search of the table, and the programs:
 * some 300 ns.
 *
 * A row in the cache is right only for the module that it was made from: rows carry its tag
 * (cfi_module.h). Whatever a row says, the stack's bounds hold. */
#include "profile/cfi.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "profile/cfi_module.h"
#include "profile/unwind.h"

/* What is known of the registers of a frame that made a call. */
#define VALID_AFTER_CALL (MP_ARCH_PRESERVED | (uint64_t)1 << MP_ARCH_SP | (uint64_t)1 << MP_ARCH_PC)

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
    struct mp_cfi_modules modules;
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
    if (!mp_cfi_find_tables(address, &tables))
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
    if (!mp_cfi_enter_module(&capture->modules, address)) {
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
    struct mp_cfi_modules modules = {0};
    struct mp_stack stack;
    uint64_t address = from.address, sp = from.sp, fp = from.fp;
    mp_stack_enter(&stack, sp, true);
    unwound->flags = 0;
    for (;;) {
        struct packed row;
        if (!mp_cfi_enter_module(&modules, address) ||
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
    mp_cfi_forget_modules();
    struct mp_unwinding unwinding = mp_unwinding_begin(frames, max, NULL);
    mp_unwinding_add(&unwinding, (uintptr_t)caller);
    return capture_light(from, unwinding, unwound);
}

MP_NOINLINE struct mp_unwound mp_cfi_capture(uint64_t *frames, unsigned max, const void *caller) {
    struct mp_unwound unwound;
    if (MP_LIKELY(capture_from_caller(frames, max, caller, &unwound)))
        return unwound;
    mp_cfi_forget_modules();
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
    return mp_cfi_start_modules();
}
