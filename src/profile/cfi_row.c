/* From tables to a row. The linker's search table (.eh_frame_hdr) leads to the function's entry
 * (FDE), that to what it has in common with others (CIE); both carry a little program that changes
 * the row as the address advances, and is run up to ours.
 *
 *   .eh_frame_hdr: version, encodings | .eh_frame | count | function, FDE | function, FDE | ...
 *   CIE: length, 0, version, "zR..", factors, return address column, augmentation | program
 *   FDE: length, distance back to the CIE, first address, size, augmentation | program */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "profile/cfi.h"

/* How pointers are written: a format in the low four bits, then what they are relative to. */
enum {
    PE_POINTER = 0x00,
    PE_ULEB = 0x01,
    PE_U2 = 0x02,
    PE_U4 = 0x03,
    PE_U8 = 0x04,
    PE_SLEB = 0x09,
    PE_S2 = 0x0a,
    PE_S4 = 0x0b,
    PE_S8 = 0x0c,
    PE_FORMAT = 0x0f,
    PE_HERE = 0x10,   /* relative to its own address */
    PE_HEADER = 0x30, /* to .eh_frame_hdr */
    PE_BASE = 0x70,
    PE_INDIRECT = 0x80,
    PE_OMIT = 0xff,
};

enum {
    CFA_NOP = 0x00,
    CFA_SET_LOC = 0x01,
    CFA_ADVANCE_LOC1 = 0x02,
    CFA_ADVANCE_LOC2 = 0x03,
    CFA_ADVANCE_LOC4 = 0x04,
    CFA_OFFSET_EXTENDED = 0x05,
    CFA_RESTORE_EXTENDED = 0x06,
    CFA_UNDEFINED = 0x07,
    CFA_SAME_VALUE = 0x08,
    CFA_REGISTER = 0x09,
    CFA_REMEMBER_STATE = 0x0a,
    CFA_RESTORE_STATE = 0x0b,
    CFA_DEF_CFA = 0x0c,
    CFA_DEF_CFA_REGISTER = 0x0d,
    CFA_DEF_CFA_OFFSET = 0x0e,
    CFA_DEF_CFA_EXPRESSION = 0x0f,
    CFA_EXPRESSION = 0x10,
    CFA_OFFSET_EXTENDED_SF = 0x11,
    CFA_DEF_CFA_SF = 0x12,
    CFA_DEF_CFA_OFFSET_SF = 0x13,
    CFA_VAL_OFFSET = 0x14,
    CFA_VAL_OFFSET_SF = 0x15,
    CFA_VAL_EXPRESSION = 0x16,
    CFA_NEGATE_RA_STATE = 0x2d, /* aarch64; addresses are stripped of signatures in any case */
    CFA_ARGS_SIZE = 0x2e,
    CFA_NEGATIVE_OFFSET_EXTENDED = 0x2f,
    CFA_ADVANCE_LOC = 0x40, /* with six bits of operand, like the next two */
    CFA_OFFSET = 0x80,
    CFA_RESTORE = 0xc0,
};

/* States that a function may have remembered at a time; compilers need one. */
#define REMEMBERED 2

struct common { /* a CIE */
    struct mp_cfi_bytes program;
    uint64_t code_factor;
    int64_t data_factor;
    uint8_t encoding; /* of the FDEs' addresses */
    bool sized;       /* the FDEs have augmentation data */
    bool signal;
};

struct function { /* an FDE */
    struct common common;
    struct mp_cfi_bytes program;
    uint64_t start, size;
};

/* A program under way. */
struct machine {
    const struct mp_cfi_tables *tables;
    const struct function *function;
    uint64_t target, location;
    struct mp_cfi_row *row;
    struct mp_cfi_row initial; /* as the CIE's program left it */
    struct mp_cfi_row remembered[REMEMBERED];
    unsigned depth;
};

/* ---- bytes ---- */

uint64_t mp_cfi_read(struct mp_cfi_bytes *bytes, unsigned size) {
    uint64_t value = 0;
    if ((size_t)(bytes->end - bytes->at) < size) {
        bytes->at = bytes->end;
        bytes->bad = true;
        return 0;
    }
    memcpy(&value, bytes->at, size);
    bytes->at += size;
    return value;
}

static uint64_t read_leb(struct mp_cfi_bytes *bytes, bool is_signed) {
    uint64_t value = 0;
    unsigned shift = 0;
    unsigned char byte;
    do {
        byte = (unsigned char)mp_cfi_read(bytes, 1);
        if (shift > 63) /* no number is that long */
            bytes->bad = true;
        if (bytes->bad)
            return 0;
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (is_signed && shift < 64 && (byte & 0x40))
        value |= ~(uint64_t)0 << shift;
    return value;
}

uint64_t mp_cfi_read_uleb(struct mp_cfi_bytes *bytes) {
    return read_leb(bytes, false);
}

int64_t mp_cfi_read_sleb(struct mp_cfi_bytes *bytes) {
    return (int64_t)read_leb(bytes, true);
}

void mp_cfi_skip(struct mp_cfi_bytes *bytes, uint64_t size) {
    if (size > (uint64_t)(bytes->end - bytes->at)) {
        bytes->at = bytes->end;
        bytes->bad = true;
    } else {
        bytes->at += size;
    }
}

static int64_t sign_extend(uint64_t value, unsigned bits) {
    return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

static uint64_t read_format(struct mp_cfi_bytes *bytes, uint8_t encoding) {
    switch (encoding & PE_FORMAT) {
    case PE_POINTER:
    case PE_U8:
    case PE_S8:
        return mp_cfi_read(bytes, 8);
    case PE_ULEB:
        return mp_cfi_read_uleb(bytes);
    case PE_U2:
        return mp_cfi_read(bytes, 2);
    case PE_U4:
        return mp_cfi_read(bytes, 4);
    case PE_SLEB:
        return (uint64_t)mp_cfi_read_sleb(bytes);
    case PE_S2:
        return (uint64_t)sign_extend(mp_cfi_read(bytes, 2), 16);
    case PE_S4:
        return (uint64_t)sign_extend(mp_cfi_read(bytes, 4), 32);
    default:
        bytes->bad = true;
        return 0;
    }
}

static uint64_t read_pointer(const struct mp_cfi_tables *tables, struct mp_cfi_bytes *bytes,
                             uint8_t encoding) {
    uint64_t here = (uintptr_t)bytes->at;
    uint64_t value = read_format(bytes, encoding);
    if (encoding & PE_INDIRECT) /* never of code addresses: they would need relocations */
        bytes->bad = true;
    switch (encoding & PE_BASE) {
    case 0:
        return value;
    case PE_HERE:
        return value + here;
    case PE_HEADER:
        return value + (uintptr_t)tables->header;
    default:
        bytes->bad = true;
        return 0;
    }
}

static struct mp_cfi_bytes bytes_from(const struct mp_cfi_tables *tables, uint64_t address) {
    if (address < (uintptr_t)tables->low || address >= (uintptr_t)tables->high)
        return (struct mp_cfi_bytes){tables->high, tables->high, true};
    return (struct mp_cfi_bytes){tables->low + (address - (uintptr_t)tables->low), tables->high,
                                 false};
}

/* ---- the entry of an address ---- */

/* The address of the FDE of the last function that begins at `address` or before; 0: none. */
static MP_NOINLINE uint64_t search(const struct mp_cfi_tables *tables, uint64_t address) {
    struct mp_cfi_bytes bytes = bytes_from(tables, (uintptr_t)tables->header);
    uint32_t head = (uint32_t)mp_cfi_read(&bytes, 4);
    uint8_t frame_encoding = (uint8_t)(head >> 8), count_encoding = (uint8_t)(head >> 16);
    /* What linkers write, if they write a table; no walk through all entries without one. */
    if ((head & 0xff) != 1 || head >> 24 != (PE_HEADER | PE_S4) || count_encoding == PE_OMIT)
        return 0;
    if (frame_encoding != PE_OMIT)
        read_format(&bytes, frame_encoding);
    uint64_t count = read_pointer(tables, &bytes, count_encoding);
    if (bytes.bad || !count || count > (uint64_t)(bytes.end - bytes.at) / 8)
        return 0;
    const unsigned char *table = bytes.at;
    uint64_t header = (uintptr_t)tables->header;
    int64_t wanted = (int64_t)(address - header);
    uint64_t low = 0, high = count; /* the entry is in [low, high), or before the first */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        int32_t start;
        memcpy(&start, table + middle * 8, 4);
        if (start <= wanted)
            low = middle;
        else
            high = middle;
    }
    int32_t entry[2];
    memcpy(entry, table + low * 8, 8);
    return entry[0] <= wanted ? header + (uint64_t)(int64_t)entry[1] : 0;
}

/* The bytes of a CIE or FDE behind its length. */
static struct mp_cfi_bytes entry_at(const struct mp_cfi_tables *tables, uint64_t address) {
    struct mp_cfi_bytes bytes = bytes_from(tables, address);
    uint64_t length = mp_cfi_read(&bytes, 4);
    if (length == 0xffffffff)
        length = mp_cfi_read(&bytes, 8);
    if (length > (uint64_t)(bytes.end - bytes.at))
        bytes.bad = true;
    else
        bytes.end = bytes.at + length;
    return bytes;
}

static void read_augmentation(struct mp_cfi_bytes *bytes, const unsigned char *letter,
                              struct common *common) {
    uint64_t size = mp_cfi_read_uleb(bytes);
    struct mp_cfi_bytes data = *bytes;
    mp_cfi_skip(bytes, size);
    data.end = bytes->at;
    for (; *letter; letter++) {
        if (*letter == 'R') {
            common->encoding = (uint8_t)mp_cfi_read(&data, 1);
        } else if (*letter == 'P') {
            uint8_t encoding = (uint8_t)mp_cfi_read(&data, 1);
            if ((encoding & PE_BASE) == 0x50) /* aligned: nobody writes it */
                data.bad = true;
            read_format(&data, encoding);
        } else if (*letter == 'L') {
            mp_cfi_read(&data, 1);
        } else if (*letter == 'S') {
            common->signal = true;
        } else if (*letter != 'B' && *letter != 'G') { /* aarch64: another key, tagged memory */
            data.bad = true;
        }
    }
    bytes->bad |= data.bad;
}

static int read_common(const struct mp_cfi_tables *tables, uint64_t address,
                       struct common *common) {
    struct mp_cfi_bytes bytes = entry_at(tables, address);
    *common = (struct common){.encoding = PE_POINTER};
    uint64_t id = mp_cfi_read(&bytes, 4);
    uint64_t version = mp_cfi_read(&bytes, 1);
    const unsigned char *letters = bytes.at;
    while (!bytes.bad && mp_cfi_read(&bytes, 1))
        ;
    if (bytes.bad || id != 0 || (version != 1 && version != 3))
        return -EINVAL;
    common->code_factor = mp_cfi_read_uleb(&bytes);
    common->data_factor = mp_cfi_read_sleb(&bytes);
    uint64_t column = version == 1 ? mp_cfi_read(&bytes, 1) : mp_cfi_read_uleb(&bytes);
    if (column != MP_ARCH_RA)
        return -EINVAL;
    common->sized = letters[0] == 'z';
    if (common->sized)
        read_augmentation(&bytes, letters + 1, common);
    else if (letters[0])
        return -EINVAL;
    common->program = bytes;
    return bytes.bad ? -EINVAL : 0;
}

static MP_NOINLINE int read_function(const struct mp_cfi_tables *tables, uint64_t address,
                                     struct function *function) {
    struct mp_cfi_bytes bytes = entry_at(tables, address);
    uint64_t here = (uintptr_t)bytes.at;
    uint64_t back = mp_cfi_read(&bytes, 4);
    if (bytes.bad || back == 0)
        return -EINVAL;
    int error = read_common(tables, here - back, &function->common);
    if (error)
        return error;
    uint8_t encoding = function->common.encoding;
    function->start = read_pointer(tables, &bytes, encoding);
    function->size = read_format(&bytes, encoding);
    if ((encoding & PE_FORMAT) == PE_S4)
        function->size &= 0xffffffff;
    if (function->common.sized)
        mp_cfi_skip(&bytes, mp_cfi_read_uleb(&bytes));
    function->program = bytes;
    return bytes.bad ? -EINVAL : 0;
}

/* ---- programs ---- */

/* False: a value that a row has no room for. */
static bool set_rule(struct machine *machine, uint64_t reg, enum mp_cfi_rule rule, int64_t value) {
    if (value != (int32_t)value)
        return false;
    uint64_t index = reg - MP_ARCH_RULES_FIRST;
    if (index < MP_ARCH_RULES) { /* others are of no interest: vector registers, flags */
        machine->row->rule[index] = (uint8_t)rule;
        machine->row->value[index] = (int32_t)value;
    }
    return true;
}

static bool set_factored(struct machine *machine, uint64_t reg, enum mp_cfi_rule rule,
                         int64_t value) {
    int64_t product;
    return !__builtin_mul_overflow(value, machine->function->common.data_factor, &product) &&
           set_rule(machine, reg, rule, product);
}

static bool set_initial(struct machine *machine, uint64_t reg) {
    uint64_t index = reg - MP_ARCH_RULES_FIRST;
    if (index < MP_ARCH_RULES) {
        machine->row->rule[index] = machine->initial.rule[index];
        machine->row->value[index] = machine->initial.value[index];
    }
    return true;
}

static bool set_cfa(struct machine *machine, uint64_t reg, int64_t value) {
    if (reg >= MP_ARCH_REGISTERS || value != (int32_t)value)
        return false;
    machine->row->cfa_rule = MP_CFI_VALUE;
    machine->row->cfa_register = (uint8_t)reg;
    machine->row->cfa_value = (int32_t)value;
    return true;
}

/* Changes one half of a CFA that is a register and an offset. */
static bool set_cfa_offset(struct machine *machine, int64_t value) {
    return machine->row->cfa_rule == MP_CFI_VALUE &&
           set_cfa(machine, machine->row->cfa_register, value);
}

static bool factor(const struct machine *machine, int64_t *value) {
    return !__builtin_mul_overflow(*value, machine->function->common.data_factor, value);
}

/* An expression stays where it is: the row says where. */
static int64_t skip_expression(const struct machine *machine, struct mp_cfi_bytes *bytes) {
    int64_t offset = bytes->at - machine->tables->low;
    mp_cfi_skip(bytes, mp_cfi_read_uleb(bytes));
    return offset;
}

/* False: past our address, and the row is the one that was looked for. */
static bool advance(struct machine *machine, uint64_t delta) {
    uint64_t step;
    if (__builtin_mul_overflow(delta, machine->function->common.code_factor, &step) ||
        step > machine->target - machine->location)
        return false;
    machine->location += step;
    return true;
}

static bool remember(struct machine *machine) {
    if (machine->depth == REMEMBERED)
        return false;
    machine->remembered[machine->depth++] = *machine->row;
    return true;
}

static bool recall(struct machine *machine) {
    if (machine->depth == 0)
        return false;
    *machine->row = machine->remembered[--machine->depth];
    return true;
}

/* One instruction that sets a register's rule or the CFA; false: it makes no sense. */
static bool run_rule(struct machine *machine, struct mp_cfi_bytes *bytes, unsigned op) {
    uint64_t reg = 0;
    int64_t value;
    if (op != CFA_DEF_CFA_OFFSET && op != CFA_DEF_CFA_OFFSET_SF && op != CFA_DEF_CFA_EXPRESSION)
        reg = mp_cfi_read_uleb(bytes);
    switch (op) {
    case CFA_OFFSET_EXTENDED:
        return set_factored(machine, reg, MP_CFI_OFFSET, (int64_t)mp_cfi_read_uleb(bytes));
    case CFA_OFFSET_EXTENDED_SF:
        return set_factored(machine, reg, MP_CFI_OFFSET, mp_cfi_read_sleb(bytes));
    case CFA_NEGATIVE_OFFSET_EXTENDED:
        return set_factored(machine, reg, MP_CFI_OFFSET, -(int64_t)mp_cfi_read_uleb(bytes));
    case CFA_VAL_OFFSET:
        return set_factored(machine, reg, MP_CFI_VALUE, (int64_t)mp_cfi_read_uleb(bytes));
    case CFA_VAL_OFFSET_SF:
        return set_factored(machine, reg, MP_CFI_VALUE, mp_cfi_read_sleb(bytes));
    case CFA_RESTORE_EXTENDED:
        return set_initial(machine, reg);
    case CFA_UNDEFINED:
        return set_rule(machine, reg, MP_CFI_UNDEFINED, 0);
    case CFA_SAME_VALUE:
        return set_rule(machine, reg, MP_CFI_SAME, 0);
    case CFA_REGISTER:
        value = (int64_t)mp_cfi_read_uleb(bytes);
        return value >= 0 && value < MP_ARCH_REGISTERS &&
               set_rule(machine, reg, MP_CFI_REGISTER, value);
    case CFA_EXPRESSION:
        return set_rule(machine, reg, MP_CFI_SAVED_EXPR, skip_expression(machine, bytes));
    case CFA_VAL_EXPRESSION:
        return set_rule(machine, reg, MP_CFI_EXPR, skip_expression(machine, bytes));
    case CFA_DEF_CFA:
        return set_cfa(machine, reg, (int64_t)mp_cfi_read_uleb(bytes));
    case CFA_DEF_CFA_SF:
        value = mp_cfi_read_sleb(bytes);
        return factor(machine, &value) && set_cfa(machine, reg, value);
    case CFA_DEF_CFA_REGISTER:
        return machine->row->cfa_rule == MP_CFI_VALUE &&
               set_cfa(machine, reg, machine->row->cfa_value);
    case CFA_DEF_CFA_OFFSET:
        return set_cfa_offset(machine, (int64_t)mp_cfi_read_uleb(bytes));
    case CFA_DEF_CFA_OFFSET_SF:
        value = mp_cfi_read_sleb(bytes);
        return factor(machine, &value) && set_cfa_offset(machine, value);
    case CFA_DEF_CFA_EXPRESSION:
        value = skip_expression(machine, bytes);
        if (value != (int32_t)value)
            return false;
        machine->row->cfa_rule = MP_CFI_EXPR;
        machine->row->cfa_value = (int32_t)value;
        return true;
    default:
        return false;
    }
}

static int run(struct machine *machine, struct mp_cfi_bytes bytes) {
    const struct common *common = &machine->function->common;
    while (bytes.at < bytes.end) {
        unsigned op = (unsigned)mp_cfi_read(&bytes, 1);
        bool good = true, on = true;
        switch (op & 0xc0) {
        case CFA_ADVANCE_LOC:
            on = advance(machine, op & 0x3f);
            break;
        case CFA_OFFSET:
            good =
                set_factored(machine, op & 0x3f, MP_CFI_OFFSET, (int64_t)mp_cfi_read_uleb(&bytes));
            break;
        case CFA_RESTORE:
            set_initial(machine, op & 0x3f);
            break;
        default:
            if (op == CFA_SET_LOC)
                on = advance(machine, read_pointer(machine->tables, &bytes, common->encoding) -
                                          machine->location);
            else if (op >= CFA_ADVANCE_LOC1 && op <= CFA_ADVANCE_LOC4)
                on = advance(machine, mp_cfi_read(&bytes, 1u << (op - CFA_ADVANCE_LOC1)));
            else if (op == CFA_REMEMBER_STATE)
                good = remember(machine);
            else if (op == CFA_RESTORE_STATE)
                good = recall(machine);
            else if (op == CFA_ARGS_SIZE)
                mp_cfi_read_uleb(&bytes);
            else if (op != CFA_NOP && op != CFA_NEGATE_RA_STATE)
                good = run_rule(machine, &bytes, op);
        }
        if (!good || bytes.bad)
            return -EINVAL;
        if (!on)
            return 0;
    }
    return 0;
}

/* A frame of its own, for its size: it is gone again when the row is applied. */
static MP_NOINLINE int run_programs(const struct mp_cfi_tables *tables,
                                    const struct function *function, uint64_t address,
                                    struct mp_cfi_row *row) {
    struct machine machine;
    machine.tables = tables;
    machine.function = function;
    machine.row = row;
    machine.depth = 0;
    /* The CIE's is run whole: it does not advance. */
    machine.target = machine.location = function->start;
    memset(row, 0, sizeof *row);
    row->cfa_rule = MP_CFI_UNDEFINED;
    row->signal = function->common.signal;
    machine.initial = *row;
    int error = run(&machine, function->common.program);
    if (error)
        return error;
    machine.initial = *row;
    machine.target = address;
    return run(&machine, function->program);
}

MP_NOINLINE int mp_cfi_find_row(const struct mp_cfi_tables *tables, uint64_t address,
                                struct mp_cfi_row *row) {
    uint64_t entry = search(tables, address);
    if (!entry)
        return -ENOENT;
    struct function function;
    int error = read_function(tables, entry, &function);
    if (error)
        return error;
    if (address - function.start >= function.size)
        return -ENOENT;
    return run_programs(tables, &function, address, row);
}
