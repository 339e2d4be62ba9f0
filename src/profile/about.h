/* What a dump and a black box say of the process itself. */
#ifndef MP_PROFILE_ABOUT_H
#define MP_PROFILE_ABOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <memprof/dump.h>

/* At start-up, and in a child of fork: it begins now. */
void mp_about_start(void);
bool mp_about_has_started(void);

/* The first of the processes that this one comes from by fork alone, and itself. */
long mp_about_first_pid(void);

/* This process, by the number that it had at its start or after the last fork. */
long mp_about_pid(void);

/* Since 1970, and by mp_sys_precise_ns. */
uint64_t mp_about_began_ns(void);
uint64_t mp_about_began_precisely_ns(void);

void mp_about_host(char *host, size_t size);

/* Fills in who it is and how it samples, as process `pid`; `text` keeps a text and gives its
 * number. What changes while it runs is left out. One at a time: it has static buffers. */
void mp_about(struct memprof_dump_process *process, long pid, uint32_t (*text)(const char *text));

#endif
