/*
 * free of a string constant at an odd address.
 *
 * stderr: memprof: free of ADDR, which is in the static data of PROGRAM, called from WHERE
 */
#include "misuse.h"

static const char constant[64] __attribute__((aligned(16))) = "constant";

int main(void) {
    free(bad(constant + 1)); // here
    return aftermath(64);
}
