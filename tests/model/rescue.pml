/*
 * A page that its owner and others have emptied together goes back, although the owner may see
 * nothing of it: mp_rescue in src/heap/rescue.c and the mailbox in src/heap/elsewhere.c.
 *
 * One page in a queue of its owner's, BLOCKS blocks, all of them live. The owner frees MINE of them
 * on the fast path, then comes by a slow path or not, and sleeps for ever. Another thread frees the
 * others, one push each, tells the owner if there are more than its event leaves out, and rescues.
 * The checks: nobody touches the entry of a page that was given away; it is given away once, with no
 * block live and all of them in its lists; and when all have come to rest it is given away, unless
 * the owner was last and has not read its mail since, or was busy when the other came by (the next
 * one who comes by may have more luck).
 *
 * The owner's frees are two stores, the list and the count; the fast path is no slow section. Each
 * `#ifdef MUT_...` takes one step away; such a variant must fail.
 */

#ifndef BLOCKS
#define BLOCKS 4
#endif
#ifndef MINE
#define MINE 2
#endif

bit visited, busy;
bit gone;         /* the page is the pool's */
byte until, held; /* as in the entry */
byte listed;      /* blocks in local_free */
byte remote;      /* blocks that wait there */
bit mail;
byte all_back;

/* What only the model knows. */
byte live = BLOCKS;
bit came_by;    /* the owner has run a slow section after its last free */
bit owner_last; /* its last free was counted after the other's last glance at the count */
bit missed;     /* the owner was busy when the other came by */
bit owner_rests, other_rests;

inline touch() {
    assert(!gone)
}

inline retire() {
    d_step {
        touch();
        assert(live == 0 && listed + remote == BLOCKS);
        gone = 1
    }
}

inline slow_enter() {
    atomic { !visited -> busy = 1 }
}

inline slow_leave() {
    busy = 0
}

/* settle() and look_again(): by the owner, in a slow section */
inline settle() {
    waiting = remote;
    do
    :: waiting >= until + held -> retire(); break
    :: else ->
        d_step {
            touch();
            held = until + held;
            until = held - waiting;
            held = held - until
        };
#ifdef MUT_NO_SECOND_LOOK
        break
#else
        if
        :: remote == waiting -> break
        :: else -> waiting = remote
        fi
#endif
    od
}

inline read_mail() {
    if
    :: mail ->
        mail = 0;
        if
        :: !gone -> settle() /* the page may have become anything: the owner looks first */
        :: else
        fi
    :: else
    fi
}

proctype owner() {
    byte n = MINE, waiting;
    bool event;
    do
    :: n > 0 ->
        n--;
        /* the block has its key: to everybody else it is free */
        live--;
#ifdef MUT_COUNT_FIRST
        d_step { touch(); until--; event = (until == 0); owner_last = 1 };
        d_step { touch(); listed++ };
#else
        d_step { touch(); listed++ };
        d_step { touch(); until--; event = (until == 0); owner_last = 1 };
#endif
        if
        :: event ->
            slow_enter();
            settle();
            slow_leave()
        :: else
        fi
    :: n == 0 -> break
    od;
    if
    :: slow_enter();
       read_mail();
       slow_leave();
       came_by = 1
    :: true
    fi;
    owner_rests = 1
}

inline rescue() {
    if
    :: all_back > 0 ->
        all_back = 0;
        if
#ifdef MUT_NO_WAIT
        :: visited = 1
#else
        :: atomic { !busy -> visited = 1 }
        :: atomic { busy -> missed = 1 }
#endif
        fi;
        if
        :: !visited
#ifdef MUT_EVENT_TO_COME
        :: visited && !gone && until + held == remote -> retire()
#else
        :: visited && !gone && until > 0 && until + held == remote -> retire()
#endif
        :: else
        fi;
        visited = 0
    :: else
    fi
}

/* Nobody visits it, so its own slow sections never wait and are left out. */
proctype other() {
    byte n = BLOCKS - MINE, used, back;
    bit tell;
    do
    :: n > 0 ->
        n--;
        d_step { touch(); used = until + held; owner_last = 0 }; /* before the push: a glance */
        d_step {
            touch();
            live--;
            remote++;
            back = remote
        };
        /* from here on the page may be gone */
#ifdef MUT_MAIL_FROM_HALF
        tell = (2 * back >= used);
#elif defined(MUT_MAIL_LATE)
        tell = (back > held + 1);
#elif defined(MUT_NO_MAIL)
        tell = 0;
#else
        if
        :: gone -> tell = 1 /* whatever */
        :: gone -> tell = 0
        :: !gone -> tell = (back > held)
        fi;
#endif
        if
        :: tell -> mail = 1
        :: else
        fi;
#ifndef MUT_NO_COUNT
        if
        :: back == used -> all_back++
        :: else
        fi;
#endif
        rescue()
    :: n == 0 -> break
    od;
    other_rests = 1
}

proctype judge() {
    owner_rests && other_rests;
    assert(live == 0);
    assert(gone || missed || owner_last && (!came_by || mail))
}

/* The page has just been taken over, or counts down to being sparse. */
init {
    atomic {
        if
        :: held = 0
        :: held = BLOCKS / 2
        fi;
        until = BLOCKS - held;
        run owner();
        run other();
        run judge()
    }
}
