/* Asks a running process for a dump: see src/control/request.h. */
#ifndef COMMANDS_ASK_H
#define COMMANDS_ASK_H

#include <stdbool.h>
#include <sys/types.h>

#include "common.h"

/* The process writes a dump to `path` (absolute), or to where its options say when NULL, with a
 * search for leaks if that is wanted. Its answer, the path as it is seen from here, goes into
 * `out`. 0, or -1 with the error. Waits for `seconds` at most. */
int ask_dump(pid_t pid, const char *path, bool leaks, unsigned seconds, char out[4096],
             struct tool_error *error);

/* A dump for a moment, in a folder of its own, with which it goes: an answer that comes late, from
 * a copy that has survived its process, finds none and leaves nothing behind. */
struct asked {
    char folder[128];
    int fd, above; /* of the folder, and of the one that it is in */
    char path[4096];
};
int ask_for_moment(pid_t pid, bool leaks, unsigned seconds, struct asked *asked,
                   struct tool_error *error);
void asked_drop(struct asked *asked);

#endif
