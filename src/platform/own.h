/* What this library has mapped for itself, by address: its tables hold the addresses of the
 * program's blocks, and who looks for whom the program's pointers lead to is not to look there. The
 * kernel joins neighbouring mappings, so /proc alone does not tell. Any context; no lock. */
#ifndef MP_PLATFORM_OWN_H
#define MP_PLATFORM_OWN_H

#include <stddef.h>
#include <stdint.h>

/* After it has been mapped. Without memory to note it, it passes for the program's: it may then
 * hide a leak. */
void mp_own_add(uintptr_t start, size_t size);

/* Before it is unmapped: the next mapping there may be the program's. */
void mp_own_remove(uintptr_t start);

/* In a process that stands still. */
void mp_own_each(void (*visit)(uintptr_t start, uintptr_t end, void *context), void *context);

#endif
