#include "leak/present.h"

#include <stddef.h>
#include <string.h>

#include "platform/sys.h"
#include "record/maps.h"

#define OS_PAGE    ((uintptr_t)4096)
#define SOME_PAGES 512u

/* Bits of /proc/PID/pagemap. A private mapping's page that is the file's is as the file has it. */
#define PRESENT ((uint64_t)1 << 63)
#define SWAPPED ((uint64_t)1 << 62)
#define OF_FILE ((uint64_t)1 << 61)

static int pagemap = -1; /* a descriptor */
static uint64_t entries[SOME_PAGES];
static unsigned char in_core[SOME_PAGES];

void mp_present_begin(void) {
    pagemap = (int)mp_maps_open(0, "pagemap");
}

void mp_present_end(void) {
    if (pagemap >= 0)
        mp_sys_close(pagemap);
    pagemap = -1;
}

bool mp_present_is_known(void) {
    return pagemap >= 0;
}

static bool look(uintptr_t start, size_t pages, bool shared) {
    size_t size = pages * sizeof *entries;
    if (shared)
        return mp_sys_mincore(start, pages * OS_PAGE, in_core) == 0;
    if (pagemap < 0 || mp_sys_pread(pagemap, entries, size,
                                    (int64_t)(start / OS_PAGE * sizeof *entries)) != (long)size)
        return false;
    for (size_t i = 0; i < pages; i++)
        in_core[i] = (entries[i] & (PRESENT | SWAPPED)) && !(entries[i] & OF_FILE);
    return true;
}

void mp_present_each(uintptr_t start, uintptr_t end, bool shared,
                     void (*visit)(uintptr_t start, uintptr_t end, void *context), void *context) {
    for (uintptr_t at = start & ~(OS_PAGE - 1); at < end;) {
        size_t pages = (end - at + OS_PAGE - 1) / OS_PAGE;
        pages = pages < SOME_PAGES ? pages : SOME_PAGES;
        if (!look(at, pages, shared))
            memset(in_core, 1, pages);
        for (size_t i = 0, next; i < pages; i = next) {
            for (next = i + 1; next < pages && (in_core[next] & 1) == (in_core[i] & 1);)
                next++;
            uintptr_t low = at + i * OS_PAGE, high = at + next * OS_PAGE;
            if (in_core[i] & 1)
                visit(low > start ? low : start, high < end ? high : end, context);
        }
        at += pages * OS_PAGE;
    }
}
