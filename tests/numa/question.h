/* What the two halves of `placed` share: the child in placed.c, which has the library, and the
 * parent in asker.c, which asks the kernel where the child's pages are. */
#ifndef MEMPROF_TESTS_NUMA_QUESTION_H
#define MEMPROF_TESTS_NUMA_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OS_PAGE   4096ul
#define PAGES_MAX 262144u
#define ASK       3 /* the child's descriptor */

struct question {
    char what[80];
    int node;       /* or one of those below */
    double least;   /* share that is to be there */
    uint32_t count; /* pages, whose addresses follow */
};

enum {
    EVENLY = -1,   /* over all nodes with memory */
    ANYWHERE = -2, /* as long as it is there */
    COUNT = -3,    /* how many pages are on each node? No verdict */
    COUNT_ALL = -4 /* the same of all that is mapped in the TiB where the first block is */
};

/* Nodes with memory. */
extern int nodes_with[64], nodes_with_count;
void find_nodes(void);

bool read_line(const char *path, char *line, size_t size);
void die(const char *what) __attribute__((noreturn));

/* Runs the case in a child; `judge`: shares are to be what they should. The exit status. */
int ask_about(const char *self, const char *name, const char *library, bool judge);

#endif
