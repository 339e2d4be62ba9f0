/* What becomes of the blocks that no root leads to.
 *
 *   direct     nothing leads to it but what it leads to itself; of a cycle, one block is
 *   indirect   a direct one leads to it
 *
 * Who frees all direct ones, and what their destructors free, has freed all. */
#ifndef MP_LEAK_VERDICT_H
#define MP_LEAK_VERDICT_H

#include "leak/mark.h"

enum mp_verdict { MP_REACHABLE, MP_LEAKED, MP_LEAKED_INDIRECTLY };

struct mp_verdicts {
    const struct mp_marks *reached;
    struct mp_marks direct; /* its bits alone */
};

/* Of all live blocks, when everything has been marked from the roots. False: no memory. */
bool mp_verdicts_begin(struct mp_verdicts *verdicts, const struct mp_marks *reached);
void mp_verdicts_end(struct mp_verdicts *verdicts);

MP_INLINE enum mp_verdict mp_verdict_of(const struct mp_verdicts *verdicts, uint32_t number) {
    if (mp_marks_has(verdicts->reached, number))
        return MP_REACHABLE;
    return mp_marks_has(&verdicts->direct, number) ? MP_LEAKED : MP_LEAKED_INDIRECTLY;
}

#endif
