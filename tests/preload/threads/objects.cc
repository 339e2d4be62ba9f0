/*
 * C++ as compilers emit it: thread_local objects with destructors, in threads that end, in main,
 * and static objects that outlive them; exceptions that carry memory from one thread to another;
 * operator new that fails with std::bad_alloc and asks the new_handler first.
 */
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

static std::atomic<int> ended;

static void fail(const char *reason) {
    std::fprintf(stderr, "%s\n", reason);
    _exit(1);
}

struct Keeper {
    std::map<std::string, std::vector<int>> table;
    ~Keeper() {
        /* Frees what it has, and allocates afresh while the thread ends. */
        for (auto &entry : table)
            entry.second.assign(500, 1);
        std::vector<std::string> last(100, std::string(200, 'x'));
        ended++;
    }
};

static thread_local Keeper keeper;
static thread_local std::unique_ptr<std::vector<char>> buffer;
static std::unique_ptr<std::vector<std::string>> outlives;

static void work(int number) {
    buffer = std::make_unique<std::vector<char>>(number % 7 == 0 ? 3000000 : 3000);
    for (int i = 0; i < 60; i++)
        keeper.table[std::to_string(number) + ":" + std::to_string(i)].resize(size_t(i) * 10, i);
}

static void in_threads() {
    for (int round = 0; round < 60; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++)
            threads.emplace_back(work, round * 4 + i);
        for (auto &thread : threads)
            thread.join();
    }
    if (ended != 240)
        fail("not every thread_local object was destroyed");
}

/* The exception is allocated in one thread, and freed in another after the first has ended. */
static void across_threads() {
    for (int i = 0; i < 100; i++) {
        std::exception_ptr carried;
        std::thread([&carried, i] {
            try {
                throw std::runtime_error(std::string(300, 'e') + std::to_string(i));
            } catch (...) {
                carried = std::current_exception();
            }
        }).join();
        try {
            std::rethrow_exception(carried);
        } catch (const std::runtime_error &error) {
            if (std::string(error.what()).size() < 300)
                fail("the exception changed on its way");
        }
    }
}

static int handler_calls;

static void handler() {
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

static void refusals() {
    /* Hidden from the compiler, which knows that no object is that large. */
    volatile size_t impossible = size_t(1) << 62;
    std::set_new_handler(handler);
    try {
        char *block = new char[impossible];
        delete[] block;
        fail("new of 2^62 bytes succeeded");
    } catch (const std::bad_alloc &) {
    }
    if (handler_calls != 3)
        fail("the new_handler was not called until it gave up");
    if (new (std::nothrow) char[impossible] != nullptr)
        fail("new (nothrow) of 2^62 bytes succeeded");
    struct alignas(256) Wide {
        char bytes[1000];
    };
    for (int i = 0; i < 100; i++) {
        auto wide = std::make_unique<Wide[]>(5);
        if (reinterpret_cast<uintptr_t>(wide.get()) % 256 != 0)
            fail("an over-aligned new is not aligned");
    }
}

int main() {
    alarm(60);
    outlives = std::make_unique<std::vector<std::string>>(1000, std::string(100, 's'));
    work(1);
    in_threads();
    across_threads();
    refusals();
    return 0;
}
