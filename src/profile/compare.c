#include "profile/compare.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "memprof/dump.h"
#include "platform/arch.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "profile/stacks.h"

extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* What came of a comparison. Where one of the two ends sooner, the other's frames are the same up
 * to there; that there is no unwind data is libunwind's word, so that no mistake of our own search
 * for it is taken for a reason. */
#define OUTCOMES(X)                                                                                \
    X(EQUAL, equal)         /* frame for frame, and in how it ends */                              \
    X(NO_MODULE, no_module) /* ours ends, marked as broken, in code that no module has */          \
    X(NO_DATA, no_data)     /* ours ends so in a module's code that has no unwind data */          \
    X(SHORT, short)         /* ours ends for another reason */                                     \
    X(LONG_DATA, long_data) /* libunwind's ends, where there is unwind data */                     \
    X(LONG_NONE, long_none) /* libunwind's ends, where there is none: we found a way on */         \
    X(END, end)             /* the same frames, but only one says that it is broken, or cut */     \
    X(DIFFERENT, different) /* both go on, to different frames */                                  \
    X(UNMET, unmet)         /* one of them did not come by the call of malloc */

#define OUTCOME_ENUM(name, word)  name,
#define OUTCOME_WORDS(name, word) #word,
enum outcome { OUTCOMES(OUTCOME_ENUM) COUNT };
static const char *const words[COUNT] = {OUTCOMES(OUTCOME_WORDS)};

/* The stacks of each outcome that are shown. */
#define SHOWN     20u
#define SHOWN_MAX (40u << 10) /* bytes of text */

/* Written once, at start-up, and in a child of fork. */
static struct {
    char path[4096];
    bool on;
    bool missing; /* libunwind */
    long process;
} compare;

/* Any thread: counts, each on its own. */
static _Atomic(uint64_t) counts[COUNT], frame_count, signal_count, cut_count, broken_count;

static struct shown {
    _Atomic(size_t) length; /* stored last: the text is whole */
    char text[SHOWN_MAX];
} shown[COUNT][SHOWN];

static void add(_Atomic(uint64_t) *count, uint64_t more) {
    atomic_fetch_add_explicit(count, more, memory_order_relaxed);
}

/* ---- the stacks that differ, for people ---- */

static void add_frame(struct mp_text *text, const char *whose, unsigned number, uint64_t frame) {
    uint64_t exact = frame & MP_UNWIND_EXACT, address = MEMPROF_FRAME_ADDRESS(frame);
    struct dl_find_object found;
    mp_text_add(text, "  %s %2zu %s%p", whose, (size_t)number, exact ? "!" : "",
                (void *)(uintptr_t)address);
    /* Looked up now: at the end the module may be gone. */
    if (_dl_find_object((void *)(uintptr_t)(address - !exact), &found) == 0) {
        const char *name = found.dlfo_link_map->l_name;
        mp_text_add(text, " %s+%p", *name ? name : "program",
                    (void *)(uintptr_t)(address - found.dlfo_link_map->l_addr));
    }
    mp_text_add(text, "\n");
}

static void show(enum outcome outcome, uint64_t number, const uint64_t *ours, struct mp_unwound our,
                 const uint64_t *theirs, struct mp_unwound their) {
    if (number >= SHOWN)
        return;
    struct shown *slot = &shown[outcome][number];
    struct mp_text text;
    unsigned same = 0;
    mp_text_init(&text, slot->text, sizeof slot->text);
    mp_text_add(&text, "stack %s %zu of %zu: flags %u and %u, depth %u and %u\n", words[outcome],
                (size_t)number + 1, (size_t)compare.process, our.flags, their.flags, our.depth,
                their.depth);
    for (; same < our.depth && same < their.depth && ours[same] == theirs[same]; same++)
        add_frame(&text, "both  ", same, ours[same]);
    for (unsigned i = same; i < our.depth; i++)
        add_frame(&text, "ours  ", i, ours[i]);
    for (unsigned i = same; i < their.depth; i++)
        add_frame(&text, "theirs", i, theirs[i]);
    /* Release: who sees the length sees the text. */
    atomic_store_explicit(&slot->length, text.length, memory_order_release);
}

/* ---- comparing ---- */

static bool has_module(uint64_t frame) {
    struct dl_find_object found;
    uint64_t address = MEMPROF_FRAME_ADDRESS(frame) - !(frame & MP_UNWIND_EXACT);
    return _dl_find_object((void *)(uintptr_t)address, &found) == 0;
}

static bool has_data(uint64_t frame) {
    return mp_libunwind_has_data(MEMPROF_FRAME_ADDRESS(frame) - !(frame & MP_UNWIND_EXACT));
}

static enum outcome outcome_of(const uint64_t *ours, struct mp_unwound our, const uint64_t *theirs,
                               struct mp_unwound their) {
    unsigned depth = our.depth < their.depth ? our.depth : their.depth;
    if (!depth)
        return UNMET;
    for (unsigned i = 0; i < depth; i++)
        if (ours[i] != theirs[i])
            return DIFFERENT;
    if (our.depth == their.depth && our.flags == their.flags)
        return EQUAL;
    uint64_t last = ours[depth - 1];
    if (our.depth == depth && our.flags == MP_UNWIND_BROKEN && !has_data(last))
        return has_module(last) ? NO_DATA : NO_MODULE;
    if (our.depth == their.depth)
        return END;
    if (our.depth == depth)
        return SHORT;
    return has_data(last) ? LONG_DATA : LONG_NONE;
}

void mp_compare_capture(const uint64_t *frames, unsigned max, const void *caller,
                        struct mp_unwound unwound) {
    /* Not on the stack, which may be a small one. A signal handler's capture is within none of its
     * thread's: the sampler sees to that. */
    static __thread uint64_t theirs[MP_DEPTH_MAX] __attribute__((tls_model("initial-exec")));
    if (!compare.on || !caller)
        return;
    struct mp_unwound their = mp_libunwind_capture(theirs, max, caller);
    enum outcome outcome = outcome_of(frames, unwound, theirs, their);
    uint64_t number = atomic_fetch_add_explicit(&counts[outcome], 1, memory_order_relaxed),
             exact = 0;
    for (unsigned i = 0; i < unwound.depth; i++)
        exact |= frames[i] >> 63;
    add(&frame_count, unwound.depth);
    add(&signal_count, exact);
    add(&cut_count, unwound.flags == MP_UNWIND_CUT);
    add(&broken_count, unwound.flags == MP_UNWIND_BROKEN);
    if (outcome != EQUAL)
        show(outcome, number, frames, unwound, theirs, their);
}

/* ---- start and end ---- */

void mp_compare_start(int backend) {
    const char *path = getenv("MEMPROF_FRAMES");
    if (backend != MEMPROF_UNWIND_CFI || !path || strlen(path) >= sizeof compare.path)
        return;
    memcpy(compare.path, path, strlen(path) + 1);
    compare.process = mp_sys_getpid();
    compare.on = mp_libunwind_start() == 0;
    compare.missing = !compare.on;
}

void mp_compare_stop(void) {
    compare.on = compare.missing = false;
}

/* One write for each part: other processes append to the same file. */
__attribute__((destructor(101))) static void report(void) {
    char exe[512], line[1024];
    struct mp_text text;
    if (!(compare.on || compare.missing) || mp_sys_getpid() != compare.process)
        return;
    compare.on = false;
    int fd = (int)mp_sys_open(compare.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    long length = mp_sys_readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[length > 0 ? length : 0] = 0;
    mp_text_init(&text, line, sizeof line);
    if (compare.missing) {
        mp_text_add(&text, "no libunwind for %s\n", exe);
    } else {
        mp_text_add(&text, "frames %s %zu", exe, (size_t)compare.process);
        for (unsigned i = 0; i < COUNT; i++)
            mp_text_add(&text, " %s=%zu", words[i], (size_t)counts[i]);
        mp_text_add(&text, " of_frames=%zu of_signals=%zu of_cut=%zu of_broken=%zu\n",
                    (size_t)frame_count, (size_t)signal_count, (size_t)cut_count,
                    (size_t)broken_count);
    }
    mp_sys_write(fd, line, text.length);
    for (unsigned i = 0; i < COUNT * SHOWN; i++) {
        const struct shown *slot = &shown[i / SHOWN][i % SHOWN];
        size_t size = atomic_load_explicit(&slot->length, memory_order_acquire);
        if (size)
            mp_sys_write(fd, slot->text, size);
    }
    mp_sys_close(fd);
}
