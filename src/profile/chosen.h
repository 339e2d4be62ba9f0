/* Is this process one that is to be profiled? By the options children and only. */
#ifndef MP_PROFILE_CHOSEN_H
#define MP_PROFILE_CHOSEN_H

#include <stdbool.h>

/* At start-up, the options read. `text`: where they were read from, in the environment, or NULL.
 * With children=off it says from now on, to what this process starts, that it is out. */
bool mp_chosen(char *text);

/* A shell's pattern: * ? [a-z] [!a-z] and a backslash. */
bool mp_chosen_matches(const char *pattern, const char *name);

#endif
