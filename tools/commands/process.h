/* A running process as /proc shows it: does it run under memprof, and can it be asked? */
#ifndef COMMANDS_PROCESS_H
#define COMMANDS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common.h"

struct process {
    pid_t pid;
    pid_t own_pid;        /* as the process itself knows it, in its own namespace */
    uid_t uid;            /* the effective one */
    char state;           /* as in /proc/PID/stat */
    uint64_t rss;         /* bytes */
    uint64_t start_ticks; /* when it began: no two of a number have the same */
    uint64_t stack;    /* where its stack began: by chance, so mostly another with each program */
    bool has_library;  /* libmemprof.so is loaded */
    int request;       /* the signal by which it takes requests; 0: it takes none */
    char name[64];     /* of the program */
    char command[512]; /* with its arguments, cut */
    char root[64];     /* what stands before a path of its, seen from here: "" where nothing does */
};

/* A number of a process from the command line. */
int process_parse(const char *text, pid_t *pid, struct tool_error *error);

/* 0; -1 with the error when there is no such process, or it must not be looked at. */
int process_look(pid_t pid, struct process *process, struct tool_error *error);

/* Its stack's begin now. */
uint64_t process_stack(pid_t pid);

/* Does it have a handler for the signal now? Else it would be its end. */
bool process_catches(pid_t pid, int number);

/* From the environment that it was started with, as it was at the last look if that was at this
 * process: a variable, one of MEMPROF_OPTIONS. */
bool process_variable(pid_t pid, const char *name, char *value, size_t size);
bool process_option(pid_t pid, const char *key, char *value, size_t size);

/* Still there, and no zombie? */
bool process_lives(pid_t pid);

#endif
