#include "throws.h"

#include <atomic>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<int> alive{0};

struct counted {
    std::string text;
    explicit counted(const std::string &from) : text(from + " and so long that it is on the heap") {
        alive++;
    }
    counted(const counted &other) : text(other.text) { alive++; }
    ~counted() { alive--; }
};

struct error : std::runtime_error {
    std::vector<int> path;
    error(const std::string &what, int depth) : std::runtime_error(what) {
        for (int i = 0; i < depth; i++)
            path.push_back(i);
    }
};

__attribute__((noinline)) int fall(int depth, const std::string &text) {
    counted here(text);
    std::vector<counted> more(2, here);
    if (depth == 0)
        throw error(text, 100);
    return fall(depth - 1, text + "x") + 1;
}

bool falls_and_lands(int depth) {
    try {
        fall(depth, "fallen");
    } catch (const error &caught) {
        return caught.path.size() == 100 &&
               std::string(caught.what()) == "fallen" + std::string(size_t(depth), 'x') &&
               alive >= 0;
    }
    return false;
}

template <class F> bool is_bad_alloc(F allocate) {
    try {
        allocate();
    } catch (const std::bad_alloc &caught) {
        return caught.what() != nullptr;
    }
    return false;
}

volatile size_t huge = size_t(1) << 62;
int handler_calls;

void new_handler() {
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

/* Rethrown at each level, with what was in it. */
void nest(int depth) {
    try {
        if (depth == 0)
            throw std::out_of_range("the innermost of all errors");
        nest(depth - 1);
    } catch (...) {
        std::throw_with_nested(error("level " + std::to_string(depth), depth));
    }
}

int levels(const std::exception &outer) {
    try {
        std::rethrow_if_nested(outer);
    } catch (const std::exception &inner) {
        return 1 + levels(inner);
    }
    return 0;
}

bool nests(int depth) {
    try {
        nest(depth);
    } catch (const error &caught) {
        return levels(caught) == depth + 1;
    }
    return false;
}

bool rethrows() {
    int seen = 0;
    try {
        try {
            try {
                throw error("again", 10);
            } catch (error &caught) {
                seen++;
                caught.path.push_back(7);
                throw;
            }
        } catch (std::runtime_error &) {
            seen++;
            std::exception_ptr pointer = std::current_exception();
            std::rethrow_exception(pointer);
        }
    } catch (const error &caught) {
        return seen == 2 && caught.path.size() == 11;
    }
    return false;
}

/* Thrown in a destructor's course while another is in flight. */
struct tidies {
    bool &done;
    ~tidies() {
        try {
            throw std::string("an exception while another is under way, and on the heap");
        } catch (const std::string &text) {
            done = text.size() > 20;
        }
    }
};

bool throws_while_unwinding() {
    bool done = false;
    try {
        tidies tidy{done};
        throw 5;
    } catch (int number) {
        return done && number == 5;
    }
    return false;
}

struct half {
    std::unique_ptr<counted> first{new counted("first")};
    std::map<int, std::string> entries{{1, "one"}, {2, "two"}};
    explicit half(bool fails) {
        if (fails)
            throw error("in a constructor", 3);
    }
};

int compare(const void *left, const void *right) {
    if (*static_cast<const int *>(left) == 13 || *static_cast<const int *>(right) == 13)
        throw error("through C", 4);
    return *static_cast<const int *>(left) - *static_cast<const int *>(right);
}

} // namespace

bool throws_and_catches() {
    bool good = true;
    for (int i = 0; i < 40; i++)
        good = good && falls_and_lands(i);
    return good && alive == 0;
}

bool throws_bad_alloc() {
    bool good = is_bad_alloc([] { return ::operator new(huge); }) &&
                is_bad_alloc([] { return new char[huge]; }) &&
                is_bad_alloc([] { return std::string(huge / 2, 'x').size(); });
    good = good && ::operator new(huge, std::nothrow) == nullptr;
    try {
        std::vector<int> lengthy(huge);
        good = false;
    } catch (const std::length_error &) {
    }
    std::set_new_handler(new_handler);
    handler_calls = 0;
    good = good && is_bad_alloc([] { return ::operator new(huge); }) && handler_calls == 3;
    return good && std::get_new_handler() == nullptr;
}

bool throws_nested() {
    return nests(30) && rethrows() && throws_while_unwinding();
}

bool throws_in_threads() {
    std::atomic<int> good{0};
    std::vector<std::thread> threads;
    std::exception_ptr carried[6];
    for (int i = 0; i < 6; i++)
        threads.emplace_back([&good, &carried, i] {
            for (int round = 0; round < 30; round++)
                good += falls_and_lands(round) && nests(round % 8) && rethrows() &&
                        is_bad_alloc([] { return new char[huge]; });
            try {
                throws_out(i);
            } catch (...) {
                carried[i] = std::current_exception();
            }
        });
    for (auto &thread : threads)
        thread.join();
    for (auto &pointer : carried) {
        try {
            std::rethrow_exception(pointer);
        } catch (const std::runtime_error &caught) {
            good += std::string(caught.what()).size() > 5;
        }
    }
    return good == 6 * 30 + 6;
}

bool throws_in_constructor() {
    int caught = 0;
    for (int i = 0; i < 20; i++) {
        try {
            std::unique_ptr<half> one(new half(true));
        } catch (const error &) {
            caught++;
        }
        half whole(false);
        std::function<void()> later = [whole = std::make_shared<half>(false)] { throw 1.5; };
        try {
            later();
        } catch (double) {
            caught++;
        }
    }
    return caught == 40 && alive == 0;
}

bool throws_through_c() {
    int numbers[] = {5, 3, 13, 1};
    try {
        std::qsort(numbers, 4, sizeof(numbers[0]), compare);
    } catch (const error &caught) {
        return caught.path.size() == 4;
    }
    return false;
}

void throws_out(int depth) {
    counted here("out");
    if (depth > 0)
        throws_out(depth - 1);
    throw std::runtime_error("thrown at the caller, number " + std::to_string(depth));
}
