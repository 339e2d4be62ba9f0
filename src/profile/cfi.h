/* The default backend: unwinding by the tables that compilers write for exceptions (.eh_frame),
 * found by glibc's lock-free _dl_find_object. Four files, so that each can be tested on its own:
 *
 *   cfi_module.c  an address -> its module, and where that one's tables are
 *   cfi_row.c     tables and an address -> a row: how to get from a frame to its caller's
 *   cfi_eval.c    registers and a row -> the caller's registers
 *   cfi.c         the capture, with a cache of rows by address
 *
 * The tables are files' contents and the stack is whatever the program made of it; neither is
 * trusted. Of the tables nothing outside [low, high) is read, of the stack nothing that stack.h
 * does not allow, and everything ends: each frame is above the one before, or a signal's. Any
 * context, signal handlers included; no locks. */
#ifndef MP_PROFILE_CFI_H
#define MP_PROFILE_CFI_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/arch.h"
#include "profile/stack.h"

/* Where a module's unwind data is. */
struct mp_cfi_tables {
    const unsigned char *low, *high; /* what may be read */
    const unsigned char *header;     /* .eh_frame_hdr */
};

/* How a register is found; the value is in the row. */
enum mp_cfi_rule {
    MP_CFI_SAME,       /* not changed, or of no interest to the caller */
    MP_CFI_OFFSET,     /* saved at the CFA plus the value */
    MP_CFI_VALUE,      /* is the CFA plus the value */
    MP_CFI_REGISTER,   /* in the register of that number */
    MP_CFI_SAVED_EXPR, /* saved where the expression says, which is at tables.low plus the value */
    MP_CFI_EXPR,       /* what the expression says */
    MP_CFI_UNDEFINED,  /* lost; the return address: the stack ends */
};

/* For one address. The CFA (canonical frame address) is the stack pointer before the call. */
struct mp_cfi_row {
    int32_t value[MP_ARCH_RULES]; /* of register MP_ARCH_RULES_FIRST + i */
    uint8_t rule[MP_ARCH_RULES];  /* enum mp_cfi_rule */
    uint8_t cfa_rule;             /* MP_CFI_VALUE: of cfa_register; or MP_CFI_EXPR */
    uint8_t cfa_register;
    bool signal; /* a signal's frame: registers and pc are exact */
    int32_t cfa_value;
};

/* A frame's registers by their numbers in DWARF. */
struct mp_cfi_registers {
    uint64_t r[MP_ARCH_REGISTERS];
    uint64_t valid; /* bit n: r[n] is known */
    bool exact;     /* pc is an instruction that was interrupted or is under way; else a return
                       address, which may already be another function's */
};

enum mp_cfi_step { MP_CFI_STEPPED, MP_CFI_END, MP_CFI_BROKEN };

/* Where to look for the row of a frame. */
MP_INLINE uint64_t mp_cfi_address(const struct mp_cfi_registers *registers) {
    return registers->r[MP_ARCH_PC] - !registers->exact;
}

/* 0; -ENOENT: no data for this address; -EINVAL: data that makes no sense or asks for more than is
 * kept here. */
int mp_cfi_find_row(const struct mp_cfi_tables *tables, uint64_t address, struct mp_cfi_row *row);

/* To the caller's frame. If the step is not MP_CFI_STEPPED, the registers are as before. */
enum mp_cfi_step mp_cfi_apply(const struct mp_cfi_tables *tables, const struct mp_cfi_row *row,
                              struct mp_cfi_registers *registers, struct mp_stack *stack);

/* ---- reading tables: past the end comes zero, and `bad` ---- */

struct mp_cfi_bytes {
    const unsigned char *at, *end;
    bool bad;
};

/* Little-endian, `size` of at most 8 bytes. */
uint64_t mp_cfi_read(struct mp_cfi_bytes *bytes, unsigned size);
uint64_t mp_cfi_read_uleb(struct mp_cfi_bytes *bytes);
int64_t mp_cfi_read_sleb(struct mp_cfi_bytes *bytes);
void mp_cfi_skip(struct mp_cfi_bytes *bytes, uint64_t size);

#endif
