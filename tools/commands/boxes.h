/* The black boxes of this machine: that of a process that runs, and those that processes left. Only
 * such as are their process's user's, in a folder that is that user's alone, count. */
#ifndef COMMANDS_BOXES_H
#define COMMANDS_BOXES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "commands/process.h"

struct found_box {
    char path[4096];
    pid_t pid; /* as the process knew itself */
    uid_t uid;
    uint64_t bytes;         /* that it takes */
    int64_t time;           /* when it was made, since 1970 */
    uint64_t pid_namespace; /* in which `pid` is its number; 0: not known */
    bool ended;             /* the process came to its normal end */
    char exe[512];
};

/* Of a process that runs; false: it has none that one may read. */
bool boxes_of_process(const struct process *process, struct found_box *found);

/* Of the newest process of that number that is no more. */
bool boxes_of_dead(pid_t pid, struct found_box *found);

/* All that processes left, in the order of their numbers; with malloc. */
struct found_box *boxes_left(size_t *count);

/* Counts up the word by which a process is asked, and wakes who waits for that. */
bool boxes_ask(const struct found_box *box);

#endif
