/*
 * free of a variable.
 *
 * stderr: memprof: free of ADDR, which is in the static data of PROGRAM, called from WHERE
 */
#include "misuse.h"

static char variable[64] __attribute__((aligned(16))) = "data";

int main(void) {
    free(bad(variable)); // here
    return aftermath(64);
}
