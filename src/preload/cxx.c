/* The two of C++'s operators that all others come down to: libstdc++'s own call malloc and free,
 * and the way there costs as much as our fast paths. What they do beyond that, the new-handler and
 * std::bad_alloc, is asked of the C++ library, whichever is in the process; we need none ourselves.
 * new[], nothrow, sized and aligned forms stay the library's, so that a program that replaces one
 * operator has the others call it. And where malloc is somebody else's, or comes past somebody
 * else, it is called. Any thread; no locks of its own. */
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>

#include "heap/heap.h"
#include "platform/elf.h"
#include "platform/say.h"
#include "preload/preload.h"

#define GET_HANDLER "_ZSt15get_new_handlerv"
#define THROW       "_ZSt17__throw_bad_allocv"

MP_EXPORT void *_Znwm(size_t size);
MP_EXPORT void _ZdlPv(void *pointer);

bool mp_new_is_direct;

typedef void new_handler(void);
extern new_handler *_ZSt15get_new_handlerv(void) __attribute__((weak, visibility("default")));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak, visibility("default")));
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* Of a C++ library that a C program has opened, and which our weak references have not found: the
 * objects of the caller's name space are looked through. Only where memory has run out. */
static const void *find(const void *caller, const char *name) {
    struct dl_find_object found;
    if (!_dl_find_object || _dl_find_object((void *)(uintptr_t)caller, &found) != 0)
        return NULL;
    const struct link_map *map = found.dlfo_link_map;
    while (map->l_prev)
        map = map->l_prev;
    const void *address = NULL;
    for (; map && !address; map = map->l_next)
        address = mp_elf_find(map, name);
    return address;
}

/* There is no memory: true when a handler has run that may have seen to some. Does not return
 * otherwise. */
static void ask_handler_or_throw(const void *caller) {
    new_handler *(*get_handler)(void) = _ZSt15get_new_handlerv;
    void (*throw_bad_alloc)(void) = _ZSt17__throw_bad_allocv;
    if (!get_handler)
        *(const void **)&get_handler = find(caller, GET_HANDLER);
    if (!throw_bad_alloc)
        *(const void **)&throw_bad_alloc = find(caller, THROW);
    new_handler *handler = get_handler ? get_handler() : NULL;
    if (handler) {
        handler();
        return;
    }
    if (throw_bad_alloc)
        throw_bad_alloc();
    mp_say("operator new: no memory, and no C++ library to throw std::bad_alloc");
    abort();
}

static MP_NOINLINE void *new_slow(size_t size, const void *caller) {
    for (;;) {
        void *block = mp_new_is_direct ? mp_malloc_slow(size, caller) : malloc(size);
        if (MP_LIKELY(block != NULL))
            return block;
        ask_handler_or_throw(caller);
    }
}

void *_Znwm(size_t size) {
    if (MP_LIKELY(mp_new_is_direct)) {
        void *block = mp_malloc_fast(size);
        if (MP_LIKELY(block != NULL))
            return block;
    }
    return new_slow(size, __builtin_return_address(0));
}

void _ZdlPv(void *pointer) {
    if (MP_UNLIKELY(!mp_new_is_direct))
        free(pointer);
    else if (MP_UNLIKELY(!mp_free_fast(pointer)))
        mp_free_as("operator delete", pointer, __builtin_return_address(0));
}
