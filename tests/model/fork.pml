/*
 * A forked child: pages whose owner does not exist there, taken over by whoever frees into them.
 *
 * Page 0 belonged to a thread that the fork has not copied. Its lists were in motion perhaps, so
 * they are made anew from the keys that free blocks bear. Page 1 was let go of by the same thread
 * before the fork, and the list of ownerless pages or a free leads to it as ever. The last thread
 * has no heap any more. In the end the model counts.
 */

#ifndef NT
#define NT 3 /* threads; the last one has no heap */
#endif
#ifndef NP
#define NP 2 /* pages */
#endif
#ifndef NB
#define NB 3 /* blocks per page */
#endif
#ifndef OPS
#define OPS 2 /* calls of malloc or free per thread */
#endif
#ifndef BATCH
#define BATCH 2 /* blocks that a batch may hold */
#endif

#define HAS_EXIT
#define HAS_FORK
#include "page.inc"

proctype thread(byte me; bit heapless) {
    byte cur = NONE, list[NP], head[NP], tail[NP], count[NP];
    byte ops = OPS, b, p, q, old, chain;
    bit ok;

#ifdef MUT_FORK_KEEPS_BATCHES
    if
    :: me == 1 -> head[0] = NB; tail[0] = NB; count[0] = 1
    :: else
    fi;
#endif
    do
    :: ops > 0 && !heapless -> ops--; do_malloc()
    :: ops > 0 -> ops--; do_free()
    :: break
    od;
    ops = 0;
    flush_all();
    rest()
}

init {
    byte p, chain, seen, used;

    atomic {
        d_step {
            live[0] = ALL >> 1;
            holds[0] = LOST_THREAD;
            gone[LOST_THREAD] = 1;
            gone[NT] = 1;
            page[0].used = NB;
            page[0].keyed = BIT(NB);
            page[0].last = LOST_THREAD;
            page[0].lost = 1;
            page[0].remote = OWNED;
            page[1].last = LOST_THREAD
        };
        /* the block that is free: on a list of the lost thread, or handed over to it */
        if
#ifndef MUT_FORK_KEEPS_BATCHES
        :: page[0].remote = OWNED | NB
#endif
        :: skip
        fi;
        if
        :: start_page(1, 1, 0)
        :: start_page(1, 3, 1)
        fi;
        page[1].keyed = page[1].space;
        p = 1;
        do
        :: p <= NT -> run thread(p, p == NT); p++
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
