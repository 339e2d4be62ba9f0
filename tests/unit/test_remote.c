/* Suite: the word through which blocks and ownership of a page pass between threads, taken by
 * itself: pages made by hand, with no heap around them. */
#include <pthread.h>
#include <string.h>

#include "heap/arena.h"
#include "heap/pool.h"
#include "heap/remote.h"
#include "platform/sys.h"
#include "unit.h"

enum { SIZE = 64, BLOCKS = 1024 };

static struct mp_block *block_at(const struct mp_page *page, unsigned i) {
    return (struct mp_block *)(page->start + i * (uintptr_t)SIZE);
}

static unsigned index_of(const struct mp_page *page, const struct mp_block *block) {
    return (unsigned)(((uintptr_t)block - page->start) / SIZE);
}

/* An owned page of 64-byte blocks, all of them out. */
static struct mp_page *make_page(void) {
    bool zero;
    struct mp_page *page = mp_pool_take(0, 1, 1, &zero);
    must(page != NULL);
    page->class = (uint8_t)mp_class_of(SIZE);
    page->local_free = mp_page_end(page);
    page->carved = BLOCKS;
    atomic_store(&page->flags, 0);
    atomic_store(&page->remote, MP_OWNED);
    return page;
}

static bool push(struct mp_page *page, unsigned from, unsigned count) {
    for (unsigned i = from; i < from + count; i++) {
        struct mp_block *block = block_at(page, i);
        block->key = mp_block_key(block);
        if (i + 1 < from + count)
            mp_page_link_block(block, block_at(page, i + 1));
    }
    uint32_t waiting;
    bool mine = mp_remote_push(page, block_at(page, from), block_at(page, from + count - 1), count,
                               &waiting);
    must(waiting >= count);
    return mine;
}

/* How often each block stands in local_free. */
static unsigned count_local(const struct mp_page *page, unsigned *times) {
    unsigned n = 0;
    memset(times, 0, BLOCKS * sizeof *times);
    for (const struct mp_block *block = page->local_free; !mp_page_is_end(block);
         block = mp_page_next_block(block)) {
        must(n++ < BLOCKS);
        times[index_of(page, block)]++;
    }
    return n;
}

START_TEST(blocks_pushed_to_an_owned_page_wait_for_its_owner) {
    unsigned times[BLOCKS];
    struct mp_page *page = make_page();
    ck_assert(!push(page, 10, 3));
    ck_assert(!push(page, 40, 1));
    ck_assert_uint_eq(page->remote >> MP_REMOTE_COUNT_SHIFT, 4);
    ck_assert_uint_eq(page->remote & MP_OWNED, MP_OWNED);
    ck_assert(mp_page_is_end(page->local_free));
    ck_assert_uint_eq(mp_remote_collect(page), 4);
    ck_assert_uint_eq(page->remote, MP_OWNED);
    ck_assert_uint_eq(count_local(page, times), 4);
    ck_assert(times[10] == 1 && times[11] == 1 && times[12] == 1 && times[40] == 1);
    ck_assert_uint_eq(mp_remote_collect(page), 0);
}
END_TEST

START_TEST(what_is_collected_stands_before_what_was_free_already) {
    unsigned times[BLOCKS];
    struct mp_page *page = make_page();
    push(page, 0, 2);
    mp_remote_collect(page);
    push(page, 100, 5);
    push(page, 200, 5);
    ck_assert_uint_eq(mp_remote_collect(page), 10);
    ck_assert_uint_eq(count_local(page, times), 12);
    ck_assert_uint_eq(index_of(page, page->local_free), 200);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(times[100 + i] == 1 && times[200 + i] == 1);
    ck_assert(times[0] == 1 && times[1] == 1);
}
END_TEST

START_TEST(a_page_is_disowned_only_when_nothing_was_pushed) {
    struct mp_page *page = make_page();
    push(page, 3, 1);
    ck_assert(!mp_remote_disown(page));
    ck_assert_uint_eq(page->remote & MP_OWNED, MP_OWNED);
    mp_remote_collect(page);
    ck_assert(mp_remote_disown(page));
    ck_assert_uint_eq(page->remote, 0);
}
END_TEST

START_TEST(the_first_push_to_an_ownerless_page_makes_the_pusher_its_owner) {
    struct mp_page *page = make_page();
    ck_assert(mp_remote_disown(page));
    ck_assert(push(page, 0, 2));
    ck_assert(!push(page, 2, 2));
    ck_assert_uint_eq(page->remote & MP_OWNED, MP_OWNED);
    ck_assert_uint_eq(mp_remote_collect(page), 4);
}
END_TEST

START_TEST(only_an_ownerless_page_can_be_claimed_and_once) {
    struct mp_page *page = make_page();
    ck_assert(!mp_remote_claim(page));
    ck_assert(mp_remote_disown(page));
    ck_assert(mp_remote_claim(page));
    ck_assert(!mp_remote_claim(page));
    ck_assert_uint_eq(page->remote, MP_OWNED);
}
END_TEST

START_TEST(the_count_holds_all_blocks_of_the_smallest_class) {
    bool zero;
    struct mp_page *page = mp_pool_take(0, 1, 1, &zero);
    page->class = 0;
    page->local_free = mp_page_end(page);
    atomic_store(&page->remote, MP_OWNED);
    for (unsigned i = 0; i < 4096; i++) {
        struct mp_block *block = (struct mp_block *)(page->start + i * (uintptr_t)16);
        block->key = mp_block_key(block);
        uint32_t waiting;
        ck_assert(!mp_remote_push(page, block, block, 1, &waiting));
        ck_assert_uint_eq(waiting, i + 1);
    }
    ck_assert_uint_eq(mp_remote_collect(page), 4096);
    unsigned n = 0;
    for (struct mp_block *block = page->local_free; !mp_page_is_end(block); n++)
        block = mp_page_next_block(block);
    ck_assert_uint_eq(n, 4096);
}
END_TEST

/* ---- the pool's list ---- */

START_TEST(a_listed_page_is_adopted_once) {
    struct mp_page *page = make_page();
    ck_assert(mp_pool_list_and_disown(page));
    ck_assert_int_eq(mp_page_flags(page) & MP_PAGE_LISTED, MP_PAGE_LISTED);
    ck_assert_uint_eq(page->remote, 0);
    ck_assert_ptr_eq(mp_pool_adopt(0, page->class), page);
    ck_assert_int_eq(mp_page_flags(page) & MP_PAGE_LISTED, 0);
    ck_assert_uint_eq(page->remote, MP_OWNED);
    ck_assert_ptr_null(mp_pool_adopt(0, page->class));
}
END_TEST

START_TEST(a_page_into_which_blocks_came_is_not_listed) {
    struct mp_page *page = make_page();
    push(page, 5, 2);
    ck_assert(!mp_pool_list_and_disown(page));
    ck_assert_int_eq(mp_page_flags(page) & MP_PAGE_LISTED, 0);
    ck_assert_uint_eq(page->remote & MP_OWNED, MP_OWNED);
    ck_assert_ptr_null(mp_pool_adopt(0, page->class));
}
END_TEST

START_TEST(a_listed_page_that_a_pusher_has_claimed_is_not_adopted) {
    struct mp_page *pages[3] = {make_page(), make_page(), make_page()};
    for (int i = 0; i < 3; i++)
        ck_assert(mp_pool_list_and_disown(pages[i]));
    ck_assert(push(pages[2], 5, 2)); /* the first in the list; its pusher has not got further */
    ck_assert_ptr_eq(mp_pool_adopt(0, pages[0]->class), pages[1]);
    ck_assert_int_eq(mp_page_flags(pages[2]) & MP_PAGE_LISTED, 0);
    mp_pool_unlist(pages[2]); /* what the pusher does next */
    ck_assert_ptr_eq(mp_pool_adopt(0, pages[0]->class), pages[0]);
    ck_assert_ptr_null(mp_pool_adopt(0, pages[0]->class));
}
END_TEST

START_TEST(pages_leave_the_list_from_any_place) {
    struct mp_page *pages[3];
    for (int out = 0; out < 3; out++) {
        for (int i = 0; i < 3; i++) {
            pages[i] = make_page();
            ck_assert(mp_pool_list_and_disown(pages[i]));
        }
        mp_pool_unlist(pages[out]);
        mp_pool_unlist(pages[out]);
        for (int i = 2; i >= 0; i--) {
            if (i != out)
                ck_assert_ptr_eq(mp_pool_adopt(0, pages[i]->class), pages[i]);
        }
        ck_assert_ptr_null(mp_pool_adopt(0, pages[out]->class));
    }
}
END_TEST

/* ---- several threads ---- */

enum { PUSHERS = 4, ROUNDS = 100, CHAIN = 8 };

struct shared {
    struct mp_page *page;
    _Atomic(unsigned) turn[BLOCKS]; /* how often each block has gone round */
    _Atomic(unsigned) out[BLOCKS];  /* may it be freed? */
    _Atomic(unsigned) finished;
};

struct pusher {
    struct shared *shared;
    unsigned number;
    unsigned claimed;
};

/* Frees its share of the blocks again and again, each as soon as the owner has it handed out. */
static void *pusher(void *context) {
    struct pusher *self = context;
    struct shared *shared = self->shared;
    unsigned share = BLOCKS / PUSHERS, first = self->number * share;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = first; i < first + share; i += CHAIN) {
            for (unsigned k = 0; k < CHAIN; k++) {
                while (!atomic_load(&shared->out[i + k]))
                    mp_sys_yield();
                atomic_store(&shared->out[i + k], 0);
            }
            self->claimed += push(shared->page, i, CHAIN);
        }
    }
    atomic_fetch_add(&shared->finished, 1);
    return NULL;
}

/* Takes what is free and hands it out again. */
static unsigned hand_out(struct shared *shared) {
    struct mp_page *page = shared->page;
    unsigned n = 0;
    while (!mp_page_is_end(page->local_free)) {
        struct mp_block *block = page->local_free;
        unsigned i = index_of(page, block);
        must(i < BLOCKS && mp_block_is_free(block));
        page->local_free = mp_page_next_block(block);
        block->key = 0;
        atomic_fetch_add(&shared->turn[i], 1);
        atomic_store(&shared->out[i], 1);
        n++;
    }
    return n;
}

START_TEST(an_owner_gets_each_block_that_threads_push_exactly_once) {
    static struct shared shared;
    memset(&shared, 0, sizeof shared);
    shared.page = make_page();
    pthread_t threads[PUSHERS];
    struct pusher pushers[PUSHERS];
    for (unsigned i = 0; i < BLOCKS; i++)
        atomic_store(&shared.out[i], 1);
    for (unsigned i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct pusher){&shared, i, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, pusher, &pushers[i]), 0);
    }
    unsigned collected = 0, handed = 0;
    while (handed < BLOCKS * ROUNDS) {
        collected += mp_remote_collect(shared.page);
        handed += hand_out(&shared);
        if (atomic_load(&shared.finished) == PUSHERS && collected == handed &&
            shared.page->remote == MP_OWNED)
            break;
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_uint_eq(pushers[i].claimed, 0);
    }
    ck_assert_uint_eq(collected, BLOCKS * ROUNDS);
    for (unsigned i = 0; i < BLOCKS; i++)
        ck_assert_uint_eq(shared.turn[i], ROUNDS);
}
END_TEST

/* Threads that push and whoever of them becomes the owner collects, hands out and disowns: at no
 * time are there two owners, and the page ends ownerless with nothing lost. */
struct claims {
    struct shared shared;
    _Atomic(int) owners;
};

static void own_until_quiet(struct claims *claims) {
    must(atomic_fetch_add(&claims->owners, 1) == 0);
    for (;;) {
        mp_remote_collect(claims->shared.page);
        hand_out(&claims->shared);
        atomic_fetch_sub(&claims->owners, 1);
        if (mp_remote_disown(claims->shared.page))
            return;
        must(atomic_fetch_add(&claims->owners, 1) == 0);
    }
}

struct claimer {
    struct claims *claims;
    unsigned number, claimed;
};

static void *claimer(void *context) {
    struct claimer *self = context;
    struct shared *shared = &self->claims->shared;
    unsigned share = BLOCKS / PUSHERS, first = self->number * share;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = first; i < first + share; i++) {
            while (!atomic_load(&shared->out[i]))
                mp_sys_yield();
            atomic_store(&shared->out[i], 0);
            if (push(shared->page, i, 1)) {
                self->claimed++;
                own_until_quiet(self->claims);
            }
        }
        if (mp_remote_claim(shared->page))
            own_until_quiet(self->claims);
    }
    return NULL;
}

START_TEST(a_page_never_has_two_owners) {
    static struct claims claims;
    memset(&claims, 0, sizeof claims);
    claims.shared.page = make_page();
    ck_assert(mp_remote_disown(claims.shared.page));
    pthread_t threads[PUSHERS];
    struct claimer claimers[PUSHERS];
    for (unsigned i = 0; i < BLOCKS; i++)
        atomic_store(&claims.shared.out[i], 1);
    for (unsigned i = 0; i < PUSHERS; i++) {
        claimers[i] = (struct claimer){&claims, i, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, claimer, &claimers[i]), 0);
    }
    unsigned claimed = 0;
    for (unsigned i = 0; i < PUSHERS; i++) {
        pthread_join(threads[i], NULL);
        claimed += claimers[i].claimed;
    }
    ck_assert_uint_gt(claimed, 0);
    ck_assert_uint_eq(claims.shared.page->remote, 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        ck_assert_uint_eq(claims.shared.turn[i], ROUNDS);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("remote");
    TCase *one = tcase_create("one thread");
    UNIT_CASE(one, blocks_pushed_to_an_owned_page_wait_for_its_owner);
    UNIT_CASE(one, what_is_collected_stands_before_what_was_free_already);
    UNIT_CASE(one, a_page_is_disowned_only_when_nothing_was_pushed);
    UNIT_CASE(one, the_first_push_to_an_ownerless_page_makes_the_pusher_its_owner);
    UNIT_CASE(one, only_an_ownerless_page_can_be_claimed_and_once);
    UNIT_CASE(one, the_count_holds_all_blocks_of_the_smallest_class);
    suite_add_tcase(suite, one);
    TCase *list = tcase_create("list");
    UNIT_CASE(list, a_listed_page_is_adopted_once);
    UNIT_CASE(list, a_page_into_which_blocks_came_is_not_listed);
    UNIT_CASE(list, a_listed_page_that_a_pusher_has_claimed_is_not_adopted);
    UNIT_CASE(list, pages_leave_the_list_from_any_place);
    suite_add_tcase(suite, list);
    TCase *several = tcase_create("several threads");
    tcase_set_timeout(several, 30);
    UNIT_CASE(several, an_owner_gets_each_block_that_threads_push_exactly_once);
    UNIT_CASE(several, a_page_never_has_two_owners);
    suite_add_tcase(suite, several);
    return unit_main(suite);
}
