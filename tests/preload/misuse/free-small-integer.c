/*
 * free of a small integer: a member of a null structure.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad((void *)8)); // here
    return aftermath(64);
}
