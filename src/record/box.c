#include "record/box.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "heap/arena.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE      ((uint64_t)MEMPROF_BOX_PAGE)
#define PATH_MOST 4200u
#define KIB       ((uint64_t)1 << 10)
#define MIB       ((uint64_t)1 << 20)

/* What a box may come to, of its file system and in all. */
#define SHARE       8
#define BUDGET_MOST (256 * MIB)
/* Growth is by a quarter of what there is. */
#define STEP_MOST MIB
/* Where files or addresses are limited, all areas are halved so often. */
#define HALVINGS_MOST 10u
#define ADDRESS_SHARE 16
#define SLACK         (128 * KIB) /* of each, that stays when a limit is set later */

static const struct {
    uint32_t record_size;
    uint64_t room;
} plan[MEMPROF_BOX_AREAS] = {
    [MEMPROF_BOX_TEXTS] = {1, 4 * MIB},
    [MEMPROF_BOX_MODULES] = {sizeof(struct memprof_box_module), 4 * MIB},
    [MEMPROF_BOX_FRAMES] = {sizeof(uint64_t), 64 * MIB},
    [MEMPROF_BOX_STACKS] = {sizeof(struct memprof_box_stack), 48 * MIB},
    [MEMPROF_BOX_FREES] = {sizeof(struct memprof_box_free), 24 * MIB},
    [MEMPROF_BOX_SAMPLES] = {sizeof(struct memprof_box_sample), 96 * MIB},
    [MEMPROF_BOX_REGIONS] = {sizeof(struct memprof_box_region), 8 * MIB},
    [MEMPROF_BOX_SERIES] = {sizeof(struct memprof_box_point), 64 * KIB}, /* all points */
};

static struct {
    char *base; /* NULL: there is none */
    uint64_t size, budget;
    struct memprof_box_state *state;
    struct memprof_box_place places[MEMPROF_BOX_AREAS];
    _Atomic(uint64_t) committed[MEMPROF_BOX_AREAS]; /* bytes that may be stored to */
    bool closed[MEMPROF_BOX_AREAS];                 /* an attempt to grow has failed */
    uint64_t committed_in_all;
    struct mp_file file;
    char path[PATH_MOST];
    _Atomic(bool) said;
} box;

static struct mp_lock growth_lock = MP_LOCK_INIT(MP_RANK_BOX_GROWTH);
static const char *given, *run_time; /* directories: the option's, the user's own; or NULL */
static const char *run_time_parent = "";

static _Atomic(uint32_t) not_yet;
_Atomic(uint32_t) *mp_box_word = &not_yet;

/* ---- growth ---- */

static int populate(uint64_t offset, uint64_t size) {
    uintptr_t start = (uintptr_t)box.base + offset;
    int error = mp_sys_mprotect(start, size, PROT_READ | PROT_WRITE);
    return error ? error : mp_sys_madvise(start, size, MADV_POPULATE_WRITE);
}

static uint64_t whole_pages(uint64_t bytes) {
    return (bytes + PAGE - 1) & ~(PAGE - 1);
}

static MP_NOINLINE bool grow(unsigned area, uint64_t end) {
    mp_lock_take(&growth_lock);
    uint64_t had = atomic_load_explicit(&box.committed[area], memory_order_relaxed);
    uint64_t room = box.places[area].room, step = had / 4 < STEP_MOST ? had / 4 : STEP_MOST;
    uint64_t wanted = whole_pages(end > had + step ? end : had + step);
    wanted = wanted < room ? wanted : room;
    if (end > had && !box.closed[area]) {
        box.closed[area] = end > room || box.committed_in_all + wanted - had > box.budget ||
                           populate(box.places[area].offset + had, wanted - had) != 0;
        if (!box.closed[area]) {
            box.committed_in_all += wanted - had;
            /* release: who sees it may store there */
            atomic_store_explicit(&box.committed[area], wanted, memory_order_release);
        }
    }
    bool there = end <= atomic_load_explicit(&box.committed[area], memory_order_relaxed);
    mp_lock_drop(&growth_lock);
    return there;
}

static char *place_of(unsigned area, uint64_t at, uint64_t size) {
    if (at + size > atomic_load_explicit(&box.committed[area], memory_order_acquire) &&
        !grow(area, at + size))
        return NULL;
    return box.base + box.places[area].offset + at;
}

void *mp_box_at(enum memprof_box_area area, uint64_t number) {
    return place_of(area, number * plan[area].record_size, plan[area].record_size);
}

void mp_box_give_back(bool leaves_room) {
    mp_lock_take(&growth_lock);
    for (unsigned area = 0; area < MEMPROF_BOX_AREAS; area++) {
        struct memprof_box_place *place = &box.places[area];
        uint64_t keep = whole_pages(box.committed[area]) + (leaves_room ? SLACK : 0);
        if (keep < place->room &&
            mp_sys_munmap((uintptr_t)box.base + place->offset + keep, place->room - keep) == 0)
            place->room = keep;
    }
    mp_lock_drop(&growth_lock);
}

void mp_box_cover(void) {
    if (box.base)
        mp_sys_mmap((uintptr_t)box.base, box.size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

uint32_t mp_box_text(const char *text) {
    uint64_t at = box.state->used[MEMPROF_BOX_TEXTS];
    size_t size = strlen(text) + 1;
    if (size == 1)
        return 0;
    char *place = place_of(MEMPROF_BOX_TEXTS, at, size);
    if (!place)
        return 0;
    memcpy(place, text, size);
    mp_box_set_used(box.state, MEMPROF_BOX_TEXTS, at + size);
    return (uint32_t)at;
}

struct memprof_box_state *mp_box_state(void) {
    return box.state;
}

void mp_box_lose(void) {
    __atomic_fetch_add(&box.state->unmirrored, 1, __ATOMIC_RELAXED);
    if (!atomic_exchange_explicit(&box.said, true, memory_order_relaxed) && !mp_sys_confined)
        mp_say("no more room for the black box %s: it stays behind the profile", box.path);
}

/* ---- the file ---- */

/* Buffers are static: who makes a box may be a thread with a small stack, and is alone. */
static uint64_t start_ticks(void) {
    static char text[1024];
    long fd = mp_sys_open("/proc/self/stat", O_RDONLY, 0);
    long n = fd < 0 ? 0 : mp_sys_read((int)fd, text, sizeof text - 1);
    if (fd >= 0)
        mp_sys_close((int)fd);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strrchr(text, ')'); /* field 2 */
    for (unsigned field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    uint64_t ticks = 0;
    for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
        ticks = ticks * 10 + (uint64_t)(*at - '0');
    return ticks;
}

/* "pid:[4026531836]"; 0: not known. */
static uint64_t pid_namespace(void) {
    char text[64];
    long n = mp_sys_readlink("/proc/self/ns/pid", text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strchr(text, '[');
    uint64_t number = 0;
    for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    return number;
}

static void name_it(char *path, size_t size, const char *directory, uint64_t ticks) {
    struct mp_text text;
    mp_text_init(&text, path, size);
    mp_text_add(&text, "%s/%lu", directory, (uint64_t)mp_sys_getpid());
    if (ticks)
        mp_text_add(&text, ".%lu", ticks);
    mp_text_add(&text, ".box");
}

/* Of what is a box, or was going to be one and is empty or zero as yet; NULL: it is another file.
 */
static const struct memprof_box_head *read_head(const char *path) {
    static struct memprof_box_head head;
    static const uint8_t none[sizeof head.magic];
    memset(&head, 0, sizeof head);
    long fd = mp_sys_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    long n = fd < 0 ? -1 : mp_sys_read((int)fd, &head, sizeof head);
    if (fd >= 0)
        mp_sys_close((int)fd);
    bool is_box = n == 0 || (n == (long)sizeof head &&
                             (memcmp(head.magic, MEMPROF_BOX_MAGIC, sizeof head.magic) == 0 ||
                              memcmp(head.magic, none, sizeof none) == 0));
    return is_box ? &head : NULL;
}

/* A file has the name that is ours now. If it was this process's before it became another program,
 * it goes; if another's, which had the number before, it gets a name by itself. */
static void put_aside(const char *directory, const char *path) {
    static char other[PATH_MOST];
    const struct memprof_box_head *head = read_head(path);
    if (!head)
        return; /* it is no box: let it be */
    bool is_others = head->start_ticks && head->start_ticks != start_ticks();
    name_it(other, sizeof other, directory, is_others ? head->start_ticks : 0);
    if (!is_others || mp_sys_rename(path, other) != 0)
        mp_sys_unlink(path);
}

static const char *shared_memory(char *path, size_t size) {
    struct mp_text text;
    mp_text_init(&text, path, size);
    mp_text_add(&text, "/dev/shm/memprof-%u", mp_sys_geteuid());
    return path;
}

/* One of ours is for us alone; one that was given may be anybody's. */
static int check_directory(const char *directory) {
    struct mp_file file;
    int error = mp_sys_mkdir(directory, 0700);
    if (error && error != -EEXIST)
        return error;
    long fd = mp_sys_open(directory, O_PATH | O_DIRECTORY | (given ? 0 : O_NOFOLLOW), 0);
    if (fd < 0)
        return (int)fd;
    error = mp_sys_look((int)fd, &file);
    mp_sys_close((int)fd);
    if (!error && !given && (file.uid != mp_sys_geteuid() || (file.mode & 022)))
        error = -EACCES;
    return error;
}

/* Of a folder that another user may rename, nothing is to be believed. */
static bool is_own(const char *directory) {
    struct mp_file file;
    long fd = mp_sys_open(directory, O_PATH | O_DIRECTORY, 0);
    bool own = fd >= 0 && mp_sys_look((int)fd, &file) == 0 && file.uid == mp_sys_geteuid();
    if (fd >= 0)
        mp_sys_close((int)fd);
    return own;
}

/* Where areas stand; the file's size. */
static uint64_t lay_out(unsigned halvings) {
    uint64_t at = PAGE + whole_pages(sizeof(struct memprof_box_state));
    for (unsigned a = 0; a < MEMPROF_BOX_AREAS; a++) {
        uint64_t room = a == MEMPROF_BOX_SERIES ? plan[a].room : plan[a].room >> halvings;
        room = room < PAGE ? PAGE : whole_pages(room);
        box.places[a] = (struct memprof_box_place){at, room, plan[a].record_size, 0};
        at += room;
    }
    return at;
}

/* A file that is larger than the limit would not only fail, but raise SIGXFSZ. */
static bool plan_size(void) {
    uint64_t files = mp_sys_limit(RLIMIT_FSIZE), addresses = mp_sys_limit(RLIMIT_AS);
    if (addresses != UINT64_MAX)
        addresses /= ADDRESS_SHARE;
    for (unsigned halvings = 0; halvings <= HALVINGS_MOST; halvings++) {
        box.size = lay_out(halvings);
        if (box.size <= files && box.size <= addresses)
            return true;
    }
    return false;
}

/* Addresses that mlockall has locked would count as memory: they are not to. */
static int map_file(int fd) {
    uintptr_t got = mp_sys_mmap(0, box.size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mp_sys_failed(got))
        return (int)(intptr_t)got;
    box.base = (char *)got;
    mp_sys_munlock(got, box.size);
    uint64_t start = PAGE + whole_pages(sizeof(struct memprof_box_state));
    int error = mp_sys_madvise(got, box.size, MADV_DONTFORK);
    if (!error)
        error = populate(0, start);
    if (!error) {
        box.state = (void *)(box.base + PAGE);
        box.committed_in_all = start;
        return 0;
    }
    mp_sys_munmap(got, box.size);
    box.base = NULL;
    return error == -EFAULT ? -ENOSPC : error;
}

/* Of the one file that is ours. */
static int fill_file(int fd) {
    bool is_tmpfs;
    uint64_t space = mp_sys_space(fd, &is_tmpfs);
    int error = mp_sys_look(fd, &box.file);
    if (error)
        return error;
    if (!is_tmpfs)
        return -ENOTSUP; /* a store to a page that is there may raise SIGBUS all the same */
    box.budget = space && space / SHARE < BUDGET_MOST ? space / SHARE : BUDGET_MOST;
    if (!plan_size())
        return -EFBIG;
    error = mp_sys_ftruncate(fd, box.size);
    if (error)
        return error;
    return map_file(fd);
}

static int make_in(const char *directory) {
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY;
    int error = check_directory(directory);
    if (error)
        return error;
    name_it(box.path, sizeof box.path, directory, 0);
    long fd = mp_sys_open(box.path, flags, 0600);
    if (fd == -EEXIST) {
        put_aside(directory, box.path);
        fd = mp_sys_open(box.path, flags, 0600);
    }
    if (fd < 0)
        return (int)fd;
    error = fill_file((int)fd);
    mp_sys_close((int)fd);
    if (error)
        mp_sys_unlink(box.path);
    return error;
}

/* ---- those that processes left behind ---- */

#define KEPT    16u /* of dead processes in a directory: the newest */
#define AT_ONCE 64u

struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static const char *number(const char *at, uint64_t *out) {
    for (*out = 0; *at >= '0' && *at <= '9'; at++)
        *out = *out * 10 + (uint64_t)(*at - '0');
    return at;
}

/* "PID.box" or "PID.START.box" of no process that is there. */
static bool is_left(const char *name) {
    uint64_t pid, ticks;
    const char *at = number(name, &pid);
    if (at == name || *at != '.')
        return false;
    const char *more = number(at + 1, &ticks);
    if (more != at + 1)
        at = more;
    return strcmp(at, ".box") == 0 && pid <= INT32_MAX && !mp_sys_has_process((long)pid);
}

struct left {
    uint64_t inode;
    char name[64];
};

/* Among the first so many; the smaller inode is the older one, as tmpfs numbers them. */
static unsigned find_left(int fd, struct left *left) {
    static char buffer[4096] __attribute__((aligned(8)));
    unsigned count = 0;
    long n;
    while (count < AT_ONCE && (n = mp_sys_entries(fd, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < n && count < AT_ONCE;) {
            const struct entry *entry = (const void *)(buffer + at);
            at += entry->size;
            if (strlen(entry->name) >= sizeof left->name || !is_left(entry->name))
                continue;
            left[count].inode = entry->inode;
            strcpy(left[count++].name, entry->name);
        }
    }
    return count;
}

/* A service that is killed again and again is not to fill up the memory. */
static void sweep(const char *directory) {
    static struct left left[AT_ONCE];
    static char path[PATH_MOST + 64];
    long fd = mp_sys_open(directory, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return;
    unsigned count = find_left((int)fd, left);
    mp_sys_close((int)fd);
    for (; count > KEPT; count--) {
        unsigned oldest = 0;
        struct mp_text text;
        for (unsigned i = 1; i < count; i++) {
            if (left[i].inode < left[oldest].inode)
                oldest = i;
        }
        mp_text_init(&text, path, sizeof path);
        mp_text_add(&text, "%s/%s", directory, left[oldest].name);
        const struct memprof_box_head *head = read_head(path);
        if (head && head->pid_namespace == pid_namespace()) /* there its number is what we know */
            mp_sys_unlink(path);
        left[oldest] = left[count - 1];
    }
}

/* ---- start and end ---- */

static void write_head(const struct memprof_dump_process *process) {
    struct memprof_box_head *head = (void *)box.base;
    memcpy(head->magic, MEMPROF_BOX_MAGIC, sizeof head->magic);
    head->version = MEMPROF_BOX_VERSION;
    head->head_size = sizeof *head;
    head->file_size = box.size;
    head->start_ticks = start_ticks();
    head->pid_namespace = pid_namespace();
    memcpy(head->areas, box.places, sizeof head->areas);
    head->process = *process;
    head->check = memprof_box_check(head, offsetof(struct memprof_box_head, check));
}

/* A page that no child inherits as it is. */
static bool make_word(void) {
    if (mp_box_word != &not_yet)
        return true;
    uintptr_t page =
        mp_sys_mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mp_sys_failed(page))
        return false;
    if (mp_sys_madvise(page, PAGE, MADV_WIPEONFORK) != 0) {
        mp_sys_munmap(page, PAGE);
        return false;
    }
    mp_box_word = (_Atomic(uint32_t) *)page;
    return true;
}

static void reset(void) {
    memset(&box, 0, sizeof box);
}

/* By its name, if that still is its. */
static void remove_file(void) {
    struct mp_file file;
    long fd = mp_sys_open(box.path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return;
    bool same = mp_sys_look((int)fd, &file) == 0 && file.inode == box.file.inode &&
                file.device_major == box.file.device_major &&
                file.device_minor == box.file.device_minor;
    mp_sys_close((int)fd);
    if (same)
        mp_sys_unlink(box.path);
}

int mp_box_make(const char **why) {
    char shared[64];
    const char *directory = given ? given : run_time;
    *why = NULL;
    if (strcmp(mp_options.blackbox, "off") == 0)
        return -ECANCELED;
    reset(); /* what a child has of its parent's */
    if (!make_word()) {
        *why = "the kernel cannot wipe memory on a fork";
        return -ENOSYS;
    }
    int error = directory && (given || is_own(run_time_parent)) ? make_in(directory) : -ENOENT;
    if (error && !given) {
        directory = shared_memory(shared, sizeof shared);
        error = make_in(directory);
    }
    if (error) {
        /* Before Linux 5.14 there is none, and nothing to be done about it. */
        *why = error == -EINVAL && !given ? NULL : mp_say_reason(error);
        return error;
    }
    sweep(directory);
    box.state->used[MEMPROF_BOX_TEXTS] = 1; /* at 0 the empty one */
    if (!place_of(MEMPROF_BOX_TEXTS, 0, 1)) {
        *why = mp_say_reason(-ENOSPC);
        remove_file();
        mp_sys_munmap((uintptr_t)box.base, box.size);
        return -ENOSPC;
    }
    return 0;
}

void mp_box_settle(const struct memprof_dump_process *process) {
    if (process)
        write_head(process);
    /* release: who sees it open sees where it is */
    atomic_store_explicit(mp_box_word, process ? MP_BOX_OPEN : MP_BOX_NONE, memory_order_release);
}

/* While the working directory is the one that the user sees. */
static const char *absolute(const char *directory) {
    char path[PATH_MOST];
    long n = *directory == '/' ? 0 : mp_sys_getcwd(path, sizeof path - 1);
    if (n <= 1 || path[0] != '/' || (size_t)n + strlen(directory) + 128 > sizeof path)
        return directory;
    struct mp_text text;
    mp_text_init(&text, path + n - 1, sizeof path - (size_t)(n - 1));
    mp_text_add(&text, "/%s", directory);
    return mp_meta_copy(path);
}

static void put_aside_in(const char *directory) {
    static char path[PATH_MOST];
    name_it(path, sizeof path, directory, 0);
    long fd = mp_sys_open(path, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return; /* as nearly always */
    mp_sys_close((int)fd);
    put_aside(directory, path);
}

void mp_box_start(const char *run_time_directory) {
    char path[PATH_MOST], shared[64];
    const char *option = mp_options.blackbox;
    if (strcmp(option, "off") == 0)
        return;
    if (strcmp(option, "auto") != 0) {
        given = absolute(option);
    } else if (run_time_directory && *run_time_directory == '/' &&
               strlen(run_time_directory) < PATH_MOST - 128) {
        struct mp_text text;
        mp_text_init(&text, path, sizeof path);
        mp_text_add(&text, "%s/memprof", run_time_directory);
        run_time = mp_meta_copy(path);
        run_time_parent = mp_meta_copy(run_time_directory);
    }
    const char *directory = given      ? given
                            : run_time ? run_time
                                       : shared_memory(shared, sizeof shared);
    put_aside_in(directory);
    if (directory == run_time)
        put_aside_in(shared_memory(shared, sizeof shared));
}

void mp_box_end(bool keep) {
    if (mp_box_standing() != MP_BOX_OPEN)
        return;
    __atomic_store_n(&box.state->ended, 1, __ATOMIC_RELAXED);
    if (!keep && !mp_sys_confined)
        remove_file();
}

bool mp_box_overlaps(uintptr_t start, uintptr_t end) {
    uintptr_t base = (uintptr_t)box.base, word = (uintptr_t)mp_box_word;
    if (word >= start && word < end && mp_box_word != &not_yet)
        return true;
    if (!base || start >= base + box.size || end <= base)
        return false;
    if (start < base + box.places[0].offset)
        return true;
    for (unsigned area = 0; area < MEMPROF_BOX_AREAS; area++) {
        /* Behind its room the area may have given addresses back: they are anybody's. */
        uintptr_t low = base + box.places[area].offset;
        if (start < low + box.places[area].room && end > low)
            return true;
    }
    return false;
}

void mp_box_after_fork_child(void) {
    box.base = NULL; /* it is not mapped here, and all else is made anew */
    atomic_store_explicit(&growth_lock.word, 0, memory_order_relaxed);
}
