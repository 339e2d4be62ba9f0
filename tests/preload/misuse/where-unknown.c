/*
 * The call that is wrong is in code that no file holds, as a just-in-time compiler makes it: the
 * line has its address.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from CODE
 */
#include "misuse.h"

int main(void) {
#ifdef __x86_64__
    /* sub $8,%rsp; mov $free,%rax; call *%rax; add $8,%rsp; ret */
    unsigned char code[] = {0x48, 0x83, 0xec, 8,    0x48, 0xb8, 0,    0,    0, 0,   0,
                            0,    0,    0,    0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3};
    void *function = dlsym(RTLD_DEFAULT, "free");
    memcpy(code + 6, &function, sizeof(function));
    char *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return 77;
    memcpy(page, code, sizeof(code));
    void (*call)(void *);
    *(void **)&call = page;
    void *block = malloc(64);
    call(block);
    tell("CODE", page + 16);
    call(bad(block));
    return aftermath(64);
#else
    return 77;
#endif
}
