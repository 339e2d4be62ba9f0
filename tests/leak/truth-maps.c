/* Memory that the program maps itself: what it holds, whatever may be done with it by then, and
 * what it holds no more. */
#include "truth.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>

BLOCK(keep_block)
BLOCK(lost_block)
BLOCK(lost_other)
BLOCK(lost_behind_block)

#define REGION (256 * KIB)

/* Nobody else knows it: hidden, and in no heap. */
static volatile uintptr_t region;

static void map(size_t size, int flags, int file) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, file, 0);
    if (at == MAP_FAILED)
        truth_die("mmap");
    region = truth_hide(at);
}

static void *volatile *slot(size_t offset) {
    return (void *volatile *)(void *)((char *)truth_unhide(region) + offset);
}

MAKES void fill_region(void) {
    *slot(0) = keep_block(40);
    *slot(REGION / 2) = keep_block(48);
    *slot(REGION - sizeof(void *)) = keep_block(56);
}

static int file_of(size_t size) {
    FILE *made = tmpfile();
    int file = made ? dup(fileno(made)) : -1;
    if (file < 0 || ftruncate(file, (off_t)size) != 0)
        truth_die("tmpfile");
    fclose(made);
    return file;
}

static void run_mapped(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    truth_rest();
}

static void run_mapped_shared(void) {
    map(REGION, MAP_SHARED | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    truth_rest();
}

static void run_mapped_file(void) {
    map(REGION, MAP_PRIVATE, file_of(REGION));
    truth_make(fill_region);
    truth_rest();
}

static void run_mapped_file_shared(void) {
    map(REGION, MAP_SHARED, file_of(REGION));
    truth_make(fill_region);
    truth_rest();
}

static void run_mapped_memfd(void) {
    int file = memfd_create("truth", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, REGION) != 0)
        truth_die("memfd_create");
    map(REGION, MAP_SHARED, file);
    truth_make(fill_region);
    truth_rest();
}

static void run_system_v(void) {
    int id = shmget(IPC_PRIVATE, REGION, IPC_CREAT | 0600);
    void *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    if (at == (void *)-1)
        truth_die("shmat");
    shmctl(id, IPC_RMID, NULL);
    region = truth_hide(at);
    at = NULL;
    truth_make(fill_region);
    truth_rest();
}

static void run_read_only(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    mprotect(truth_unhide(region), REGION, PROT_READ);
    truth_rest();
}

/* As a loader does with what it has relocated. */
static void run_read_only_file(void) {
    map(REGION, MAP_PRIVATE, file_of(REGION));
    truth_make(fill_region);
    mprotect(truth_unhide(region), REGION, PROT_READ);
    truth_rest();
}

static void run_read_only_shared(void) {
    map(REGION, MAP_SHARED | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    mprotect(truth_unhide(region), REGION, PROT_READ);
    truth_rest();
}

static void run_no_access(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    mprotect(truth_unhide(region), REGION, PROT_NONE);
    truth_rest();
}

static void run_no_access_shared(void) {
    map(REGION, MAP_SHARED | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    mprotect(truth_unhide(region), REGION, PROT_NONE);
    truth_rest();
}

/* An address range of 64 GiB with three pages in it. */
#define WIDE ((size_t)64 << 30)

MAKES void fill_wide(void) {
    *slot(0) = keep_block(40);
    *slot(WIDE / 2 + 4104) = keep_block(48);
    *slot(WIDE - sizeof(void *)) = keep_block(56);
}

static void run_wide(void) {
    map(WIDE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    truth_make(fill_wide);
    truth_rest();
}

static void run_remapped(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    void *moved = mremap(truth_unhide(region), REGION, 64 * REGION, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED)
        truth_die("mremap");
    truth_rest();
}

MAKES void fill_lost(void) {
    *slot(0) = lost_block(40);
    truth_point(*slot(0), 2, lost_behind_block(24));
    *slot(REGION - sizeof(void *)) = lost_other(56);
}

static void run_unmapped(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_lost);
    munmap(truth_unhide(region), REGION);
    truth_rest();
}

static void run_given_back(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_lost);
    madvise(truth_unhide(region), REGION, MADV_DONTNEED);
    truth_rest();
}

/* As some databases, and drivers for networks, have it. A search in a copy does not see it. */
static void run_not_forked(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    madvise(truth_unhide(region), REGION, MADV_DONTFORK);
    truth_unseen = true;
    truth_rest();
}

static void run_wiped(void) {
    map(REGION, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    truth_make(fill_region);
    madvise(truth_unhide(region), REGION, MADV_WIPEONFORK);
    truth_unseen = true;
    truth_rest();
}

static void run_break(void) {
    void *at = sbrk(REGION);
    if (at == (void *)-1)
        truth_die("sbrk");
    region = truth_hide(at);
    at = NULL;
    truth_make(fill_region);
    truth_rest();
}

static const struct truth_case cases[] = {
    {"mapped", "a private mapping holds what it points to", run_mapped},
    {"mapped-shared", "a shared mapping holds what it points to", run_mapped_shared},
    {"mapped-file", "a private mapping of a file holds what it points to", run_mapped_file},
    {"mapped-file-shared", "a shared mapping of a file holds what it points to",
     run_mapped_file_shared},
    {"mapped-memfd", "a mapping of a file in memory holds what it points to", run_mapped_memfd},
    {"system-v", "shared memory of System V holds what it points to", run_system_v},
    {"read-only", "a private mapping holds what it points to that is read-only now", run_read_only},
    {"read-only-file", "a private mapping of a file holds what it points to that is read-only now",
     run_read_only_file},
    {"read-only-shared", "a shared mapping holds what it points to that is read-only now",
     run_read_only_shared},
    {"no-access", "a private mapping holds what it points to that may not be touched now",
     run_no_access},
    {"no-access-shared", "a shared mapping holds what it points to that may not be touched now",
     run_no_access_shared},
    {"wide", "three pages of a mapping of 64 GiB hold what they point to", run_wide},
    {"remapped", "a mapping that mremap has moved holds what it points to", run_remapped},
    {"unmapped", "what a mapping held that is gone is leaked", run_unmapped},
    {"given-back", "what pages held that were given back is leaked", run_given_back},
    {"not-forked", "a mapping that no child would get holds what it points to, or it is said",
     run_not_forked},
    {"wiped", "a mapping that a child would get empty holds what it points to, or it is said",
     run_wiped},
    {"break", "memory of sbrk holds what it points to", run_break},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
