#include "commands/boxes.h"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memprof/box.h>

#define STATE_BYTE(field) (MEMPROF_BOX_PAGE + offsetof(struct memprof_box_state, field))

/* A folder of one user, in which nobody else can put anything. */
static bool is_folder(const char *path, uid_t uid) {
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == uid &&
           !(info.st_mode & 022);
}

/* Opens what must be a file and the user's, or root's; -1. */
static int open_box(const char *path, uid_t uid, int flags, struct stat *info) {
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, info) == 0 && S_ISREG(info->st_mode) &&
        (info->st_uid == uid || info->st_uid == 0))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool read_at(int fd, void *into, size_t size, uint64_t at) {
    return pread(fd, into, size, (off_t)at) == (ssize_t)size;
}

/* Is it a box that this program can make sense of? */
static bool read_head(int fd, struct memprof_box_head *head) {
    return read_at(fd, head, sizeof *head, 0) &&
           memcmp(head->magic, MEMPROF_BOX_MAGIC, sizeof head->magic) == 0 &&
           head->version == MEMPROF_BOX_VERSION &&
           head->check == memprof_box_check(head, offsetof(struct memprof_box_head, check));
}

static void read_exe(int fd, const struct memprof_box_head *head, char *exe, size_t size) {
    uint64_t at = head->areas[MEMPROF_BOX_TEXTS].offset + head->process.exe;
    ssize_t n = pread(fd, exe, size - 1, (off_t)at);
    exe[n > 0 ? n : 0] = '\0';
}

/* What is there; `ticks`: it must be of the process that began then, 0: of any. */
static bool look_at(const char *path, uid_t uid, uint64_t ticks, struct found_box *found,
                    uint64_t *began) {
    struct memprof_box_head head;
    struct stat info;
    uint32_t ended = 0;
    int fd = open_box(path, uid, O_RDONLY, &info);
    if (fd < 0)
        return false;
    /* A process that had no /proc does not know when it began. */
    bool good = read_head(fd, &head) && (!ticks || !head.start_ticks || head.start_ticks == ticks);
    if (good) {
        read_at(fd, &ended, sizeof ended, STATE_BYTE(ended));
        *began = head.start_ticks;
        *found = (struct found_box){
            .pid = (pid_t)head.process.pid,
            .uid = uid,
            .bytes = (uint64_t)info.st_blocks * 512,
            .time = (int64_t)info.st_mtim.tv_sec,
            .ended = ended == 1,
            .pid_namespace = head.pid_namespace,
        };
        snprintf(found->path, sizeof found->path, "%s", path);
        read_exe(fd, &head, found->exe, sizeof found->exe);
    }
    close(fd);
    return good;
}

/* ---- of one that runs ---- */

/* `owner`: of the folder; -1: anybody. */
static bool in_folder(const struct process *process, const char *folder, int64_t owner,
                      struct found_box *found) {
    char path[4096];
    uint64_t began;
    snprintf(path, sizeof path, "%s%s", process->root, folder);
    if (owner >= 0 && !is_folder(path, (uid_t)owner))
        return false;
    if (snprintf(path, sizeof path, "%s%s/%d.box", process->root, folder, (int)process->own_pid) >=
        (int)sizeof path)
        return false;
    return look_at(path, process->uid, process->start_ticks, found, &began);
}

bool boxes_of_process(const struct process *process, struct found_box *found) {
    char folder[4096], value[3000];
    if (process_option(process->pid, "blackbox", value, sizeof value) && *value == '/' &&
        in_folder(process, value, -1, found))
        return true;
    if (process_variable(process->pid, "XDG_RUNTIME_DIR", value, sizeof value) && *value == '/') {
        snprintf(folder, sizeof folder, "%s/memprof", value);
        if (in_folder(process, folder, process->uid, found))
            return true;
    }
    snprintf(folder, sizeof folder, "/dev/shm/memprof-%u", (unsigned)process->uid);
    /* Made before it gave its rights up, by root, it is where it was. */
    return in_folder(process, folder, process->uid, found) ||
           in_folder(process, "/dev/shm/memprof-0", 0, found);
}

/* ---- of those that are no more ---- */

struct list {
    struct found_box *at;
    size_t count, capacity;
};

static bool is_dead(const struct found_box *box, uint64_t began) {
    if (box->pid_namespace && box->pid_namespace != tool_pid_namespace())
        return false; /* nobody here can say */
    struct process process;
    struct tool_error error;
    return process_look(box->pid, &process, &error) < 0 ? !process_lives(box->pid)
                                                        : began && process.start_ticks != began;
}

static void add_folder(struct list *list, const char *folder) {
    struct stat info;
    char path[4096];
    if (lstat(folder, &info) != 0 || !is_folder(folder, info.st_uid))
        return;
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        size_t length = strlen(entry->d_name);
        struct found_box found;
        uint64_t began;
        if (length < 5 || strcmp(entry->d_name + length - 4, ".box") != 0 ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path ||
            !look_at(path, info.st_uid, 0, &found, &began) || !is_dead(&found, began))
            continue;
        list->at = tool_grow(list->at, list->count, &list->capacity, sizeof *list->at);
        list->at[list->count++] = found;
    }
    if (entries)
        closedir(entries);
}

static int by_pid_and_time(const void *a, const void *b) {
    const struct found_box *x = a, *y = b;
    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    return (x->time > y->time) - (x->time < y->time);
}

struct found_box *boxes_left(size_t *count) {
    struct list list = {0};
    glob_t folders;
    static const char *const patterns[] = {"/dev/shm/memprof-*", "/run/user/*/memprof"};
    const char *own = getenv("XDG_RUNTIME_DIR");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (glob(patterns[i], GLOB_NOSORT, NULL, &folders) == 0) {
            for (size_t f = 0; f < folders.gl_pathc; f++)
                add_folder(&list, folders.gl_pathv[f]);
            globfree(&folders);
        }
    }
    if (own && *own == '/' && strncmp(own, "/run/user/", 10) != 0) {
        char folder[4096];
        snprintf(folder, sizeof folder, "%s/memprof", own);
        add_folder(&list, folder);
    }
    if (list.count)
        qsort(list.at, list.count, sizeof *list.at, by_pid_and_time);
    *count = list.count;
    return list.at;
}

bool boxes_of_dead(pid_t pid, struct found_box *found) {
    size_t count;
    bool any = false;
    struct found_box *list = boxes_left(&count);
    for (size_t i = 0; i < count; i++) {
        if (list[i].pid == pid) {
            *found = list[i]; /* the last is the newest */
            any = true;
        }
    }
    free(list);
    return any;
}

/* ---- asking ---- */

/* The word is written with a call and not through memory, of which a file that is cut takes the
 * pages away. To be woken, a process is told an address alone. */
bool boxes_ask(const struct found_box *box) {
    struct memprof_box_head head;
    struct stat info;
    uint32_t word = 0;
    int fd = open_box(box->path, box->uid, O_RDWR, &info);
    if (fd < 0)
        return false;
    /* It may be another file by now. */
    bool good = read_head(fd, &head) && (pid_t)head.process.pid == box->pid;
    if (!good) {
        close(fd);
        return false;
    }
    good = read_at(fd, &word, sizeof word, STATE_BYTE(request));
    word++;
    good =
        good && pwrite(fd, &word, sizeof word, (off_t)STATE_BYTE(request)) == (ssize_t)sizeof word;
    char *state = mmap(NULL, sizeof(struct memprof_box_state), PROT_READ | PROT_WRITE, MAP_SHARED,
                       fd, MEMPROF_BOX_PAGE);
    if (state != MAP_FAILED) {
        syscall(SYS_futex, state + offsetof(struct memprof_box_state, request), FUTEX_WAKE,
                INT32_MAX, NULL, NULL, 0);
        munmap(state, sizeof(struct memprof_box_state));
    }
    close(fd);
    return good;
}
