/*
 * The call that is wrong is in a library that was opened at run time: the line names that library.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from LIBRARY
 */
#include "misuse.h"

int main(void) {
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 20);
    if (length < 0)
        return 4;
    strcpy(strrchr((path[length] = 0, path), '/'), "/twice.so");
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        return 4;
    void (*free_twice)(void *);
    *(void **)&free_twice = dlsym(library, "free_twice");
    free_twice(bad(malloc(64)));
    return aftermath(64);
}
