/*
 * A C++ library for cxx-late.c, which is C and opens it at run time: libstdc++ comes in after start-up then, with no C++
 * runtime in the program itself. Its functions report with numbers, so that nothing C++ crosses over.
 */
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

static int calls;

static void handler() {
    if (++calls == 2)
        std::set_new_handler(nullptr);
}

extern "C" int late_throws(size_t size) {
    try {
        void *volatile block = ::operator new(size);
        ::operator delete(block);
        return 0;
    } catch (const std::bad_alloc &) {
        return 1;
    }
}

extern "C" int late_handler(size_t size) {
    calls = 0;
    std::set_new_handler(handler);
    return late_throws(size) ? calls : -1;
}

extern "C" int late_aligned(size_t size, size_t alignment) {
    void *block = ::operator new(size, std::align_val_t{alignment});
    bool aligned = reinterpret_cast<uintptr_t>(block) % alignment == 0;
    ::operator delete(block, std::align_val_t{alignment});
    return aligned;
}

extern "C" size_t late_strings(size_t count) {
    std::vector<std::string> strings;
    for (size_t i = 0; i < count; i++)
        strings.push_back(std::string(i % 100, 'x'));
    size_t sum = 0;
    for (const auto &one : strings)
        sum += one.size();
    return sum;
}
