/*
 * A library with a large thread-local variable, opened late: the loader allocates each thread's
 * copy at its first use, from the heap, and frees it when the thread's stack is reused.
 */
#include <string.h>

__attribute__((visibility("default"))) int touch_thread_locals(int value);

static _Thread_local char large[50000];
static _Thread_local int small = 7;

int touch_thread_locals(int value) {
    memset(large, value, sizeof(large));
    small += large[sizeof(large) - 1];
    return small;
}
