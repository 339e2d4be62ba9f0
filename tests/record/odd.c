/*
 * Stacks that cannot be followed: code that no module knows, as a compiler in the process makes it;
 * unwind data that is wrong; a chain of frame pointers that leads anywhere. The stack ends there,
 * and nothing else does.
 */
#include "record.h"

#if !defined(__x86_64__)
int main(void) {
    printf("skip stacks that cannot be followed: the code is written for x86-64\n");
    return 0;
}
#else

static void *kept[40][R_KEEP];
static const void *to_allocates;
static bool backend_libunwind;

/* ---- code that no module knows ---- */

typedef void calls_function(unsigned row, void (*function)(unsigned));
typedef void *calls_malloc(size_t size, void *(*function)(size_t));

static union {
    unsigned char *bytes;
    calls_function *us;
    calls_malloc *malloc;
} code;

/* Room for a call, and the call: no frame pointer, no unwind data. */
static bool make_code(void) {
    static const unsigned char bytes[] = {
        0x48, 0x83, 0xec, 0x08, /* sub $8, %rsp */
        0xff, 0xd6,             /* call *%rsi */
        0x48, 0x83, 0xc4, 0x08, /* add $8, %rsp */
        0xc3,                   /* ret */
    };
    code.bytes =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code.bytes == MAP_FAILED)
        return false;
    memcpy(code.bytes, bytes, sizeof(bytes));
    return true;
}

static const unsigned char *after_call(void) {
    return code.bytes + 6;
}

SHOWN void allocates(unsigned row) {
    to_allocates = CALLER;
    for (int i = 0; i < R_KEEP; i++)
        kept[row][i] = malloc(2000 + row);
}

static void jit_calls_malloc(void) {
    for (int i = 0; i < R_KEEP; i++)
        kept[0][i] = code.malloc(2000, malloc);
    r_expect("odd.heap", "a call of malloc by code without unwind data is one frame, broken", "cfi",
             2000, R_KEEP, "broken");
    r_at(after_call());
    r_done("");
    r_expect("odd.heap", "a call of malloc by code without unwind data is its first frame",
             "fp,libunwind", 2000, R_KEEP, "any");
    r_at(after_call());
    r_done("*");
}

static void jit_calls_us(void) {
    code.us(1, allocates);
    r_expect("odd.heap", "below code without unwind data a stack is whole, and broken there", "cfi",
             2001, R_KEEP, "broken");
    r_in((void *)allocates);
    r_at(to_allocates);
    r_done("");
    r_expect("odd.heap", "below code without unwind data a stack is whole", "fp,libunwind", 2001,
             R_KEEP, "any");
    r_in((void *)allocates);
    r_at(to_allocates);
    r_done("*");
}

/* ---- unwind data that is wrong ---- */

#define WRONG(name, cfi)                                                                           \
    void name(unsigned row, void (*function)(unsigned));                                           \
    __asm__(".text\n.globl " #name "\n.type " #name ", %function\n" #name ":\n"                    \
            ".cfi_startproc\npushq %rbx\nmovq $-8, %rbx\n" cfi "call *%rsi\npopq %rbx\nret\n"      \
            ".cfi_endproc\n.size " #name ", . - " #name "\n");

WRONG(frame_too_large, ".cfi_def_cfa_offset 1073741824\n")
WRONG(frame_too_small, ".cfi_def_cfa_offset 8\n")
WRONG(frame_negative, ".cfi_def_cfa_offset -4096\n")
WRONG(frame_unaligned, ".cfi_def_cfa_offset 19\n")
WRONG(frame_by_garbage, ".cfi_def_cfa rbx, 16\n")
WRONG(frame_by_unknown, ".cfi_def_cfa rdi, 16\n")
WRONG(address_elsewhere, ".cfi_def_cfa_offset 16\n.cfi_offset rip, -1048576\n")
WRONG(address_in_register, ".cfi_def_cfa_offset 16\n.cfi_register rip, rbx\n")
/* DW_CFA_def_cfa_expression: DW_OP_lit0, DW_OP_deref */
WRONG(frame_by_null, ".cfi_escape 0x0f, 2, 0x30, 0x06\n")
/* DW_CFA_def_cfa_expression: DW_OP_skip -3, for ever */
WRONG(frame_by_endless_loop, ".cfi_escape 0x0f, 3, 0x2f, 0xfd, 0xff\n")
/* DW_CFA_val_expression of the return address: DW_OP_const4u 0x12345678 */
WRONG(address_of_nothing,
      ".cfi_def_cfa_offset 16\n.cfi_escape 0x16, 16, 5, 0x0c, 0x78, 0x56, 0x34, 0x12\n")
/* DW_CFA_remember_state 40 times */
WRONG(states_overflow, ".rept 40\n.cfi_remember_state\n.endr\n")
/* DW_CFA_restore_state, and nothing was remembered */
WRONG(states_underflow, ".cfi_escape 0x0b\n")

static const struct {
    const char *name;
    calls_function *function;
} wrong[] = {
    {"a frame of 1 GiB", frame_too_large},
    {"a frame without its saved register", frame_too_small},
    {"a frame below the stack pointer", frame_negative},
    {"a frame at an odd place", frame_unaligned},
    {"a frame by a register with garbage", frame_by_garbage},
    {"a frame by a register that is lost", frame_by_unknown},
    {"a return address far below", address_elsewhere},
    {"a return address in a register with garbage", address_in_register},
    {"an expression that reads address 0", frame_by_null},
    {"an expression that loops for ever", frame_by_endless_loop},
    {"a return address in no module", address_of_nothing},
    {"more remembered states than there is room for", states_overflow},
    {"a restored state that was not remembered", states_underflow},
};

static void wrong_data(void) {
    if (backend_libunwind)
        SKIP("libunwind believes what it reads");
    for (unsigned i = 0; i < COUNT(wrong); i++) {
        char name[128];
        wrong[i].function(2 + i, allocates);
        snprintf(name, sizeof(name), "unwind data with %s does no harm", wrong[i].name);
        r_expect("odd.heap", name, "cfi,fp", 2002 + i, R_KEEP, "any");
        r_in((void *)allocates);
        r_at(to_allocates);
        r_done("*");
    }
}

/* ---- frame pointers that lead anywhere ---- */

void with_frame_pointer(unsigned row, void (*function)(unsigned), uintptr_t value);
__asm__(".text\n.globl with_frame_pointer\n.type with_frame_pointer, %function\n"
        "with_frame_pointer:\n.cfi_startproc\n"
        "pushq %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n"
        "movq %rdx, %rbp\ncall *%rsi\npopq %rbp\n.cfi_def_cfa_offset 8\n"
        "ret\n.cfi_endproc\n.size with_frame_pointer, . - with_frame_pointer\n");

/* Chains outside of any stack: one that leads to itself, and one with no end but garbage. */
static uintptr_t itself[2], upwards[4096];

static void wrong_frame_pointers(void) {
    char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(hole != MAP_FAILED && mprotect(hole + 4096, 4096, PROT_NONE) == 0, "no memory");
    itself[0] = (uintptr_t)itself;
    itself[1] = (uintptr_t)after_call();
    for (size_t i = 0; i + 2 < COUNT(upwards); i += 2) {
        upwards[i] = (uintptr_t)&upwards[i + 2];
        upwards[i + 1] = (uintptr_t)after_call();
    }
    const struct {
        const char *name;
        uintptr_t value;
    } values[] = {
        {"0", 0},
        {"1", 1},
        {"-1", UINTPTR_MAX},
        {"a small number", 4096},
        {"an address where nothing is", 0xdead0000},
        {"an address that no machine has", 0x8000000000000000u},
        {"an address of the kernel's", 0xffffffff81000000u},
        {"an odd address of the stack", (uintptr_t)__builtin_frame_address(0) + 3},
        {"an address below the stack", (uintptr_t)__builtin_frame_address(0) - 65536},
        {"the end of what may be read", (uintptr_t)hole + 4096 - 8},
        {"what may not be read", (uintptr_t)hole + 4096},
        {"a frame that leads to itself", (uintptr_t)itself},
        {"a chain of 2000 in static memory", (uintptr_t)upwards},
        {"code", (uintptr_t)with_frame_pointer},
    };
    for (unsigned i = 0; i < COUNT(values); i++) {
        char name[128];
        with_frame_pointer(20 + i, allocates, values[i].value);
        snprintf(name, sizeof(name), "a frame pointer that is %s does no harm", values[i].name);
        r_expect("odd.heap", name, "cfi,fp,libunwind", 2020 + i, R_KEEP, "any");
        r_in((void *)allocates);
        r_at(to_allocates);
        r_done("*");
    }
    munmap(hole, 8192);
}

int main(void) {
    t_init();
    r_watchdog(30);
    backend_libunwind = !strcmp(r_option("unwind="), "libunwind");
    if (!make_code()) {
        printf("skip stacks that cannot be followed: no memory can be executed: %s\n",
               strerror(errno));
        return 0;
    }
    RUN("code that was made at run time calls malloc", jit_calls_malloc);
    RUN("code that was made at run time calls what calls malloc", jit_calls_us);
    RUN("unwind data may be wrong", wrong_data);
    RUN("a frame pointer may be anything", wrong_frame_pointers);
    r_dump("odd.heap");
    return t_done();
}
#endif
