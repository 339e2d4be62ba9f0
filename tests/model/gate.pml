/*
 * The fork gate: no thread is inside a slow section while the process is copied.
 *
 * Each thread registers a heap, OPS times runs a slow section or forks, gives its heap back, and
 * may run one section more without a heap, as frees that libc sends late do. The checks: sections
 * and fork exclude each other, a copy can go on by itself, nobody waits for ever. All variables
 * are sequentially consistent, as busy and gate must be in the code.
 *
 * Each `#ifdef MUT_...` takes one step of the protocol away. Such a variant must fail.
 */

#ifndef NT
#define NT 2 /* threads */
#endif
#ifndef OPS
#define OPS 2 /* sections or forks per thread */
#endif

bit gate;          /* closed */
bit known[NT + 1]; /* the thread's heap is in the table of heaps */
bit busy[NT + 1];
byte gate_lock;  /* one fork at a time; also held by sections of threads without a heap */
byte heaps_lock; /* the table of heaps */
byte pool_lock;  /* what sections lock, and a fork as well */

/* What only the model knows. */
byte inside;
byte forking;
bit asleep[NT + 1];
byte at_rest;

inline take(lock) {
    atomic { lock == 0 -> lock = me }
}

inline drop(lock) {
    d_step { assert(lock == me); lock = 0 }
}

/* futex: sleeps only if the word still is what the caller has seen */
inline wait_open() {
    do
    :: gate == 0 -> break
    :: gate == 1 ->
#ifdef MUT_SLEEP_UNCHECKED
        asleep[me] = 1;
#else
        atomic {
            if
            :: gate == 1 -> asleep[me] = 1
            :: else
            fi
        };
#endif
        !asleep[me]
    od
}

inline wake_all() {
    d_step {
        i = 1;
        do
        :: i <= NT -> asleep[i] = 0; i++
        :: else -> break
        od;
        i = 0
    }
}

inline enter() {
    do
    :: true ->
#ifdef MUT_GATE_READ_FIRST
        if
        :: gate == 0 -> busy[me] = 1; break
        :: else -> wait_open()
        fi
#else
        busy[me] = 1;
        if
        :: gate == 0 -> break
        :: else
        fi;
#ifndef MUT_WAITS_BUSY
        busy[me] = 0;
#endif
        wait_open()
#endif
    od
}

inline leave() {
    busy[me] = 0
}

inline work() {
    inside++;
    take(pool_lock);
#ifdef MUT_SECTIONS_NEST
    if
    :: has_heap -> enter(); leave()
    :: else
    fi;
#endif
    drop(pool_lock);
    inside--
}

inline section() {
    if
    :: has_heap -> enter(); work(); leave()
    :: else ->
#ifndef MUT_LATE_WITHOUT_LOCK
        take(gate_lock);
#endif
        work();
#ifndef MUT_LATE_WITHOUT_LOCK
        drop(gate_lock)
#endif
    fi
}

/*
 * The child has the memory as it was, and no other thread. One of them may just have raised its
 * mark, seen the gate closed, and not lowered it yet: the child must not wait for it when it forks
 * itself. Its memory is its own, so its steps need not mix with the parent's.
 */
inline child() {
    d_step {
        its_gate = gate;
        i = 1;
        its_marks = 0;
        do
        :: i <= NT -> its_marks = its_marks + (i != me && known[i] && busy[i]); i++
        :: else -> break
        od;
        i = 0
    };
#ifndef MUT_CHILD_GATE_CLOSED
    its_gate = 0;
#endif
#ifndef MUT_CHILD_KEEPS_HEAPS
    its_marks = 0;
#endif
    its_gate == 0;
    its_marks == 0;
    d_step { its_gate = 0; its_marks = 0 }
}

inline scan() {
    i = 1;
    do
    :: i <= NT ->
        if
        :: i != me && known[i] -> busy[i] == 0
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline do_fork() {
#ifdef MUT_FORK_MARKED
    busy[me] = 1;
#endif
#ifndef MUT_FORKS_TOGETHER
    take(gate_lock);
#endif
#ifndef MUT_SCAN_FIRST
    gate = 1;
#endif
    take(heaps_lock);
#ifndef MUT_NO_SCAN
    scan();
#endif
#ifdef MUT_SCAN_FIRST
    gate = 1;
#endif
    take(pool_lock);
    forking++;
    child();
    forking--;
    drop(pool_lock);
    drop(heaps_lock);
#ifdef MUT_WAKE_FIRST
    wake_all();
    gate = 0;
#else
    gate = 0;
#ifndef MUT_NO_WAKE
    wake_all();
#endif
#endif
#ifndef MUT_FORKS_TOGETHER
    drop(gate_lock);
#endif
#ifdef MUT_FORK_MARKED
    busy[me] = 0
#endif
}

proctype thread(byte me) {
    byte ops = OPS, i, its_marks;
    bit has_heap = 1, its_gate;

#ifdef MUT_REGISTERS_LATE
    section();
#endif
    take(heaps_lock);
    known[me] = 1;
    drop(heaps_lock);
    do
    :: ops > 0 -> ops--; section()
    :: ops > 0 -> ops--; do_fork()
    :: break
    od;
    ops = 0;
#ifdef MUT_TABLE_IN_SECTION
    enter();
#endif
    take(heaps_lock);
    known[me] = 0;
    drop(heaps_lock);
#ifdef MUT_TABLE_IN_SECTION
    leave();
#endif
    has_heap = 0;
    if
    :: section()
    :: skip
    fi;
    at_rest++
}

/* In every state, and so in the one that a fork copies. */
active proctype monitor() {
end:
    atomic { inside > 0 && forking > 0 -> assert(false) }
}

init {
    byte p = 1;

    atomic {
        do
        :: p <= NT -> run thread(p); p++
        :: else -> break
        od
    };
    at_rest == NT;
    assert(gate == 0 && gate_lock == 0 && heaps_lock == 0 && pool_lock == 0 && inside == 0)
}

#ifdef LIVE
ltl ends { <> (at_rest == NT) }
#endif
