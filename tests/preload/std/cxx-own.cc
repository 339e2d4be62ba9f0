/*
 * A program that replaces C++'s two basic operators by its own: the others, which it does not replace, must come to them.
 */
#include "common.h"

#include <cstdlib>
#include <new>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation" /* that is the point */
#endif

static int news, deletes;

void *operator new(size_t size) {
    news++;
    void *block = malloc(size + 32);
    if (!block)
        throw std::bad_alloc();
    return static_cast<char *>(block) + 32;
}

void operator delete(void *pointer) noexcept {
    deletes++;
    if (pointer)
        free(static_cast<char *>(pointer) - 32);
}

static void others_come_to_them() {
    void *one = ::operator new(100);
    CHECK(news == 1, "new: %d calls", news);
    void *many = ::operator new[](100);
    CHECK(news == 2, "new[]: %d calls", news);
    void *quiet = ::operator new(100, std::nothrow);
    CHECK(news == 3, "nothrow new: %d calls", news);
    ::operator delete(one, size_t(100));
    CHECK(deletes == 1, "sized delete: %d calls", deletes);
    ::operator delete[](many);
    CHECK(deletes == 2, "delete[]: %d calls", deletes);
    ::operator delete(quiet, std::nothrow);
    CHECK(deletes == 3, "nothrow delete: %d calls", deletes);
}

int main() {
    t_init();
    RUN("operators that the program does not replace call those that it does", others_come_to_them);
    return t_done();
}
