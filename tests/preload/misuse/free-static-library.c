/*
 * free of a variable of a library: the line names that library.
 *
 * stderr: memprof: free of ADDR, which is in the static data of LIBC, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad(stdout)); // here
    return aftermath(64);
}
