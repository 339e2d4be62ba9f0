/*
 * free of a string constant.
 *
 * stderr: memprof: free of ADDR, which is in the static data of PROGRAM, called from WHERE
 */
#include "misuse.h"

static const char constant[64] __attribute__((aligned(16))) = "constant";

int main(void) {
    free(bad(constant)); // here
    return aftermath(64);
}
