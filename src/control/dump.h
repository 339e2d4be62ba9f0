/* A dump: a copy of the process, made through the heap's gate, writes what it holds to a file. The
 * process itself stands still for the copying alone, and only where its threads want something of
 * the heap's slow paths. The copy is nobody's business: no signal, no wait of the program's sees
 * it, it holds no descriptor and takes time only when nobody else wants it.
 *
 * One dump at a time (lock rank DUMP). Any thread that is in none of our slow paths; async-signal-
 * safe under that condition, which mp_dump_can_start_sigsafe tells. */
#ifndef MP_CONTROL_DUMP_H
#define MP_CONTROL_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profile/contents.h"

/* At start-up: where dumps go is settled while the working directory is the one that the user sees.
 * Without this, none is written (-EPERM). */
void mp_dump_start(void);

bool mp_dump_can_start_sigsafe(void);

struct mp_dump_order {
    const char *path; /* NULL: where the option says */
    /* For one who asks from outside: a file in which the copy leaves its answer, a line "ok COPY
     * PATH" or "error COPY TEXT"; COPY: what is to be waited for until it has gone. */
    const char *answer;
    /* In the copy: no file gets a name; this is called with the dump's descriptor, and what it
     * returns is the copy's exit status. */
    int (*then)(int dump, const struct mp_contents_leaks *leaks, void *context);
    void *context;
    bool no_dump; /* with `then`: none is written, and it gets -1 */
    bool leaks;   /* look for them, with all threads stopped for as long as the copying takes */
};

/* Writes a dump, and waits for its end. 0 or -errno. */
int mp_dump_write_sigsafe(const struct mp_dump_order *order);

/* With `then`: waits for the copy's exit status. 0, or -errno when there is no copy. */
int mp_dump_run(const struct mp_dump_order *order, int *status);

/* Writes one without waiting. 0, or -errno when there is no copy. */
int mp_dump_begin_sigsafe(const struct mp_dump_order *order);

/* Takes note of copies that have ended; true while there are others. */
bool mp_dump_reap_sigsafe(void);

/* Nobody waits for answers of copies that are on their way: whom they were for asks anew. */
void mp_dump_forget_answers(void);

/* Why the last of them that nobody waits an answer of has failed; 0: none has since this was asked.
 */
int mp_dump_take_error(void);

/* dump_exit=1; a failure is said. */
void mp_dump_at_exit(void);

/* The lock is taken before the sampler's and the heap's. A child's dumps are counted anew, and its
 * parent's copies are not its own. */
void mp_dump_before_fork(void);
void mp_dump_after_fork(bool child);

#endif
