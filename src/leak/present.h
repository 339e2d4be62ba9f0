/* Which pages of some memory are there: reading the others would make them, or take its time for
 * nothing but zeroes. */
#ifndef MP_LEAK_PRESENT_H
#define MP_LEAK_PRESENT_H

#include <stdbool.h>
#include <stdint.h>

/* In a copy of the process; before this, and where the kernel does not tell, all pages count as
 * there. */
void mp_present_begin(void);
void mp_present_end(void);

/* Does the kernel tell? */
bool mp_present_is_known(void);

/* The parts of [start, end) that are there. `shared`: with other processes, and so perhaps not yet
 * in a copy's tables. Pages of a private mapping that nobody has written to do not count. */
void mp_present_each(uintptr_t start, uintptr_t end, bool shared,
                     void (*visit)(uintptr_t start, uintptr_t end, void *context), void *context);

#endif
