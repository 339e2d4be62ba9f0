/*
 * realloc of a variable.
 *
 * stderr: memprof: realloc of ADDR, which is in the static data of PROGRAM, called from WHERE
 */
#include "misuse.h"

static char variable[64] __attribute__((aligned(16))) = "data";

int main(void) {
    own(realloc(bad(variable), 100), 100); // here
    return aftermath(64);
}
