/* The system calls by which a process of its own memory's stops the threads of another: ptrace and
 * what goes with it. Each is a raw call that returns -errno, as in sys.h. */
#ifndef MP_PLATFORM_TRACE_H
#define MP_PLATFORM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_TRACE_REGISTERS 35u /* at most, with the thread's pointer */
#define MP_TRACE_VECTORS   64u /* words of the others that are kept */

/* A process that shares this one's memory, and nothing else: no descriptors but copies of its own,
 * no signal at its end, and only mp_sys_wait_copy sees it. It runs `work` on the stack that ends at
 * stack_end, with the caller's thread-local storage: the caller is to wait until it is done with
 * that. All signals are blocked in it. Its number, or -errno. */
long mp_trace_start(int (*work)(void *context), void *stack_end, void *context);

/* Waits while one of the process's threads is in execve, which itself waits until all others have
 * ended, and been waited for by whoever traces them: meanwhile the caller is to handle SIGCHLD. A
 * thread that has become another program stops with PTRACE_EVENT_EXEC. */
int mp_trace_seize(long thread);
int mp_trace_interrupt(long thread);
/* `signal` is delivered to it then; 0: none. */
int mp_trace_detach(long thread, int signal);
/* Its registers; how many words, or -errno. Two of them are its stack's pointer and its own. */
int mp_trace_registers(long thread, uint64_t registers[MP_TRACE_REGISTERS], uint64_t *sp,
                       uint64_t *tp);
/* Words of its vector registers that may be addresses, for compilers keep pointers there, too; how
 * many. None where the kernel has no such set. */
int mp_trace_vectors(long thread, uint64_t *words, uint32_t room);
/* Picks such words. */
uint32_t mp_trace_pick(const void *bytes, size_t size, uint64_t *words, uint32_t room);
/* Of a thread that has stopped; false: it has not, or has no memory there. */
bool mp_trace_read_word(long thread, const uint64_t *address, uint64_t *word);
/* A thread that has stopped, or ended: its number; 0: none now; -errno. */
long mp_trace_wait(int *status, bool hang);

/* Would the calls that stop threads be the end of the process that makes them? So a filter of
 * system calls may have it. A copy finds out, once; for a process that has one. */
bool mp_trace_is_deadly(void);

/* Lets a process, which is not this one's parent, trace it where the Yama module wants that said,
 * and whoever the program has said may do so. That is noted, but for calls that are not libc's. */
void mp_trace_allow(long process);
void mp_trace_allow_as_before(void);
void mp_trace_note_allowed(long process);

void mp_trace_sleep_us(uint64_t us);

#endif
