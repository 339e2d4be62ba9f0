/* Names of files as options give them: patterns, and relative to where the program was started. */
#ifndef MP_CONTROL_PATH_H
#define MP_CONTROL_PATH_H

#include <stddef.h>
#include <stdint.h>

/* At start-up, while the working directory is the one that the user sees. */
void mp_path_start(void);

/* Fills the pattern in, `count` for %n. A forked child whose pattern does not name the process
 * would overwrite its parent's file: the process is added. 0 or -ENAMETOOLONG. */
int mp_path_fill(const char *pattern, uint32_t count, char *path, size_t size);

/* As it stands, but absolute: in memory that stays. */
const char *mp_path_absolute(const char *path);

#endif
