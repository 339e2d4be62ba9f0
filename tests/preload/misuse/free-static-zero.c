/*
 * free of a variable without a value, which lies behind the file's own data.
 *
 * stderr: memprof: free of ADDR, which is in the static data of PROGRAM, called from WHERE
 */
#include "misuse.h"

static char variable[100000] __attribute__((aligned(16)));

int main(void) {
    free(bad(variable)); // here
    return aftermath(64);
}
