/*
 * A library with C++ operators of its own, as allocators and plugins bring them: a header before each block that only its own
 * delete knows. Whoever preloads something must leave the set whole.
 */
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t MAGIC = 0x6f776e2d6e6577;

struct header {
    size_t magic, size;
};

void *give(size_t size) {
    auto *block = static_cast<header *>(malloc(sizeof(header) + size));
    if (!block)
        throw std::bad_alloc();
    *block = {MAGIC, size};
    return block + 1;
}

void take(void *pointer) {
    if (!pointer)
        return;
    header *block = static_cast<header *>(pointer) - 1;
    if (block->magic != MAGIC) {
        fputs("a block that this library's new did not make\n", stderr);
        abort();
    }
    block->magic = 0;
    free(block);
}

} // namespace

#define EXPORT __attribute__((visibility("default")))

EXPORT void *operator new(size_t size) { return give(size); }
EXPORT void *operator new[](size_t size) { return give(size); }
EXPORT void operator delete(void *pointer) noexcept { take(pointer); }
EXPORT void operator delete[](void *pointer) noexcept { take(pointer); }
EXPORT void operator delete(void *pointer, size_t) noexcept { take(pointer); }
EXPORT void operator delete[](void *pointer, size_t) noexcept { take(pointer); }
