/* Where threads cannot be made to stand still: two copies of the process, some time apart, and what
 * both say. A pointer that is moved while a copy is made may be in neither of its places; to be
 * taken for leaked, a block must have been missed twice, and not have changed in between, for
 * nobody can write to a block that has leaked. What may be in the registers of threads, which are
 * not known, is not called leaked either: of a class of blocks there must be more than all
 * registers can hold.
 *
 * The first copy leaves what it has found in memory that both share; the second waits for it. */
#ifndef MP_LEAK_TWICE_H
#define MP_LEAK_TWICE_H

#include "leak/mark.h"

struct mp_twice;

/* Before the copies are made. NULL: no memory. */
struct mp_twice *mp_twice_begin(void);
/* In the process, when both have been made. */
void mp_twice_end(struct mp_twice *twice);

/* The first copy, at its end; `marks` NULL: it has failed. */
void mp_twice_note(struct mp_twice *twice, const struct mp_marks *marks);

/* The second: what is not leaked by both is marked, with all that it leads to. `first`: the other's
 * pid; `unknown`: how many threads' registers are. 0, or -ESRCH: the first came to nothing. */
int mp_twice_confirm(struct mp_twice *twice, long first, uint32_t unknown, struct mp_marks *marks);

#endif
