/*
 * A page goes home: src/heap/home.c, and hand_over in src/heap/elsewhere.c.
 *
 * One full page without an owner, BLOCKS blocks, all of them live; the thread that filled it is at
 * home. Two others free the blocks, one push each. Who pushes first has claimed the page, and sends
 * it home or keeps it. The home thread takes in what was sent, or sleeps for ever, or ends; it does
 * such things up to twice. The checks: nobody touches the entry of a page that is not his; the page
 * is retired once, with all its blocks back; it is never lost on its way; and when all have come to
 * rest it is retired, unless one who frees has it in a queue of his own (rescue.pml is about that),
 * the home thread was busy when it was looked at, or it is still counted (the next one who comes by
 * may have more luck).
 *
 * Each `#ifdef MUT_...` takes one step away; such a variant must fail.
 */

#ifndef BLOCKS
#define BLOCKS 3
#endif
#ifndef FIRST
#define FIRST 2 /* blocks that one of the two frees */
#endif

#define HOME   3 /* the threads are 1 and 2, who free, and this */
#define STACK  4
#define NOBODY 0

#define HOMING 1
#define QUEUED 2

/* The entry. */
byte remote;        /* blocks that wait there */
bit owned;
byte owner;         /* what free compares with itself */
byte used = BLOCKS; /* those in `remote` included */
byte flag;

bit stack, shut;    /* the home heap's */
byte busy;          /* NOBODY, or HOME, or who visits it */
byte all_back;
bit somebody;       /* one round at a time */

/* What only the model knows. */
byte live = BLOCKS;
byte holds;         /* who may touch the entry's plain fields */
bit gone, missed;
byte resting;

#define touch() assert(holds == me && !gone)

inline retire() {
    d_step {
        touch();
        assert(live == 0 && remote == used);
        gone = 1;
        holds = NOBODY
    }
}

/* mp_queue_own and mp_queue_settle */
inline settle() {
    d_step { touch(); owner = me };
    do
    :: true ->
        back = remote;
        if
        :: back >= used -> retire(); break
        :: else ->
            d_step { touch(); flag = QUEUED };
            if
            :: remote == back -> break
            :: else
            fi
        fi
    od
}

/* mp_home_send; `done`: it is the home heap's now, or was */
inline send_home() {
    d_step { touch(); flag = HOMING };
#ifdef MUT_SHUT_IGNORED
    d_step { touch(); holds = STACK; stack = 1; done = 1 };
#else
    d_step {
        touch();
        if
        :: shut
        :: else -> holds = STACK; stack = 1; done = 1
        fi
    };
#endif
    if
    :: !done -> d_step { touch(); flag = 0 }
#ifndef MUT_NO_LOOK_BACK
    :: done && remote >= BLOCKS -> all_back++ /* whatever the page is by now */
#endif
    :: else
    fi
}

inline visit() {
    if
    :: atomic { busy == NOBODY -> busy = me }
    :: atomic { busy != NOBODY -> missed = 1 }
    fi;
    if
    :: busy == me ->
        d_step {
            done = stack;
            if
            :: stack -> assert(holds == STACK); stack = 0; holds = me
            :: else
            fi
        };
        if
        :: done && remote == used -> retire()
#ifdef MUT_KEEPS_THE_REST
        :: done && remote != used -> skip
#else
        :: done && remote != used -> d_step { assert(!shut); touch(); holds = STACK; stack = 1 }
#endif
        :: !done && flag == QUEUED && owner == HOME && !gone && remote == used ->
            d_step { assert(holds == HOME); holds = me };
            retire()
        :: else
        fi;
        busy = NOBODY
    :: else
    fi;
    done = 0
}

inline rescue() {
    if
    :: atomic { !somebody -> somebody = 1 }; /* also for the sake of other pages */
        all_back = 0;
        visit();
        somebody = 0
    :: all_back == 0 || somebody
    fi
}

proctype freer(byte me; byte n) {
    byte back;
    bit mine, done;
    do
    :: n > 0 && owner == me && !gone ->
        /* its own: of the events only the last counts here */
        n--;
        d_step { touch(); live--; used-- };
        if
        :: remote == used -> retire()
        :: else
        fi
    :: n > 0 && owner != me ->
        n--;
        d_step {
            assert(!gone);
            live--;
            remote++;
            back = remote;
            mine = !owned;
            owned = 1;
            if
            :: mine -> assert(holds == NOBODY); holds = me
            :: else
            fi
        };
        /* from here on the page may be gone, unless it is this thread's */
        if
        :: mine ->
            if
            :: used == BLOCKS && back < used -> send_home() /* not one that was listed */
            :: true
            fi;
            if
            :: !done -> settle()
            :: else
            fi;
            done = 0
        :: !mine && back >= BLOCKS && (flag == QUEUED || flag == HOMING) ->
#ifdef MUT_FLAG_NOT_SEEN
            if
            :: flag == QUEUED -> all_back++
            :: else
            fi
#else
            all_back++
#endif
        :: else
        fi;
        rescue()
    :: n == 0 -> break
    od;
    resting++
}

/* mp_queue_leave */
inline leave() {
    do
    :: true ->
        d_step { touch(); used = used - remote; remote = 0; flag = 0 };
        if
        :: used == 0 -> retire(); break
        :: else
        fi;
        d_step { touch(); owner = 0 };
        d_step {
            if
            :: remote == 0 -> owned = 0; holds = NOBODY; done = 1
            :: else
            fi
        };
        if
        :: done -> break
        :: else
        fi
    od;
    done = 0
}

inline slow_enter() {
    atomic { busy == NOBODY -> busy = me }
}

proctype home() {
    byte me = HOME, times = 2, back;
    bit done;
    do
    :: times > 0 ->
        times--;
        slow_enter();
        d_step {
            done = stack;
            if
            :: stack -> assert(holds == STACK); stack = 0; holds = me
            :: else
            fi
        };
        if
        :: done -> done = 0; flag = 0; settle()
        :: else
        fi;
        busy = NOBODY
    :: times > 0 && !shut ->
        times = 0;
        slow_enter();
#ifdef MUT_SHUT_LATE
        d_step {
            done = stack;
            if
            :: stack -> assert(holds == STACK); stack = 0; holds = me
            :: else
            fi
        };
        shut = 1;
#else
        d_step {
            done = stack;
            shut = 1;
            if
            :: stack -> assert(holds == STACK); stack = 0; holds = me
            :: else
            fi
        };
#endif
        if
        :: done -> done = 0; leave()
        :: !done && holds == HOME && !gone -> leave()
        :: else
        fi;
        busy = NOBODY
    :: break
    od;
    resting++
}

proctype judge() {
    resting == 3;
    assert(live == 0);
    assert(!(stack && shut));
    assert(gone || missed || all_back > 0 || flag == QUEUED && (owner == 1 || owner == 2))
}

init {
    atomic {
        run freer(1, FIRST);
        run freer(2, BLOCKS - FIRST);
        run home();
        run judge()
    }
}
