/* Symbols of loaded objects, looked up in their own tables: dlsym must not be called from a malloc.
 * The caller sees to it that the object stays loaded. No locks. */
#ifndef MP_PLATFORM_ELF_H
#define MP_PLATFORM_ELF_H

#include <link.h>

/* The address of a symbol that the object defines, whatever its version; NULL if it defines none.
 */
const void *mp_elf_find(const struct link_map *map, const char *name);

/* This object's own file; "" where the loader does not know it. */
const char *mp_elf_own_path(void);

/* The next definition in the loader's list after this object's, as RTLD_NEXT would find it. */
const void *mp_elf_find_next(const char *name);

#endif
