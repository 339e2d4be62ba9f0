/* Suite: unwind tables, real ones and such as nobody should write. Rows and steps over tables that
 * are built here byte by byte; then this program's own tables, with every byte changed in turn. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/cfi.h"
#include "unit.h"

/* ---- tables with one function ---- */

#define CODE 0x10000u /* where the function is, from the header */
#define SIZE 0x100u

struct built {
    _Alignas(8) unsigned char bytes[512];
    size_t used;
    struct mp_cfi_tables tables;
};

static void put(struct built *b, uint64_t value, size_t size) {
    ck_assert_uint_le(b->used + size, sizeof b->bytes);
    memcpy(b->bytes + b->used, &value, size);
    b->used += size;
}

static void put_at(struct built *b, size_t at, uint32_t value) {
    memcpy(b->bytes + at, &value, 4);
}

static void put_program(struct built *b, const unsigned char *program, size_t size) {
    for (size_t i = 0; i < size; i++)
        put(b, program[i], 1);
}

/* The CIE: code factor 1, data factor -8, "zR" or "zRS"; CFA = sp + 8, return address at CFA - 8.
 */
static void build(struct built *b, bool signal, const unsigned char *program, size_t size) {
    memset(b, 0, sizeof *b);
    put(b, 0x3b031b01, 4); /* version 1; pcrel sdata4, udata4, datarel sdata4 */
    put(b, 0, 4);
    put(b, 1, 4);
    put(b, CODE, 4);
    put(b, 0, 4); /* the FDE, filled in below */
    size_t cie = b->used;
    put(b, 0, 4);
    put(b, 0, 4);
    put(b, 1, 1);
    put_program(b, (const unsigned char *)"zRS", signal ? 3 : 2);
    put(b, 0, 1);
    put(b, 1, 1);
    put(b, 0x78, 1);
    put(b, MP_ARCH_RA, 1);
    put(b, 1, 1);
    put(b, 0x1b, 1); /* pcrel sdata4 */
    put_program(b, (const unsigned char[]){0x0c, MP_ARCH_SP, 8, 0x80 | MP_ARCH_RA, 1}, 5);
    put_at(b, cie, (uint32_t)(b->used - cie - 4));
    size_t fde = b->used;
    put_at(b, 16, (uint32_t)fde);
    put(b, 0, 4);
    put(b, fde + 4 - cie, 4);
    put(b, CODE - b->used, 4);
    put(b, SIZE, 4);
    put(b, 0, 1);
    put_program(b, program, size);
    put_at(b, fde, (uint32_t)(b->used - fde - 4));
    b->tables = (struct mp_cfi_tables){b->bytes, b->bytes + b->used, b->bytes};
}

#define BUILD(b, signal, ...)                                                                      \
    build(b, signal, (const unsigned char[]){__VA_ARGS__},                                         \
          sizeof((const unsigned char[]){__VA_ARGS__}))

static uint64_t code_at(const struct built *b, unsigned offset) {
    return (uintptr_t)b->bytes + CODE + offset;
}

static int find(struct built *b, unsigned offset, struct mp_cfi_row *row) {
    return mp_cfi_find_row(&b->tables, code_at(b, offset), row);
}

/* A stack of words that say where they are. */
#define WORDS 64
static uint64_t words[WORDS];

static struct mp_stack a_stack(void) {
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = 0x1000 + i;
    return (struct mp_stack){(uintptr_t)words, (uintptr_t)(words + WORDS), true};
}

static struct mp_cfi_registers a_frame(void) {
    struct mp_cfi_registers registers = {.exact = true};
    for (unsigned i = 0; i < MP_ARCH_REGISTERS; i++)
        registers.r[i] = 0x2000 + i;
    registers.r[MP_ARCH_SP] = (uintptr_t)(words + 10);
    registers.r[MP_ARCH_FP] = (uintptr_t)(words + 20);
    registers.valid = ((uint64_t)1 << MP_ARCH_REGISTERS) - 1;
    return registers;
}

static enum mp_cfi_step step(struct built *b, unsigned offset, struct mp_cfi_registers *registers) {
    struct mp_cfi_row row;
    struct mp_stack stack = a_stack();
    *registers = a_frame();
    registers->r[MP_ARCH_PC] = code_at(b, offset);
    int error = find(b, offset, &row);
    ck_assert_int_eq(error, 0);
    return mp_cfi_apply(&b->tables, &row, registers, &stack);
}

/* rbx or x19: saved by functions, and in reach of one-byte instructions. */
#define KEPT (MP_ARCH_RULES_FIRST == 0 ? 3 : 19)

START_TEST(a_row_is_the_one_of_the_address) {
    struct built b;
    struct mp_cfi_row row;
    /* push at 1; frame pointer at 4; back at 0x50 */
    BUILD(&b, false, 0x41, 0x0e, 16, 0x80 | MP_ARCH_FP, 2, 0x43, 0x0d, MP_ARCH_FP, 0x02, 0x4c, 0x0c,
          MP_ARCH_SP, 8, 0xc0 | MP_ARCH_FP);
    ck_assert_int_eq(find(&b, 0, &row), 0);
    ck_assert_int_eq(row.cfa_register, MP_ARCH_SP);
    ck_assert_int_eq(row.cfa_value, 8);
    ck_assert_int_eq(row.rule[MP_ARCH_FP - MP_ARCH_RULES_FIRST], MP_CFI_SAME);
    ck_assert_int_eq(row.rule[MP_ARCH_RA - MP_ARCH_RULES_FIRST], MP_CFI_OFFSET);
    ck_assert_int_eq(row.value[MP_ARCH_RA - MP_ARCH_RULES_FIRST], -8);
    ck_assert_int_eq(find(&b, 1, &row), 0);
    ck_assert_int_eq(row.cfa_value, 16);
    ck_assert_int_eq(row.value[MP_ARCH_FP - MP_ARCH_RULES_FIRST], -16);
    ck_assert_int_eq(find(&b, 0x4f, &row), 0);
    ck_assert_int_eq(row.cfa_register, MP_ARCH_FP);
    ck_assert_int_eq(find(&b, 0x50, &row), 0);
    ck_assert_int_eq(row.cfa_register, MP_ARCH_SP);
    ck_assert_int_eq(row.rule[MP_ARCH_FP - MP_ARCH_RULES_FIRST], MP_CFI_SAME);
}
END_TEST

START_TEST(an_address_outside_has_none) {
    struct built b;
    struct mp_cfi_row row;
    BUILD(&b, false, 0);
    ck_assert_int_eq(find(&b, SIZE - 1, &row), 0);
    ck_assert_int_eq(find(&b, SIZE, &row), -ENOENT);
    ck_assert_int_eq(find(&b, (unsigned)-1, &row), -ENOENT);
}
END_TEST

START_TEST(registers_come_back_by_every_kind_of_rule) {
    struct built b;
    struct mp_cfi_registers r;
    BUILD(&b, false, 0x05, KEPT, 3, 0x0e, 32); /* saved at CFA - 24 = words + 11 */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], 0x1000 + 11);
    ck_assert_uint_eq(r.r[MP_ARCH_PC], 0x1000 + 13);
    ck_assert_uint_eq(r.r[MP_ARCH_SP], (uintptr_t)(words + 14));
    ck_assert(!r.exact);
    BUILD(&b, false, 0x11, KEPT, 0x7f); /* factored -1: CFA + 8 */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], 0x1000 + 12);
    BUILD(&b, false, 0x14, KEPT, 2); /* is CFA - 16 */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], (uintptr_t)(words + 9));
    BUILD(&b, false, 0x09, KEPT, MP_ARCH_FP);
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], (uintptr_t)(words + 20));
    BUILD(&b, false, 0x10, KEPT, 2, 0x23, 16); /* saved at CFA + 16 */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], 0x1000 + 13);
    BUILD(&b, false, 0x16, KEPT, 2, 0x23, 16); /* is CFA + 16 */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], (uintptr_t)(words + 13));
    BUILD(&b, false, 0x07, KEPT);
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert(!(r.valid >> KEPT & 1));
    BUILD(&b, false, 0x08, KEPT, 0x2e, 0x10, 0x2d, 0x00);
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert_uint_eq(r.r[KEPT], 0x2000 + KEPT);
}
END_TEST

START_TEST(a_state_is_remembered_and_restored) {
    struct built b;
    struct mp_cfi_row row;
    BUILD(&b, false, 0x0e, 16, 0x0a, 0x0e, 24, 0x0a, 0x0e, 32, 0x42, 0x0b, 0x42, 0x0b);
    ck_assert_int_eq(find(&b, 0, &row), 0);
    ck_assert_int_eq(row.cfa_value, 32);
    ck_assert_int_eq(find(&b, 2, &row), 0);
    ck_assert_int_eq(row.cfa_value, 24);
    ck_assert_int_eq(find(&b, 4, &row), 0);
    ck_assert_int_eq(row.cfa_value, 16);
    BUILD(&b, false, 0x0b);
    ck_assert_int_eq(find(&b, 0, &row), -EINVAL);
    BUILD(&b, false, 0x0a, 0x0a, 0x0a, 0x0a);
    ck_assert_int_eq(find(&b, 0, &row), -EINVAL);
}
END_TEST

START_TEST(a_stub_for_lazy_calls_is_computed) {
    struct built b;
    struct mp_cfi_registers r;
    /* CFA = sp + 8, and 8 more in the last 5 bytes of 16: what linkers write for .plt. Here of the
     * low bits of a register that is known: the code's address is not ours to choose. */
    BUILD(&b, false, 0x0f, 11, 0x70 + MP_ARCH_SP, 8, 0x70 + KEPT, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33,
          0x24, 0x22);
    for (unsigned low = 0; low < 16; low++) {
        struct mp_cfi_row row;
        struct mp_stack stack = a_stack();
        r = a_frame();
        r.r[MP_ARCH_PC] = code_at(&b, 0);
        r.r[KEPT] = 0x4000 + low;
        ck_assert_int_eq(find(&b, 0, &row), 0);
        ck_assert_int_eq(mp_cfi_apply(&b.tables, &row, &r, &stack), MP_CFI_STEPPED);
        ck_assert_uint_eq(r.r[MP_ARCH_SP], (uintptr_t)(words + 11 + (low >= 11)));
    }
}
END_TEST

/* The CFA is the frame pointer plus what the expression leaves, which is a multiple of 8. */
#define EXPRESSION_IS(expected, ...)                                                               \
    do {                                                                                           \
        struct built built;                                                                        \
        struct mp_cfi_registers after;                                                             \
        const unsigned char code[] = {__VA_ARGS__};                                                \
        unsigned char program[64] = {0x0f, sizeof code + 6, 0x70 + MP_ARCH_FP, 0};                 \
        memcpy(program + 4, code, sizeof code);                                                    \
        memcpy(program + 4 + sizeof code, "\x33\x24\x22\x96", 4); /* << 3, +, nop */               \
        build(&built, false, program, sizeof code + 8);                                            \
        ck_assert_int_eq(step(&built, 0, &after), MP_CFI_STEPPED);                                 \
        ck_assert_uint_eq(after.r[MP_ARCH_SP], (uintptr_t)(words + 20 + (expected)));              \
    } while (0)

START_TEST(expressions_compute) {
    EXPRESSION_IS(5, 0x35);
    EXPRESSION_IS(7, 0x08, 7);
    EXPRESSION_IS(-3, 0x09, 0xfd);
    EXPRESSION_IS(9, 0x0a, 9, 0);
    EXPRESSION_IS(-2, 0x0d, 0xfe, 0xff, 0xff, 0xff);
    EXPRESSION_IS(11, 0x0e, 11, 0, 0, 0, 0, 0, 0, 0);
    EXPRESSION_IS(12, 0x10, 12);
    EXPRESSION_IS(-4, 0x11, 0x7c);
    EXPRESSION_IS(6, 0x33, 0x12, 0x22);                         /* 3 dup + */
    EXPRESSION_IS(3, 0x33, 0x34, 0x13);                         /* 3 4 drop */
    EXPRESSION_IS(5, 0x33, 0x34, 0x14, 0x1c, 0x22, 0x31, 0x22); /* 3 4 over - + 1 + */
    EXPRESSION_IS(9, 0x33, 0x34, 0x35, 0x15, 2, 0x22, 0x31, 0x22, 0x16, 0x13, 0x16, 0x13);
    EXPRESSION_IS(1, 0x33, 0x34, 0x16, 0x1c);             /* 3 4 swap - */
    EXPRESSION_IS(5, 0x32, 0x33, 0x34, 0x17, 0x1c, 0x1c); /* 2 3 4 rot - - */
    EXPRESSION_IS(4, 0x34, 0x1f, 0x19);                   /* 4 neg abs */
    EXPRESSION_IS(6, 0x32, 0x33, 0x1e);                   /* 2 3 * */
    EXPRESSION_IS(3, 0x31, 0x32, 0x21);                   /* 1 2 or */
    EXPRESSION_IS(1, 0x33, 0x32, 0x27);                   /* 3 2 xor */
    EXPRESSION_IS(2, 0x38, 0x32, 0x25);                   /* 8 2 >> */
    EXPRESSION_IS(-1, 0x38, 0x1f, 0x33, 0x26);            /* -8 3 >> with its sign */
    EXPRESSION_IS(-1, 0x30, 0x20);                        /* not 0 */
    EXPRESSION_IS(8, 0x35, 0x23, 3);                      /* 5 + 3 */
    EXPRESSION_IS(5, 0x31, 0x28, 1, 0, 0x06, 0x35);       /* a branch taken */
    EXPRESSION_IS(6, 0x36, 0x30, 0x28, 1, 0, 0x96);       /* one not taken */
    EXPRESSION_IS(7, 0x2f, 1, 0, 0x06, 0x37);             /* a skip */
    EXPRESSION_IS(1, 0x33, 0x1f, 0x32, 0x2d);             /* -3 < 2 */
    EXPRESSION_IS(0, 0x33, 0x1f, 0x32, 0x2b);             /* -3 > 2 */
    EXPRESSION_IS(1, 0x33, 0x33, 0x2c);                   /* 3 <= 3 */
    EXPRESSION_IS(0, 0x33, 0x33, 0x2e);                   /* 3 != 3 */
    EXPRESSION_IS(1, 0x33, 0x33, 0x29);                   /* 3 == 3 */
    /* the word at sp says 0x100a: its low byte, and all of it less 0x1000 */
    EXPRESSION_IS(10, 0x70 + MP_ARCH_SP, 0, 0x94, 1);
    EXPRESSION_IS(10, 0x92, MP_ARCH_SP, 0, 0x06, 0x0a, 0x00, 0x10, 0x1c);
}
END_TEST

#define BREAKS(...)                                                                                \
    do {                                                                                           \
        struct built built;                                                                        \
        struct mp_cfi_registers after;                                                             \
        BUILD(&built, false, __VA_ARGS__);                                                         \
        ck_assert_int_eq(step(&built, 0, &after), MP_CFI_BROKEN);                                  \
        struct mp_cfi_registers before = a_frame();                                                \
        before.r[MP_ARCH_PC] = code_at(&built, 0);                                                 \
        ck_assert_mem_eq(&after, &before, sizeof after.r);                                         \
    } while (0)

START_TEST(what_makes_no_sense_breaks_the_stack) {
    BREAKS(0x0c, MP_ARCH_SP, 0xf8, 0x7f);          /* CFA 16 KiB up: beyond the stack */
    BREAKS(0x12, MP_ARCH_SP, 0x02);                /* below the frame */
    BREAKS(0x0c, MP_ARCH_SP, 9);                   /* not aligned */
    BREAKS(0x0f, 3, 0x2f, 0xfd, 0xff);             /* an endless loop */
    BREAKS(0x0f, 1, 0x06);                         /* nothing on its stack */
    BREAKS(0x0f, 0);                               /* no result */
    BREAKS(0x0f, 2, 0x30, 0x06);                   /* reads address 0 */
    BREAKS(0x0f, 5, 0x30, 0x12, 0x2f, 0xfc, 0xff); /* fills its stack */
    BREAKS(0x0f, 4, 0x30, 0x2f, 0x70, 0x00);       /* branches out */
    BREAKS(0x0f, 1, 0xe0);                         /* an unknown operation */
    BREAKS(0x0f, 2, 0x30, 0x15);                   /* cut off */
    BREAKS(0x10, KEPT, 2, 0x30, 0x06);             /* a register at nowhere */
    BREAKS(0x11, KEPT, 0x80, 0x01);                /* one beyond the stack */
    BREAKS(0x09, MP_ARCH_RA, MP_ARCH_RA, 0x10, MP_ARCH_RA, 1, 0x30); /* return address at 0 */
    BREAKS(0x16, MP_ARCH_RA, 3, 0x30, 0x20, 0x96);                   /* or not an address */
}
END_TEST

START_TEST(programs_that_make_no_sense_are_refused) {
    static const unsigned char programs[][12] = {
        {0x3f},                   /* unknown */
        {0x0f, 0xff, 0xff, 0x7f}, /* an expression past the end */
        {0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0x0c, 99, 8},                                    /* a CFA of an unknown register */
        {0x0c, MP_ARCH_SP, 0xff, 0xff, 0xff, 0xff, 0x7f}, /* too far */
        {0x05, KEPT, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, /* so far that the factor overflows */
        {0x09, KEPT, 99},                                 /* an unknown register */
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        struct built b;
        struct mp_cfi_row row;
        build(&b, false, programs[i], sizeof programs[i]);
        ck_assert_int_eq(find(&b, 0, &row), -EINVAL);
    }
}
END_TEST

START_TEST(an_undefined_return_address_is_the_end) {
    struct built b;
    struct mp_cfi_registers r;
    BUILD(&b, false, 0x07, MP_ARCH_RA);
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_END);
    BUILD(&b, false, 0x16, MP_ARCH_RA, 1, 0x30); /* and so is zero */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_END);
}
END_TEST

START_TEST(a_signal_frame_is_exact_and_may_lead_down) {
    struct built b;
    struct mp_cfi_registers r;
    BUILD(&b, true, 0x12, MP_ARCH_SP, 0x05); /* CFA = sp - 40 */
    ck_assert_int_eq(step(&b, 0, &r), MP_CFI_STEPPED);
    ck_assert(r.exact);
    ck_assert_uint_eq(r.r[MP_ARCH_SP], (uintptr_t)(words + 5));
    ck_assert_uint_eq(r.r[MP_ARCH_PC], 0x1000 + 4);
}
END_TEST

/* ---- this program's own ---- */

struct real {
    unsigned char *copy; /* of header and .eh_frame, each at its distance from the other */
    size_t size;
    uintptr_t header;
    uint64_t *addresses; /* in functions, as in the copy's eyes */
    size_t count;
};

static struct real copy_own(void) {
    struct dl_find_object found;
    struct real real = {0};
    ck_assert_int_eq(_dl_find_object((void *)(uintptr_t)&copy_own, &found), 0);
    const unsigned char *header = found.dlfo_eh_frame;
    int32_t to_frames;
    uint32_t count;
    ck_assert_int_eq(header[1], 0x1b);
    ck_assert_int_eq(header[2], 0x03);
    ck_assert_int_eq(header[3], 0x3b);
    memcpy(&to_frames, header + 4, 4);
    memcpy(&count, header + 8, 4);
    const unsigned char *at = header + 4 + to_frames;
    ck_assert(at > header);
    for (uint32_t length; memcpy(&length, at, 4), length;)
        at += 4 + length;
    real.size = (size_t)(at + 4 - header);
    real.copy = malloc(real.size);
    memcpy(real.copy, header, real.size);
    real.header = (uintptr_t)real.copy;
    real.addresses = malloc(count * 2 * sizeof *real.addresses);
    for (uint32_t i = 0; i < count; i++) {
        int32_t start;
        memcpy(&start, header + 12 + 8 * (size_t)i, 4);
        real.addresses[real.count++] = real.header + (uint64_t)(int64_t)start;
        real.addresses[real.count++] = real.header + (uint64_t)(int64_t)start + 9;
    }
    return real;
}

static void drop(const struct real *real) {
    free(real->copy);
    free(real->addresses);
}

static void try_address(const struct real *real, size_t size, uint64_t address) {
    struct mp_cfi_tables tables = {real->copy, real->copy + size, real->copy};
    struct mp_stack stack = {(uintptr_t)words, (uintptr_t)(words + WORDS), true};
    struct mp_cfi_registers registers = a_frame();
    struct mp_cfi_row row;
    registers.r[MP_ARCH_PC] = address;
    if (mp_cfi_find_row(&tables, address, &row) == 0)
        mp_cfi_apply(&tables, &row, &registers, &stack);
}

START_TEST(the_programs_own_rows_are_found) {
    struct real real = copy_own();
    struct mp_cfi_tables tables = {real.copy, real.copy + real.size, real.copy};
    size_t found = 0;
    for (size_t i = 0; i < real.count; i += 2) {
        struct mp_cfi_row row;
        ck_assert_int_eq(mp_cfi_find_row(&tables, real.addresses[i], &row), 0);
        found++;
    }
    ck_assert_uint_gt(found, 50);
    drop(&real);
}
END_TEST

START_TEST(no_changed_byte_does_harm) {
    struct real real = copy_own();
    static const unsigned char changes[] = {0xff, 0x01, 0x80, 0x40};
    a_stack();
    uint64_t seed = 1;
    size_t tries = unit_full() ? 60 : 6; /* all of them, times all bytes, would take hours */
    for (size_t i = 0; i < real.size; i++) {
        unsigned char before = real.copy[i];
        for (size_t c = 0; c < sizeof changes; c++) {
            real.copy[i] = before ^ changes[c];
            for (size_t t = 0; t < tries; t++)
                try_address(&real, real.size,
                            real.addresses[unit_random_to(&seed, real.count - 1)]);
        }
        real.copy[i] = before;
    }
    drop(&real);
}
END_TEST

/* The entries that are looked up are those that were changed: each FDE and its CIE. */
START_TEST(no_changed_byte_of_an_entry_does_harm_to_its_own_function) {
    struct real real = copy_own();
    a_stack();
    for (size_t i = 0; i < real.count; i += 2) {
        int32_t fde;
        uint32_t length, back;
        memcpy(&fde, real.copy + 12 + 8 * (i / 2) + 4, 4);
        memcpy(&length, real.copy + fde, 4);
        memcpy(&back, real.copy + fde + 4, 4);
        uint32_t cie = (uint32_t)fde + 4 - back, cie_length;
        memcpy(&cie_length, real.copy + cie, 4);
        for (unsigned change = 1; change < 256; change += change < 4 || unit_full() ? 1 : 31) {
            for (uint32_t at = (uint32_t)fde; at < (uint32_t)fde + 4 + length; at++) {
                real.copy[at] ^= (unsigned char)change;
                try_address(&real, real.size, real.addresses[i + 1]);
                real.copy[at] ^= (unsigned char)change;
            }
            for (uint32_t at = cie; i < 8 && at < cie + 4 + cie_length; at++) {
                real.copy[at] ^= (unsigned char)change;
                try_address(&real, real.size, real.addresses[i + 1]);
                real.copy[at] ^= (unsigned char)change;
            }
        }
    }
    drop(&real);
}
END_TEST

START_TEST(nothing_is_read_behind_the_end) {
    struct real real = copy_own();
    uint64_t seed = 2;
    a_stack();
    for (size_t size = 0; size < real.size; size += size < 200 ? 1 : 7) {
        struct real cut = real;
        cut.copy = malloc(size ? size : 1); /* the sanitizer watches its end */
        memcpy(cut.copy, real.copy, size);
        for (int t = 0; t < 4; t++)
            try_address(&cut, size,
                        real.addresses[unit_random_to(&seed, real.count - 1)] - real.header +
                            (uintptr_t)cut.copy);
        free(cut.copy);
    }
    drop(&real);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cfi");
    TCase *rows = tcase_create("rows");
    UNIT_CASE(rows, a_row_is_the_one_of_the_address);
    UNIT_CASE(rows, an_address_outside_has_none);
    UNIT_CASE(rows, a_state_is_remembered_and_restored);
    UNIT_CASE(rows, programs_that_make_no_sense_are_refused);
    suite_add_tcase(suite, rows);
    TCase *steps = tcase_create("steps");
    UNIT_CASE(steps, registers_come_back_by_every_kind_of_rule);
    UNIT_CASE(steps, a_stub_for_lazy_calls_is_computed);
    UNIT_CASE(steps, expressions_compute);
    UNIT_CASE(steps, what_makes_no_sense_breaks_the_stack);
    UNIT_CASE(steps, an_undefined_return_address_is_the_end);
    UNIT_CASE(steps, a_signal_frame_is_exact_and_may_lead_down);
    suite_add_tcase(suite, steps);
    TCase *damage = tcase_create("damage");
    tcase_set_timeout(damage, 60);
    UNIT_CASE(damage, the_programs_own_rows_are_found);
    UNIT_CASE(damage, no_changed_byte_does_harm);
    UNIT_CASE(damage, no_changed_byte_of_an_entry_does_harm_to_its_own_function);
    UNIT_CASE(damage, nothing_is_read_behind_the_end);
    suite_add_tcase(suite, damage);
    return unit_main(suite);
}
