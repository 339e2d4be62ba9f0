/* The machine's NUMA nodes, as far as this process may have memory from them, and memory that is
 * bound to one.
 *
 * Nodes here are numbered 0 .. mp_numa_count() - 1: those with memory; the kernel's own numbers may
 * have gaps. One without memory stands for the nearest that has some. There is one, and nothing is
 * bound, where there is nothing to choose: one node, a cpuset of one, numa=off, or a memory policy
 * that the program was started with (numactl), which so is what counts. Another node's memory is
 * what the kernel gives when one is full: a preference, not an order.
 *
 * Where there are several there is one more, of no node: memory that is bound to nothing, for
 * threads that have set a policy of their own meanwhile, which is to count then. They tell us
 * (preload/policy.c). What they start inherits it; which threads those are nobody tells, and to ask
 * is a system call: so all that begin while any thread has a policy have their memory from there,
 * where without one it is from where they first touch it.
 *
 * Everything is found out at start-up, with three system calls where there is one node. Afterwards
 * nothing is called that a sandboxed program might not let us call: a thread's node is read from
 * rseq or the vDSO, and memory is bound without mbind. For each node there is a seed, a piece of
 * address space bound to it at start-up and never touched; moved to where memory is wanted
 * (MREMAP_DONTUNMAP: it stays where it is, too) and lengthened there, it takes its policy along.
 * Under a filter of system calls from before the start there are no seeds: then a page is from
 * where it was first touched, which is by a thread of the same node, mostly. */
#ifndef MP_PLATFORM_NUMA_H
#define MP_PLATFORM_NUMA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/arch.h"

#define MP_NODES 65u /* 64, further ones share a number with others; and that of no node */

/* Finds out; the options read. How many nodes there are to be, with that of no node; they do not
 * count yet. `root`: where /sys and /proc are, "" but in tests. */
unsigned mp_numa_start(const char *root);
/* From now on there are so many. */
void mp_numa_use(unsigned nodes);

extern MP_HIDDEN _Atomic(uint32_t) mp_numa_nodes;

MP_INLINE unsigned mp_numa_count(void) {
    return atomic_load_explicit(&mp_numa_nodes, memory_order_acquire);
}

/* The node that this thread runs on; it may be another by now. */
unsigned mp_numa_look(void);
MP_INLINE unsigned mp_numa_here(void) {
    return MP_LIKELY(atomic_load_explicit(&mp_numa_nodes, memory_order_relaxed) == 1)
               ? 0
               : mp_numa_look();
}

/* The kernel's number of a node; of what is of no node UINT32_MAX. */
uint32_t mp_numa_number(unsigned node);
/* That of the node where this thread runs, or of the nearest with memory, whatever its policy. */
uint32_t mp_numa_number_here(void);

/* This thread has another policy now, of <linux/mempolicy.h>. */
void mp_numa_note_policy(int policy);
/* This thread is about to allocate for the first time, or has ended. */
void mp_numa_begin_thread(void);
void mp_numa_end_thread(void);

/* Is it the one of no node? */
bool mp_numa_is_anywhere(unsigned node);

/* For reports, whether nodes count or not: does the machine have several with memory, and which?
 * By the kernel's numbers. */
#define MP_NUMA_NUMBERS 1024u
bool mp_numa_is_several(void);
bool mp_numa_has_memory(unsigned number);
/* Is there a filter of system calls, or may there be one? In a copy with one thread. */
bool mp_numa_is_filtered(const char *root);

/* Of what is mapped here, that its memory is to come from the node, or from all in turn. At
 * start-up, or with numa=interleave, by which the user has asked for it. */
bool mp_numa_bind(unsigned node, uintptr_t start, size_t size);

/* Is all memory to come from all nodes in turn? */
bool mp_numa_is_interleaved(void);
/* Is each page where the user wants it, by that or by a policy of the program's? Then pages are not
 * to be made into huge ones, which are on one node. */
bool mp_numa_is_ordered(void);

/* Puts memory of the node's at a place where something of ours is mapped, MP_NUMA_SEED bytes, and
 * nothing behind it up to `size`. False: it could not be done, and nothing may be mapped there now.
 */
#define MP_NUMA_SEED ((size_t)64 << 10)
bool mp_numa_has_seed(unsigned node);
bool mp_numa_plant(unsigned node, uintptr_t at, size_t size);

#ifdef MP_FAULTS
/* Tests: the kernel's number of the node where this thread runs, as if. NULL: where it does. */
extern unsigned (*mp_numa_pretended)(void);
#endif

#endif
