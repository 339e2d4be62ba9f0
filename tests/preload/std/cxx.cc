/*
 * C++'s operators over the library: every form of new and delete, alignment, std::bad_alloc and the new-handler.
 * libstdc++'s own operators call malloc; should the library export its own, all of this must still hold.
 */
#include "common.h"

#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

static void forms_pair_up() {
    for (size_t size = 0; size < 3 * MIB; size = size * 3 / 2 + 1) {
        void *one = ::operator new(size);
        void *many = ::operator new[](size);
        void *quiet = ::operator new(size, std::nothrow);
        NEED(one && many && quiet, "operator new(%zu) is NULL", size);
        CHECK((uintptr_t)one % 16 == 0 && (uintptr_t)many % 16 == 0, "operator new(%zu) is misaligned", size);
        CHECK(one != many && many != quiet, "operator new(%zu) gives one address twice", size);
        CHECK(malloc_usable_size(one) >= size, "operator new(%zu) has too little room", size);
        memset(one, 1, size);
        memset(many, 2, size);
        memset(quiet, 3, size);
        CHECK(t_first_other(one, size, 1) == size, "blocks of %zu overlap", size);
        ::operator delete(one);
        ::operator delete[](many);
        ::operator delete(quiet, std::nothrow);
    }
    for (size_t size = 1; size < 100000; size = size * 2 + 1) {
        ::operator delete(::operator new(size), size);
        ::operator delete[](::operator new[](size), size);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, (size_t)8);
}

static void aligned_forms() {
    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2)
        for (size_t size = 1; size < 200000; size = size * 7 + 1) {
            std::align_val_t want{alignment};
            void *one = ::operator new(size, want);
            void *many = ::operator new[](size, want, std::nothrow);
            NEED(one && many, "aligned new is NULL");
            CHECK((uintptr_t)one % alignment == 0, "new(%zu, align %zu) is %p", size, alignment, one);
            CHECK((uintptr_t)many % alignment == 0, "new[](%zu, align %zu) is %p", size, alignment, many);
            memset(one, 1, size);
            memset(many, 2, size);
            ::operator delete(one, size, want);
            ::operator delete[](many, want);
        }
}

template <class Call> static bool throws_bad_alloc(Call call) {
    try {
        (void)t_opaque_pointer(call());
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void huge_throws() {
    for (size_t size : {(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX}) {
        size_t wish = t_opaque(size);
        std::align_val_t page{4096};
        CHECK(throws_bad_alloc([=] { return ::operator new(wish); }), "new(%zx) did not throw", size);
        CHECK(throws_bad_alloc([=] { return ::operator new[](wish); }), "new[](%zx) did not throw", size);
        CHECK(t_opaque_pointer(::operator new(wish, std::nothrow)) == nullptr, "nothrow new(%zx) is not NULL", size);
        CHECK(t_opaque_pointer(::operator new[](wish, std::nothrow)) == nullptr, "nothrow new[](%zx)", size);
        /* libstdc++ rounds the size up to the alignment, past zero at the very end: its own affair. */
        if (size > SIZE_MAX - 4096)
            continue;
        CHECK(throws_bad_alloc([=] { return ::operator new(wish, page); }), "aligned new(%zx) did not throw", size);
        CHECK(throws_bad_alloc([=] { return ::operator new[](wish, page); }), "aligned new[](%zx) did not throw",
              size);
        CHECK(t_opaque_pointer(::operator new(wish, page, std::nothrow)) == nullptr, "nothrow aligned new(%zx)",
              size);
    }
    bool thrown = false;
    try {
        size_t count = t_opaque(SIZE_MAX / 4);
        (void)t_opaque_pointer(new uint64_t[count]);
    } catch (const std::bad_array_new_length &) {
        thrown = true;
    }
    CHECK(thrown, "new uint64_t[SIZE_MAX / 4] did not throw std::bad_array_new_length");
}

static int handler_calls;

static void handler_three_times() {
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

struct own_error {};

static void handler_throws() {
    handler_calls++;
    throw own_error();
}

static void new_handler_is_called() {
    size_t wish = t_opaque((size_t)PTRDIFF_MAX - 100);
    handler_calls = 0;
    std::set_new_handler(handler_three_times);
    CHECK(throws_bad_alloc([=] { return ::operator new(wish); }), "new did not throw in the end");
    CHECK(handler_calls == 3, "the handler was called %d times", handler_calls);
    handler_calls = 0;
    std::set_new_handler(handler_three_times);
    CHECK(t_opaque_pointer(::operator new(wish, std::nothrow)) == nullptr, "nothrow new is not NULL");
    CHECK(handler_calls == 3, "the handler was called %d times for nothrow new", handler_calls);
    handler_calls = 0;
    std::set_new_handler(handler_three_times);
    CHECK(throws_bad_alloc([=] { return ::operator new(wish, std::align_val_t{64}); }), "aligned new");
    CHECK(handler_calls == 3, "the handler was called %d times for aligned new", handler_calls);
    bool own = false;
    handler_calls = 0;
    std::set_new_handler(handler_throws);
    try {
        (void)t_opaque_pointer(::operator new(wish));
    } catch (const own_error &) {
        own = true;
    }
    std::set_new_handler(nullptr);
    CHECK(own && handler_calls == 1, "the handler's own exception did not come through");
}

static void exceptions_carry_on() {
    size_t caught = 0;
    for (int i = 0; i < 2000; i++) {
        try {
            std::vector<std::string> held(i % 20, std::string(i % 300, 'x'));
            if (i % 2)
                throw std::string(i % 5000, 'y');
            held.at(1000);
        } catch (const std::string &text) {
            caught += text.size() == (size_t)(i % 5000);
        } catch (const std::exception &) {
            caught++;
        }
    }
    CHECK(caught == 2000, "%zu of 2000 exceptions came through", caught);
}

static void containers_across_threads() {
    std::vector<std::shared_ptr<std::vector<int>>> shared;
    for (int i = 0; i < 500; i++)
        shared.push_back(std::make_shared<std::vector<int>>(i * 10, i));
    std::vector<std::thread> threads;
    std::vector<size_t> sums(4);
    for (size_t t = 0; t < 4; t++)
        threads.emplace_back([&sums, t, copy = shared]() mutable {
            for (auto &one : copy)
                sums[t] += one->size();
            copy.clear();
        });
    shared.clear();
    for (auto &thread : threads)
        thread.join();
    for (size_t sum : sums)
        CHECK(sum == 500 * 499 / 2 * 10, "a thread saw %zu elements", sum);
}

int main() {
    t_init();
    RUN("every form of new and delete pairs up", forms_pair_up);
    RUN("aligned new is aligned", aligned_forms);
    RUN("new of a huge size throws std::bad_alloc, nothrow new gives null", huge_throws);
    RUN("the new-handler is called until it gives up or throws", new_handler_is_called);
    RUN("exceptions and unwinding work", exceptions_carry_on);
    RUN("containers are freed by other threads", containers_across_threads);
    return t_done();
}
