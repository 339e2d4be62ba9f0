/* MEMPROF_OPTIONS="key=value:key=value": read once, at start-up, single-threaded.
 * A mistake is one line to the user and the default; the program always goes on. */
#ifndef MP_PLATFORM_OPTIONS_H
#define MP_PLATFORM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum mp_unwind { MP_UNWIND_AUTO, MP_UNWIND_CFI, MP_UNWIND_FP, MP_UNWIND_LIBUNWIND };
enum mp_thp { MP_THP_AUTO, MP_THP_NEVER, MP_THP_ALWAYS };
enum mp_numa { MP_NUMA_AUTO, MP_NUMA_OFF, MP_NUMA_INTERLEAVE };
enum mp_check { MP_CHECK_FAST, MP_CHECK_FULL };
enum mp_children { MP_CHILDREN_ON, MP_CHILDREN_OFF, MP_CHILDREN_OUT };
enum mp_control { MP_CONTROL_AUTO, MP_CONTROL_THREAD, MP_CONTROL_OFF };
enum mp_leak_search { MP_LEAKS_OFF, MP_LEAKS_EXIT };
enum mp_misuse { MP_MISUSE_ABORT, MP_MISUSE_REPORT };

#define MP_TIME_OFF    UINT64_MAX
#define MP_NUMBER_AUTO UINT64_MAX
#define MP_NUMBER_OFF  (UINT64_MAX - 1)

struct mp_options {
    /* clang-format off */
#define MP_FIELD_FLAG(key)   bool key;
#define MP_FIELD_TIME(key)   uint64_t key; /* ms, or MP_TIME_OFF */
#define MP_FIELD_SIZE(key)   uint64_t key; /* bytes, or MP_NUMBER_AUTO */
#define MP_FIELD_NUMBER(key) uint64_t key; /* or MP_NUMBER_AUTO, MP_NUMBER_OFF */
#define MP_FIELD_CHOICE(key) int key;      /* enum mp_<key> */
#define MP_FIELD_PATH(key)   const char *key;
#define OPTION(key, kind, fallback, values, help) MP_FIELD_##kind(key)
#include "platform/options.def"
#undef OPTION
    /* clang-format on */
};

/* Read-only after start-up. Holds the defaults before. */
extern struct mp_options mp_options;

/* `text` is the environment's value, NULL when unset. Speaks through mp_say; help=1 prints the
 * table. Paths are copied into memory that lives as long as the process. */
void mp_options_parse(const char *text);

#endif
