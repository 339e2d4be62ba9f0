/*
 * Remote frees: push, claim, collect, un-own, retire, with threads that never end.
 *
 * Thread 1 starts with page 0 as its current page. Every thread allocates and frees OPS times in
 * any mixture; a free may be of any block that the program holds, whoever allocated it. Then all
 * flush their batches and the model counts.
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
#define OPS 3 /* calls of malloc or free per thread */
#endif
#ifndef BATCH
#define BATCH 2 /* blocks that a batch may hold */
#endif

#include "page.inc"

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
    flush_all();
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
