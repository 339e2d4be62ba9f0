/* The profiler in the heap's hooks: which blocks are samples, and the keeping of their records. A
 * block of `bytes` is one with the chance 1 - exp(-bytes / rate), each independently of all others;
 * `bytes` is the size of its class, or its whole pages. docs/sampling.md will have the estimator;
 * chance.h has the arithmetic. */
#ifndef MP_PROFILE_SAMPLER_H
#define MP_PROFILE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

/* At start-up, single-threaded, the options read. With rate=0 the hooks stay empty. */
void mp_sampler_start(void);

/* No samples from now on. In a forked child, in which no other thread runs. */
void mp_sampler_stop(void);

/* Mean bytes between samples; 0: none are taken. */
uint64_t mp_sampler_rate(void);
/* The same when this one was drawn. */
struct mp_live;
uint64_t mp_sampler_rate_of(const struct mp_live *sample);
uint64_t mp_sampler_seed(void);

struct mp_sampler_counts {
    uint64_t taken;
    uint64_t dropped; /* due, and not recorded: no memory, or from within the profiler itself */
};
void mp_sampler_get_counts(struct mp_sampler_counts *counts);

/* Is this thread in the profiler now? A signal handler that finds so has to come back later. */
bool mp_sampler_is_inside_sigsafe(void);

/* Around a change of the profile's tables by this thread, which records no sample in between; may
 * nest. `sample`: one is added (mirror.h). */
void mp_sampler_begin_change(bool sample);
void mp_sampler_end_change(void);

/* The stack of this thread from a return address on, our own frames below it left out: a handle; 0:
 * no memory. In a change. */
uint32_t mp_sampler_stack(const void *caller);

/* This thread's number: threads that have to do with samples are numbered as they come, from 1. */
uint32_t mp_sampler_thread(void);

/* All tables' locks, before the heap's gate is closed and after it is opened. */
void mp_sampler_before_fork(void);
void mp_sampler_after_fork(bool child);

#endif
