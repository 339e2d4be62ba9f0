/*
 * Thread exit: pages given up with blocks outside, taken over from the pool's list or by a free,
 * and frees that arrive when the thread's heap is gone.
 *
 * Every thread allocates and frees OPS times in any mixture, then either rests with its heap, or
 * cleans its heap up and frees up to LATE blocks more. In the end the model counts.
 */

#ifndef NT
#define NT 2 /* threads */
#endif
#ifndef NP
#define NP 2 /* pages */
#endif
#ifndef NB
#define NB 2 /* blocks per page */
#endif
#ifndef OPS
#define OPS 2 /* calls of malloc or free per thread */
#endif
#ifndef LATE
#define LATE 1 /* frees after the thread's clean-up */
#endif
#ifndef BATCH
#define BATCH 2 /* blocks that a batch may hold */
#endif

#define HAS_EXIT
#include "page.inc"

inline clean_up() {
#if !defined(MUT_EXIT_KEEPS_BATCHES) && !defined(MUT_EXIT_FLUSHES_LAST)
    flush_all();
#endif
    return_list();
    cur = NONE;
    do
    :: q < NP ->
        if
        :: page[q].owner == me -> unown_any(q)
        :: else
        fi;
        q++
    :: else -> break
    od;
    q = 0;
#ifdef MUT_EXIT_FLUSHES_LAST
    flush_all();
#endif
    d_step { ok = 0; heapless = 1; gone[me] = 1 }
}

proctype thread(byte me) {
    byte cur = NONE, list[NP], head[NP], tail[NP], count[NP];
    byte ops = OPS, b, p, q, old, chain;
    bit ok, heapless;

    if
    :: me == 1 -> cur = 0
    :: else
    fi;
    do
    :: ops > 0 -> ops--; do_malloc()
    :: ops > 0 -> ops--; do_free()
    :: break
    od;
    if
    :: ops = 0; flush_all()
    :: ops = LATE; clean_up()
    fi;
    do
    :: heapless && ops > 0 -> ops--; do_free()
    :: break
    od;
    ops = 0;
    rest()
}

init {
    byte p, chain, seen, used;

    atomic {
        if
        :: start_page(0, 2, NB)
        :: start_page(0, 2, 1)
        fi;
#if NP > 1
        if
        :: start_page(1, 0, 0)
        :: start_page(1, 1, 0)
        :: start_page(1, 3, 1)
        fi;
#endif
        p = 1;
        do
        :: p <= NT -> run thread(p); p++
        :: else -> break
        od;
        p = 0
    };
    at_rest == NT;
    judge()
}

#ifdef LIVE
ltl ends { <> (at_rest == NT) }
#endif
