/* A library that is unloaded and loaded again in another build: the same addresses, and another
 * frame at each of them. */
#include "unwind_module.h"

void unwind_module_call(void (*back)(void)) {
    char frame[FRAME];
    __asm__ volatile("" : : "r"(frame) : "memory");
    back();
    __asm__ volatile("" : : "r"(frame) : "memory");
}
