#include "heap/misuse.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/huge.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"

static __thread const void *caller __attribute__((tls_model("initial-exec")));
static __thread const char *caller_function __attribute__((tls_model("initial-exec")));

void mp_misuse_caller(const void *return_address, const char *function) {
    caller = return_address;
    caller_function = function;
}

const void *mp_misuse_called_from(void) {
    return caller;
}

/* glibc 2.35's lock-free look-up; without it places are told as addresses. */
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

static const char *module_of(const void *address, uintptr_t *offset) {
    struct dl_find_object found;
    if (!_dl_find_object || _dl_find_object((void *)(uintptr_t)address, &found) != 0)
        return NULL;
    const struct link_map *map = found.dlfo_link_map;
    *offset = (uintptr_t)address - map->l_addr;
    if (map->l_name && *map->l_name)
        return map->l_name;
    /* The main program has no name in the loader's list. */
    static char self[4096];
    long n = mp_sys_readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return "main program";
    self[n] = '\0';
    return self;
}

static void add_caller(struct mp_text *text) {
    uintptr_t offset;
    const char *module = module_of(caller, &offset);
    if (module)
        mp_text_add(text, "called from %s+0x%lx", module, offset);
    else
        mp_text_add(text, "called from %p", caller);
}

static void finish(const struct mp_text *text, const char *line) {
    (void)text;
    mp_say("%s", line);
    if (mp_options.misuse == MP_MISUSE_ABORT)
        abort();
}

/* Where the loader found the main stack at start; arguments and environment lie a little above. */
extern void *__libc_stack_end;

/* The stack of this thread: the main one lies between here and its end; glibc puts the control
 * block of the others at the upper end of their stack. */
static bool on_stack(uintptr_t pointer) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t tp = mp_arch_thread_pointer();
    if (pointer < here)
        return false;
    if (tp > here && tp - here < ((uintptr_t)1 << 32) && pointer < tp)
        return true;
    return pointer < (uintptr_t)__libc_stack_end + MP_SLICE_SIZE &&
           (uintptr_t)__libc_stack_end - here < ((uintptr_t)1 << 30);
}

static bool is_mapped(uintptr_t pointer) {
    uintptr_t page = pointer & ~(uintptr_t)4095;
    /* Changes nothing on anonymous memory without swap; says ENOMEM where nothing is mapped, EINVAL
     * or ENOMEM beyond the address space. */
    return mp_sys_madvise(page, 4096, MADV_WILLNEED) != -ENOMEM && pointer < ((uintptr_t)1 << 56);
}

static void describe_foreign(struct mp_text *text, const char *verb, const void *pointer,
                             bool *ignore) {
    uintptr_t offset;
    const char *module = module_of(pointer, &offset);
    if (on_stack((uintptr_t)pointer)) {
        mp_text_add(text, "%s of %p, which is on the stack, ", verb, pointer);
    } else if (module) {
        mp_text_add(text, "%s of %p, which is in the static data of %s, ", verb, pointer, module);
    } else if (!is_mapped((uintptr_t)pointer)) {
        mp_text_add(text, "%s of %p, which is not mapped, ", verb, pointer);
    } else {
        mp_text_add(text, "%s of %p, which is not from this heap: ignored, said once, ", verb,
                    pointer);
        *ignore = true;
    }
}

static void describe_free(struct mp_text *text, const char *verb, const void *pointer,
                          size_t size) {
    if (verb[0] == 'f')
        mp_text_add(text, "double free of %p (%zu-byte block), ", pointer, size);
    else
        mp_text_add(text, "%s of %p, which is free (%zu-byte block), ", verb, pointer, size);
}

static void describe_inside(struct mp_text *text, const char *verb, const void *pointer,
                            size_t inside, size_t size) {
    mp_text_add(text, "%s of %p, which is %zu byte%s into a %zu-byte block, ", verb, pointer,
                inside, inside == 1 ? "" : "s", size);
}

/* A pointer into a range of ours. */
static void describe_own(struct mp_text *text, const char *verb, const void *pointer,
                         const struct mp_page *page) {
    enum mp_kind kind = mp_page_kind(page);
    size_t offset = (uintptr_t)pointer - page->start;
    if (kind == MP_KIND_SMALL || kind == MP_KIND_MEDIUM || kind == MP_KIND_SAMPLES) {
        size_t size = mp_classes[page->class].size;
        size_t index = offset / size, inside = offset % size;
        if (index < page->carved) {
            if (inside)
                describe_inside(text, verb, pointer, inside, size);
            else
                describe_free(text, verb, pointer, size);
            return;
        }
    } else if (kind == MP_KIND_LARGE && offset && offset < page->bytes) {
        describe_inside(text, verb, pointer, offset, page->bytes);
        return;
    } else if (kind == MP_KIND_FREE) {
        /* What the entry still tells of its last life. */
        bool large = page->last_pages != 0;
        size_t size = large ? (size_t)page->last_pages * 4096 : mp_classes[page->class].size;
        size_t blocks = large ? 1 : page->carved;
        if (offset % size == 0 && offset / size < blocks) {
            describe_free(text, verb, pointer, size);
            return;
        }
    }
    mp_text_add(text, "%s of %p, which this heap has not handed out, ", verb, pointer);
}

void mp_misuse_pointer(const char *verb, const void *pointer) {
    static _Atomic(bool) said_foreign;
    char line[900];
    struct mp_text text;
    bool ignore = false;
    mp_text_init(&text, line, sizeof line);
    const struct mp_page *page = mp_arena_find_head((uintptr_t)pointer);
    uintptr_t start;
    size_t size;
    if (page) {
        describe_own(&text, verb, pointer, page);
    } else if (mp_huge_find((uintptr_t)pointer, &start, &size)) {
        describe_inside(&text, verb, pointer, (uintptr_t)pointer - start, size);
    } else if (mp_huge_was((uintptr_t)pointer, &size)) {
        describe_free(&text, verb, pointer, size);
    } else {
        describe_foreign(&text, verb, pointer, &ignore);
    }
    add_caller(&text);
    if (!ignore)
        finish(&text, line);
    else if (!atomic_exchange_explicit(&said_foreign, true, memory_order_relaxed))
        mp_say("%s", line);
}

void mp_misuse_overwritten(const void *block, const struct mp_page *page) {
    char line[900];
    struct mp_text text;
    mp_text_init(&text, line, sizeof line);
    mp_text_add(&text, "free block %p (%u-byte block) was overwritten, found by %s ", block,
                mp_classes[page->class].size, caller_function ? caller_function : "malloc");
    add_caller(&text);
    finish(&text, line);
}
