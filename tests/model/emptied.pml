/*
 * The memory of a current page is given back while its owner may be in the middle of a pop or a push:
 * src/heap/rescue.h, which see.
 *
 * One page of N blocks, its owner, a thread that frees what the owner gives it, and a visitor. The
 * owner's stores outside slow sections go through a store buffer: all others see them later, in order.
 * What a block holds while it is the program's is anything, a link to any block included.
 *
 * The checks: no block is handed out that is in use, nothing of a block in use is purged, nothing is
 * freed into a page that does not know it, and at the end every block is in use, in one list, or not
 * made. Each `#ifdef MUT_...` takes one step away; such a variant must fail.
 */

#ifndef N
#define N 3
#endif
#ifndef OPS
#define OPS 4 /* of the owner's */
#endif

#define END 0
#define NONE 0
#define KEY 1
#define MARK 2

/* Memory. */
byte head;
byte link[N + 1], key[N + 1];
byte remote; /* bit b: block b waits there */
bit checked; /* frees take the slow path */
bit emptied;
byte left;   /* the one block that an emptied page still has */
byte carved = N;

/* What only the model knows. */
bit live[N + 1], given[N + 1];
bit owner_done, other_done, visitor_done;

/* The owner's stores on their way: what to (1 head, 2 link, 3 key), of which block, the value. And what
 * the owner itself sees of them. */
chan buffer = [6] of { byte, byte, byte };
byte wait_head, wait_link[N + 1], wait_key[N + 1];
byte own_head, own_link[N + 1], own_key[N + 1];
byte issued, drained;

bit busy, visited;

#define HEAD (wait_head -> own_head : head)
#define LINK(b) (wait_link[b] -> own_link[b] : link[b])
#define HAS(b) (wait_key[b] -> own_key[b] : key[b])

inline store_head(v) {
    d_step { nfull(buffer); buffer!1, 0, v; own_head = v; wait_head++; issued++ }
}
inline store_link(b, v) {
    d_step { nfull(buffer); buffer!2, b, v; own_link[b] = v; wait_link[b]++; issued++ }
}
inline store_key(b, v) {
    d_step { nfull(buffer); buffer!3, b, v; own_key[b] = v; wait_key[b]++; issued++ }
}

proctype drain() {
    byte what, b, v;
    do
    :: d_step {
           buffer?what, b, v;
           if
           :: what == 1 -> head = v; wait_head--
           :: what == 2 -> link[b] = v; wait_link[b]--
           :: what == 3 -> key[b] = v; wait_key[b]--
           fi;
           drained++;
           what = 0; b = 0; v = 0
       }
    :: owner_done && empty(buffer) -> break
    od
}

/* A locked operation: what was stored before is seen. */
inline slow_enter() {
    atomic { empty(buffer) && !visited -> busy = 1 }
}
inline slow_leave() {
    busy = 0
}

inline push_list(x) {
    link[x] = list;
    key[x] = KEY;
    list = x
}

/* mp_rescue_return: blocks up to the one that is left, and that one if it is in the list. */
inline come_back() {
    d_step {
        if
        :: emptied ->
            list = END;
            if
            :: left != END && head == left -> push_list(left)
            :: else
            fi;
            b = left;
            do
            :: b > 1 -> b--; push_list(b)
            :: else -> break
            od;
            head = list;
            carved = left;
            emptied = 0;
            checked = 0;
            b = 0; list = 0
        :: else
        fi
    }
}

inline collect() {
    d_step {
        if
        :: head == END ->
            list = END;
            b = N;
            do
            :: b > 0 ->
                if
                :: remote & (1 << b) -> assert(key[b] == KEY && !live[b]); push_list(b)
                :: else
                fi;
                b--
            :: else -> break
            od;
            remote = 0;
            head = list;
            list = 0
        :: else
        fi
    }
}

proctype owner() {
    byte n = OPS, b, list, block, next;
    do
    :: n > 0 ->
        n--;
        if
        :: /* malloc */
            block = HEAD;
            if
            :: block != END && HAS(block) == KEY ->
                next = LINK(block);
                store_head(next);
                store_key(block, NONE);
                d_step { assert(!live[block]); live[block] = 1; given[block] = 0 };
                /* the program writes to it */
                if
                :: store_link(block, 1)
                :: store_link(block, N)
                :: store_link(block, END)
                fi
            :: else ->
                slow_enter();
                come_back();
                collect();
                slow_leave()
            fi
        :: /* free, of a block of its own */
            if
            :: d_step { live[1] && !given[1] -> block = 1 }
            :: d_step { live[N] && !given[N] -> block = N }
            :: d_step { live[2] && !given[2] -> block = 2 }
            :: else -> goto next_one
            fi;
            if
            :: checked ->
                slow_enter();
                come_back();
                slow_leave()
            :: else
            fi;
            assert(block <= carved || emptied);
            d_step { live[block] = 0 };
            next = HEAD;
            store_link(block, next);
            store_key(block, KEY);
            store_head(block)
        :: /* hand a block to the other thread, which takes all that was stored before along */
            if
            :: d_step { empty(buffer) && live[1] && !given[1] -> given[1] = 1 }
            :: d_step { empty(buffer) && live[N] && !given[N] -> given[N] = 1 }
            :: true
            fi
        fi;
next_one:
        block = 0; next = 0
    :: n == 0 -> break
    od;
    owner_done = 1
}

inline other_frees(b) {
    d_step {
        given[b] ->
        assert(live[b] && (b <= carved || b == left));
        live[b] = 0; given[b] = 0;
        key[b] = KEY;
    };
    /* in between it is in a batch */
    d_step { remote = remote | (1 << b) }
}

proctype other() {
    do
    :: other_frees(1)
    :: other_frees(N)
    :: owner_done && visitor_done -> break
    od;
    other_done = 1
}

inline uncut(b) {
    d_step {
        if
        :: b != END && key[b] == MARK -> key[b] = KEY
        :: else
        fi
    }
}

/* How many blocks stand in the list that the visitor has cut. */
inline count_list() {
    d_step {
        count = 0;
        if
        :: first != END ->
            count = 1;
            if
            :: second != END ->
                count = 2;
                b = link[second];
                do
                :: b != END && key[b] == KEY && count <= N -> count++; b = link[b]
                :: else -> break
                od
            :: else
            fi
        :: else
        fi;
        waiting = remote;
        b = 1;
        do
        :: b <= N ->
            if
            :: waiting & (1 << b) -> count++
            :: else
            fi;
            b++
        :: else -> break
        od;
        b = 0
    }
}

proctype visitor() {
    byte first, second, count, waiting, b, was_issued;
    bit still;
    atomic { !busy -> visited = 1 };
    first = head;
    second = END;
    if
    :: emptied -> goto leave
    :: else
    fi;
    if
    :: first != END ->
        d_step { still = (key[first] == KEY); if :: still -> key[first] = MARK :: else fi };
        if
        :: !still -> goto leave
        :: else
        fi;
        second = link[first];
#ifndef MUT_ONE_MARK
        if
        :: second != END ->
            d_step { still = (key[second] == KEY); if :: still -> key[second] = MARK :: else fi };
            if
            :: !still -> uncut(first); goto leave
            :: else
            fi
        :: else
        fi
#endif
    :: else
    fi;
#ifndef MUT_NO_SETTLE
    was_issued = issued;
    drained >= was_issued;
#endif
    count_list();
    still = (head == first);
#ifndef MUT_HEAD_ALONE
    if
    :: still && first != END ->
        still = (key[first] == MARK);
        still = still && (link[first] == second);
#ifndef MUT_ONE_MARK
        still = still && (second == END || key[second] == MARK)
#endif
    :: else
    fi;
#endif
    if
    :: still && count == carved ->
#ifdef MUT_REMOTE_STORE
        remote = 0;
        still = 1
#else
        d_step { still = (remote == waiting); if :: still -> remote = 0 :: else fi }
#endif
    :: else -> still = 0
    fi;
    if
    :: !still -> uncut(first); uncut(second); goto leave
    :: else
    fi;
    left = first;
    checked = 1;
    emptied = 1;
    b = 1;
    do
    :: b <= N ->
#ifdef MUT_PURGE_ALL
        d_step { assert(!live[b]); key[b] = NONE; link[b] = END };
#else
        if
        :: b != first -> d_step { assert(!live[b]); key[b] = NONE; link[b] = END }
        :: else
        fi;
#endif
        b++
    :: else -> break
    od;
    uncut(first);
    carved = first;
leave:
    visited = 0;
    visitor_done = 1
}

/* Nothing is lost and nothing is there twice. */
proctype judge() {
    byte b, seen, at;
    atomic {
        owner_done && other_done && visitor_done && empty(buffer);
        if
        :: emptied ->
            assert(remote == 0 || remote == (1 << left));
            b = 1;
            do
            :: b <= N -> assert(!live[b] || b == left); b++
            :: else -> break
            od;
            assert(left == END || live[left] + (head == left) + (remote == (1 << left)) == 1)
        :: else ->
            at = head;
            do
            :: at != END ->
                assert(key[at] == KEY && !(seen & (1 << at)));
                seen = seen | (1 << at);
                at = link[at]
            :: else -> break
            od;
            assert(!(seen & remote));
            seen = seen | remote;
            b = 1;
            do
            :: b <= carved -> assert(live[b] + ((seen >> b) & 1) == 1); b++
            :: else -> break
            od
        fi
    }
}

/* Some blocks are the program's already, the others are in the list. */
init {
    byte b = N, in_use, list;
    atomic {
        if
        :: in_use = 0
        :: in_use = 1
        fi;
        list = END;
        do
        :: b > in_use -> push_list(b); b--
        :: b > 0 && b <= in_use -> live[b] = 1; b--
        :: b == 0 -> break
        od;
        head = list;
        run owner();
        run drain();
        run other();
        run visitor();
        run judge()
    }
}
