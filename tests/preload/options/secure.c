/*
 * A program that the script makes set-user-ID, so that the kernel sets AT_SECURE. It is linked with
 * the library, since the loader drops LD_PRELOAD then. It says whether the kernel did and whose
 * malloc it uses.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

int main(int argc, char **argv) {
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "malloc");
    char *volatile block = malloc(100000);
    if (!block || !symbol || !dladdr(symbol, &info))
        return 1;
    memset(block, 1, 100000);
    printf("secure %lu\n", getauxval(AT_SECURE));
    printf("malloc %s\n", info.dli_fname);
    fflush(stdout);
    free(block);
    if (argc > 1 && !strcmp(argv[1], "twice"))
        free(block);
    return argc > 1 && !strcmp(argv[1], "status-0") ? 0 : 7;
}
