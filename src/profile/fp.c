/* Stacks by frame pointers: two loads a frame, no tables, and wrong where code was compiled without
 * them: such a function is left out, or, if it used the register for something else, the stack ends
 * there. Ours and the program's are compiled with -fno-omit-frame-pointer; libc is not.
 * A frame, on both machines:
 *
 *   fp -> | the caller's fp | return address | */
#include "profile/stack.h"
#include "profile/unwind.h"

MP_NOINLINE struct mp_unwound mp_fp_capture(uint64_t *frames, unsigned max, const void *caller) {
    struct mp_unwinding unwinding = mp_unwinding_begin(frames, max, caller);
    struct mp_stack stack;
    uintptr_t fp = (uintptr_t)__builtin_frame_address(0), start = fp;
    unsigned flags = 0;
    mp_stack_enter(&stack, fp, true);
    for (;;) {
        uint64_t next, address;
        if (!mp_stack_read(&stack, fp, &next) || !mp_stack_read(&stack, fp + 8, &address)) {
            flags = MP_UNWIND_BROKEN;
            break;
        }
        address = mp_arch_code_address(address);
        if (address == 0)
            break;
        if (address >> 48) {
            flags = MP_UNWIND_BROKEN;
            break;
        }
        enum mp_unwinding_next on = mp_unwinding_add(&unwinding, address);
        if (on == MP_UNWINDING_FULL)
            flags = MP_UNWIND_CUT;
        if (on != MP_UNWINDING_ON)
            break;
        if (next == 0)
            break;
        if (next <= fp) {
            flags = MP_UNWIND_BROKEN;
            break;
        }
        fp = next;
    }
    /* Programs whose libc keeps no frame pointers never see a stack's very end: the last that was
     * right will do. */
    mp_stack_leave(&stack, start, fp);
    return (struct mp_unwound){unwinding.depth, flags};
}
