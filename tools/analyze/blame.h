/* Which of a stack's functions people mean when they ask who allocated: the first that is the
 * program's own, past the libraries and wrappers that every program allocates through. And which
 * frames a person need not see. */
#ifndef ANALYZE_BLAME_H
#define ANALYZE_BLAME_H

#include <stdbool.h>
#include <stddef.h>

#include "reader/symbols.h"

/* The frames of one stack, innermost first. */
struct frame_list {
    struct frame *at;
    size_t count, capacity;
};

void frame_list_add(struct frame_list *list, const struct frame *frame);
void frame_list_free(struct frame_list *list);

/* Its index; the first frame where none is better. The list is not empty. */
size_t blame_find(const struct frame_list *list);

/* Leaves out malloc's own family at the inner end and the C library's start code at the outer one:
 * what is worth showing is from `first` up to `end`, at least one frame. */
void blame_trim(const struct frame_list *list, size_t *first, size_t *end);

#endif
