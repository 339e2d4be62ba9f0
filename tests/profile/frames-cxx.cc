// Stacks of every shape that C++ makes, for test-frames: as frames.c, with exceptions in flight.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

// As in frames.c.
#define APART __attribute__((noinline, section(".apart")))

static void *volatile kept;

static APART void allocate(size_t size) {
    free(kept);
    kept = malloc(size);
}

// Its destructor runs while an exception passes.
struct Guard {
    int number;
    explicit Guard(int n) : number(n) { allocate(10); }
    __attribute__((noinline)) ~Guard() { allocate(static_cast<size_t>(number) + 20); }
};

static APART int throws(int depth) {
    Guard guard(depth);
    if (depth == 0)
        throw std::runtime_error("a text that is too long for the room in the string itself");
    return throws(depth - 1) + guard.number;
}

static APART void rethrows(int depth) {
    Guard guard(depth);
    try {
        throws(depth);
    } catch (...) {
        allocate(30);
        std::throw_with_nested(std::logic_error("another"));
    }
}

static int order(const void *a, const void *b) {
    if (*static_cast<const int *>(a) == 4)
        throws(1);
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

// While one exception passes, a destructor throws and catches another.
struct Inner {
    __attribute__((noinline)) ~Inner() {
        try {
            throws(2);
        } catch (const std::exception &) {
            allocate(40);
        }
    }
};

static void exceptions(int depth) {
    try {
        rethrows(depth);
    } catch (const std::exception &error) {
        try {
            std::rethrow_if_nested(error);
        } catch (const std::exception &) {
            allocate(50);
        }
    }
    try {
        int numbers[] = {5, 1, 4, 2, 3};
        qsort(numbers, 5, sizeof *numbers, order); // through C's frames
    } catch (const std::exception &) {
        allocate(60);
    }
    try {
        Inner inner;
        throws(3);
    } catch (const std::exception &) {
        allocate(70);
    }
}

// Calls by the second base come through a thunk, those by the virtual one through another.
struct Base {
    virtual ~Base() = default;
    virtual void call(int) = 0;
};
struct Other {
    long filler = 1;
    virtual ~Other() = default;
    virtual std::unique_ptr<Other> copy() const = 0;
};
struct Both : virtual Base, Other {
    void call(int n) override { allocate(static_cast<size_t>(n) + 1); }
    std::unique_ptr<Other> copy() const override { return std::make_unique<Both>(); }
};

static void library(int round) {
    std::vector<std::string> words;
    std::map<std::string, std::function<void(int)>> table;
    for (int i = 0; i < 30; i++) {
        words.push_back(std::string(static_cast<size_t>(i + 10), 'a') + std::to_string(i * 7 % 30));
        table[words.back()] = [i, word = words.back()](int n) {
            allocate(static_cast<size_t>(i + n) + word.size());
        };
    }
    std::sort(words.begin(), words.end(), [](const std::string &a, const std::string &b) {
        allocate(a.size());
        return a.size() * 3 % 7 < b.size() * 3 % 7;
    });
    for (auto &entry : table)
        entry.second(round);
    Both both;
    Base &base = both;
    Other &other = both;
    base.call(round);
    other.copy()->copy();
}

static Guard before_main(3);

int main() {
    for (int round = 0; round < 20; round++) {
        exceptions(round);
        library(round);
    }
    std::thread other([] { exceptions(5); });
    other.join();
    auto later = std::async(std::launch::async, [] { return throws(4); });
    try {
        later.get();
    } catch (const std::exception &) {
        allocate(80);
    }
    return 0;
}
