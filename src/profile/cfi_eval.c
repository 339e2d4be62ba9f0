/* From a row and a frame's registers to the caller's. */
#include <stddef.h>

#include "profile/cfi.h"

enum {
    OP_DEREF = 0x06,
    OP_CONST1U = 0x08, /* .. 0x0f: of 1, 2, 4, 8 bytes, each unsigned and signed */
    OP_CONST8S = 0x0f,
    OP_CONSTU = 0x10,
    OP_CONSTS = 0x11,
    OP_DUP = 0x12,
    OP_DROP = 0x13,
    OP_OVER = 0x14,
    OP_PICK = 0x15,
    OP_SWAP = 0x16,
    OP_ROT = 0x17,
    OP_ABS = 0x19,
    OP_AND = 0x1a,
    OP_MINUS = 0x1c,
    OP_MUL = 0x1e,
    OP_NEG = 0x1f,
    OP_NOT = 0x20,
    OP_OR = 0x21,
    OP_PLUS = 0x22,
    OP_PLUS_UCONST = 0x23,
    OP_SHL = 0x24,
    OP_SHR = 0x25,
    OP_SHRA = 0x26,
    OP_XOR = 0x27,
    OP_BRA = 0x28,
    OP_EQ = 0x29,
    OP_GE = 0x2a,
    OP_GT = 0x2b,
    OP_LE = 0x2c,
    OP_LT = 0x2d,
    OP_NE = 0x2e,
    OP_SKIP = 0x2f,
    OP_LIT0 = 0x30,
    OP_LIT31 = 0x4f,
    OP_BREG0 = 0x70,
    OP_BREG31 = 0x8f,
    OP_BREGX = 0x92,
    OP_DEREF_SIZE = 0x94,
    OP_NOP = 0x96,
};

#define VALUES     16  /* compilers and linkers need four */
#define OPERATIONS 256 /* a branch may lead back */

/* An expression under way. The stack may lose values that it never had: `bad`, and zero. */
struct calculator {
    const struct mp_cfi_registers *registers;
    struct mp_stack *stack;
    struct mp_cfi_bytes code;
    const unsigned char *start;
    unsigned depth;
    bool bad;
    uint64_t values[VALUES];
};

static void push(struct calculator *c, uint64_t value) {
    if (c->depth == VALUES)
        c->bad = true;
    else
        c->values[c->depth++] = value;
}

static uint64_t pop(struct calculator *c) {
    if (c->depth)
        return c->values[--c->depth];
    c->bad = true;
    return 0;
}

static uint64_t peek(struct calculator *c, uint64_t below) {
    if (below < c->depth)
        return c->values[c->depth - 1 - below];
    c->bad = true;
    return 0;
}

static uint64_t register_of(struct calculator *c, uint64_t reg) {
    if (reg < MP_ARCH_REGISTERS && (c->registers->valid >> reg & 1))
        return c->registers->r[reg];
    c->bad = true;
    return 0;
}

/* Of the stack alone: whatever else an expression may point to has no bounds. */
static void dereference(struct calculator *c, uint64_t size) {
    uint64_t address = pop(c), word, inside = address & 7;
    if (c->bad || size == 0 || inside + size > 8 ||
        !mp_stack_read(c->stack, address - inside, &word)) {
        c->bad = true;
        return;
    }
    word >>= inside * 8;
    push(c, size == 8 ? word : word & (((uint64_t)1 << (size * 8)) - 1));
}

static void constant(struct calculator *c, unsigned op) {
    unsigned size = 1u << ((op - OP_CONST1U) / 2), shift = 64 - size * 8;
    uint64_t value = mp_cfi_read(&c->code, size);
    if ((op - OP_CONST1U) & 1)
        value = (uint64_t)((int64_t)(value << shift) >> shift);
    push(c, value);
}

static void branch(struct calculator *c, bool taken) {
    int16_t distance = (int16_t)mp_cfi_read(&c->code, 2);
    if (!taken)
        return;
    ptrdiff_t target = c->code.at - c->start + distance;
    if (c->bad || target < 0 || target > c->code.end - c->start)
        c->bad = true;
    else
        c->code.at = c->start + target;
}

static uint64_t binary(struct calculator *c, unsigned op, uint64_t a, uint64_t b) {
    int64_t left = (int64_t)a, right = (int64_t)b;
    switch (op) {
    case OP_AND:
        return a & b;
    case OP_MINUS:
        return a - b;
    case OP_MUL:
        return a * b;
    case OP_OR:
        return a | b;
    case OP_PLUS:
        return a + b;
    case OP_SHL:
        return b < 64 ? a << b : 0;
    case OP_SHR:
        return b < 64 ? a >> b : 0;
    case OP_SHRA:
        return (uint64_t)(left >> (b < 64 ? b : 63));
    case OP_XOR:
        return a ^ b;
    case OP_EQ:
        return a == b;
    case OP_GE:
        return left >= right;
    case OP_GT:
        return left > right;
    case OP_LE:
        return left <= right;
    case OP_LT:
        return left < right;
    case OP_NE:
        return a != b;
    default:
        c->bad = true;
        return 0;
    }
}

static void shuffle(struct calculator *c, unsigned op) {
    uint64_t a, b, d;
    switch (op) {
    case OP_DUP:
        push(c, peek(c, 0));
        break;
    case OP_DROP:
        pop(c);
        break;
    case OP_OVER:
        push(c, peek(c, 1));
        break;
    case OP_PICK:
        push(c, peek(c, mp_cfi_read(&c->code, 1)));
        break;
    case OP_SWAP:
        a = pop(c);
        b = pop(c);
        push(c, a);
        push(c, b);
        break;
    default: /* OP_ROT: the first becomes the third */
        a = pop(c);
        b = pop(c);
        d = pop(c);
        push(c, a);
        push(c, d);
        push(c, b);
    }
}

static void operate(struct calculator *c, unsigned op) {
    uint64_t a, b;
    if (op >= OP_LIT0 && op <= OP_LIT31) {
        push(c, op - OP_LIT0);
    } else if (op >= OP_BREG0 && op <= OP_BREG31) {
        a = register_of(c, op - OP_BREG0);
        push(c, a + (uint64_t)mp_cfi_read_sleb(&c->code));
    } else if (op >= OP_CONST1U && op <= OP_CONST8S) {
        constant(c, op);
    } else if (op >= OP_DUP && op <= OP_ROT) {
        shuffle(c, op);
    } else {
        switch (op) {
        case OP_BREGX:
            a = register_of(c, mp_cfi_read_uleb(&c->code));
            push(c, a + (uint64_t)mp_cfi_read_sleb(&c->code));
            break;
        case OP_DEREF:
            dereference(c, 8);
            break;
        case OP_DEREF_SIZE:
            dereference(c, mp_cfi_read(&c->code, 1));
            break;
        case OP_CONSTU:
            push(c, mp_cfi_read_uleb(&c->code));
            break;
        case OP_CONSTS:
            push(c, (uint64_t)mp_cfi_read_sleb(&c->code));
            break;
        case OP_PLUS_UCONST:
            a = pop(c);
            push(c, a + mp_cfi_read_uleb(&c->code));
            break;
        case OP_ABS:
            a = pop(c);
            push(c, (int64_t)a < 0 ? -a : a);
            break;
        case OP_NEG:
            push(c, -pop(c));
            break;
        case OP_NOT:
            push(c, ~pop(c));
            break;
        case OP_BRA:
            branch(c, pop(c) != 0);
            break;
        case OP_SKIP:
            branch(c, true);
            break;
        case OP_NOP:
            break;
        default:
            b = pop(c);
            a = pop(c);
            push(c, binary(c, op, a, b));
        }
    }
    c->bad |= c->code.bad;
}

/* The expression at tables->low + offset; `cfa`, unless NULL, is on the stack at first. */
static MP_NOINLINE bool calculate(const struct mp_cfi_tables *tables, int32_t offset,
                                  const struct mp_cfi_registers *registers, struct mp_stack *stack,
                                  const uint64_t *cfa, uint64_t *result) {
    struct calculator c;
    c.registers = registers;
    c.stack = stack;
    c.code = (struct mp_cfi_bytes){tables->low + offset, tables->high, false};
    c.depth = 0;
    c.bad = false;
    uint64_t size = mp_cfi_read_uleb(&c.code);
    if (c.code.bad || size > (uint64_t)(c.code.end - c.code.at))
        return false;
    c.start = c.code.at;
    c.code.end = c.code.at + size;
    if (cfa)
        push(&c, *cfa);
    for (unsigned n = 0; c.code.at < c.code.end; n++) {
        if (n == OPERATIONS)
            return false;
        operate(&c, (unsigned)mp_cfi_read(&c.code, 1));
        if (c.bad)
            return false;
    }
    *result = pop(&c);
    return !c.bad;
}

/* A frame under way from one to the next. */
struct passage {
    const struct mp_cfi_tables *tables;
    const struct mp_cfi_row *row;
    const struct mp_cfi_registers *old;
    struct mp_stack *stack;
    uint64_t cfa;
};

static bool find_cfa(struct passage *p) {
    const struct mp_cfi_row *row = p->row;
    const struct mp_cfi_registers *old = p->old;
    if (row->cfa_rule == MP_CFI_EXPR) {
        if (!calculate(p->tables, row->cfa_value, old, p->stack, NULL, &p->cfa))
            return false;
    } else {
        if (row->cfa_rule != MP_CFI_VALUE || !(old->valid >> row->cfa_register & 1))
            return false;
        p->cfa = old->r[row->cfa_register] + (uint64_t)(int64_t)row->cfa_value;
    }
    if (MP_STACK_UNALIGNED(p->cfa))
        return false;
    /* A signal may have come on another stack. A frame that is interrupted need not have pushed
     * anything where calls do not; any other is above the one before. */
    uint64_t sp = old->r[MP_ARCH_SP];
    return row->signal || p->cfa > sp || (old->exact && p->cfa == sp);
}

/* The caller's value of register `reg`; *valid: whether it is known. False: the stack is broken. */
static bool find_register(const struct passage *p, unsigned reg, uint64_t *value, bool *valid) {
    unsigned index = reg - MP_ARCH_RULES_FIRST;
    int32_t at = p->row->value[index];
    uint64_t address;
    *valid = true;
    switch ((enum mp_cfi_rule)p->row->rule[index]) {
    case MP_CFI_SAME:
        *value = p->old->r[reg];
        *valid = p->old->valid >> reg & 1;
        return true;
    case MP_CFI_OFFSET:
        return mp_stack_read(p->stack, p->cfa + (uint64_t)(int64_t)at, value);
    case MP_CFI_VALUE:
        *value = p->cfa + (uint64_t)(int64_t)at;
        return true;
    case MP_CFI_REGISTER:
        *value = p->old->r[at];
        *valid = p->old->valid >> at & 1;
        return true;
    case MP_CFI_SAVED_EXPR:
        return calculate(p->tables, at, p->old, p->stack, &p->cfa, &address) &&
               mp_stack_read(p->stack, address, value);
    case MP_CFI_EXPR:
        return calculate(p->tables, at, p->old, p->stack, &p->cfa, value);
    case MP_CFI_UNDEFINED:
        *valid = false;
        return true;
    }
    return false;
}

enum mp_cfi_step mp_cfi_apply(const struct mp_cfi_tables *tables, const struct mp_cfi_row *row,
                              struct mp_cfi_registers *registers, struct mp_stack *stack) {
    struct passage p = {tables, row, registers, stack, 0};
    struct mp_cfi_registers next;
    uint8_t ra_rule = row->rule[MP_ARCH_RA - MP_ARCH_RULES_FIRST];
    if (ra_rule == MP_CFI_UNDEFINED)
        return MP_CFI_END;
    if ((MP_ARCH_RA == MP_ARCH_PC && ra_rule == MP_CFI_SAME) || !find_cfa(&p))
        return MP_CFI_BROKEN;
    next.valid = 0;
    next.exact = row->signal;
    for (unsigned i = 0; i < MP_ARCH_RULES; i++) {
        unsigned reg = MP_ARCH_RULES_FIRST + i;
        bool valid;
        if (!find_register(&p, reg, &next.r[reg], &valid))
            return MP_CFI_BROKEN;
        /* What a call may change has its old value only where a signal came between. */
        bool kept = row->signal || row->rule[i] != MP_CFI_SAME || reg == MP_ARCH_RA ||
                    (MP_ARCH_PRESERVED >> reg & 1);
        next.valid |= (uint64_t)(valid && kept) << reg;
    }
    if (!(next.valid >> MP_ARCH_RA & 1))
        return MP_CFI_BROKEN;
    uint64_t pc = mp_arch_code_address(next.r[MP_ARCH_RA]);
    if (pc == 0)
        return MP_CFI_END;
    if (pc >> 48)
        return MP_CFI_BROKEN;
    if (row->rule[MP_ARCH_SP - MP_ARCH_RULES_FIRST] == MP_CFI_SAME ||
        !(next.valid >> MP_ARCH_SP & 1))
        next.r[MP_ARCH_SP] = p.cfa;
    /* Where the column of return addresses is a register of its own, the caller's is not known. */
    if (!row->signal && MP_ARCH_RA != MP_ARCH_PC)
        next.valid &= ~((uint64_t)1 << MP_ARCH_RA);
    next.r[MP_ARCH_PC] = pc;
    next.valid |= (uint64_t)1 << MP_ARCH_SP | (uint64_t)1 << MP_ARCH_PC;
    *registers = next;
    return MP_CFI_STEPPED;
}
