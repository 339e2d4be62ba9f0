/* The modules that stacks run through: the program, its libraries, the vDSO. Each gets a number
 * when a stack first meets it, and keeps it for the process's life. A module is known by its place
 * and build-id, so one that is unloaded and another that is loaded in its place are two, and one
 * that comes back is the same. Found without the loader's lock (glibc's _dl_find_object): any
 * thread, not in a signal handler that interrupted this very file (lock rank MODULES, taken for a
 * new one). */
#ifndef MP_RECORD_MODULES_H
#define MP_RECORD_MODULES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_MODULES_MAX 32767u /* what a frame has room for */

struct mp_module {
    uintptr_t start, end, bias;
    const char *path;
    uintptr_t build_id_at; /* where to look for it while the module is loaded; 0: nowhere */
    uint32_t build_id_size;
    uint8_t build_id[36];
    _Atomic(uint32_t) tag; /* by which captures know it, plus one; 0: none has been noted */
    uint32_t older;        /* number of another module that had this place before, or 0 */
};

/* At start-up: the program's own path is asked for once. */
void mp_modules_start(void);

/* The number of the module that `address` lies in, which is on this thread's stack and so stays
 * loaded meanwhile; 0: in none, or none can be noted. */
uint32_t mp_modules_find(uintptr_t address);

/* The same of one that begins there and has that tag (unwind.h), by which it has been found before;
 * 0: it has not. */
uint32_t mp_modules_find_tagged(uintptr_t start, uint32_t tag);
void mp_modules_note_tag(uint32_t number, uintptr_t start, uint32_t tag);

uint32_t mp_modules_count(void);
/* 1 .. mp_modules_count() */
const struct mp_module *mp_modules_get(uint32_t number);
/* Is it loaded now? For a copy of the process, where nothing changes. */
bool mp_modules_is_loaded(const struct mp_module *module);

const char *mp_modules_program(void);

void mp_modules_before_fork(void);
void mp_modules_after_fork(bool child);

#endif
