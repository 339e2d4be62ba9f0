/* Names as their authors wrote them: C++, Rust and D, by libiberty, with bounds: a short mangled
 * name can stand for one of any length. */
#ifndef READER_DEMANGLE_H
#define READER_DEMANGLE_H

#include <stddef.h>

/* The readable form in `out`, or the name itself, cut to fit. */
void demangle(const char *name, char *out, size_t size);

#endif
