/* Reports of leaks that nobody asks for: one at the program's exit (leaks=exit), on the log, and
 * one every report_period into the file that `report` names. A copy of the process searches,
 * and has the memprof command print it, which has the names of functions and knows the
 * suppressions; where that is not to be found, the log gets what is counted alone. */
#ifndef MP_CONTROL_REPORT_H
#define MP_CONTROL_REPORT_H

#include <stdbool.h>

#include <memprof/memprof.h>

/* At start-up, after mp_dump_start and before the program registers anything for its exit. */
void mp_report_start(void);

/* No report at the exit of this process: a child that is not to be profiled. */
void mp_report_stop(void);

/* A report on the log now, which is waited for. 0 or -errno, which has been said. */
int mp_report_tell(bool *leaks);

/* What a search counts, without stacks. 0 or -errno. */
int mp_report_count(struct memprof_leaks *leaks);

/* Is there a file to be renewed? */
bool mp_report_is_wanted(void);

/* Begins a report into the file, and does not wait for it. 0 or -errno. */
int mp_report_begin_sigsafe(void);

#endif
