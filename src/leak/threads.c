#include "leak/threads.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "platform/own.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "record/memory.h"

#define OS_PAGE      ((size_t)4096)
#define THREADS_MORE 64u /* than there were, may come meanwhile */

struct entry { /* struct linux_dirent64 */
    uint64_t inode, next;
    uint16_t size;
    uint8_t type;
    char name[];
};

/* 0: it is none. */
static long number_in(const char *text) {
    long number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (*text - '0');
    return *text ? 0 : number;
}

int mp_threads_each(long process, int (*visit)(long id, void *context), void *context) {
    char buffer[4096] __attribute__((aligned(8))), path[48];
    struct mp_text text;
    mp_text_init(&text, path, sizeof path);
    mp_text_add(&text, "/proc/%lu/task", (uint64_t)process);
    long fd = mp_sys_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;
    int sum = 0, result = 0;
    if (fd < 0)
        return (int)fd;
    while (result >= 0 && (n = mp_sys_entries((int)fd, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < n && result >= 0;) {
            const struct entry *entry = (const struct entry *)(const void *)&buffer[at];
            long id = number_in(entry->name);
            result = id ? visit(id, context) : 0;
            sum += result;
            at += entry->size;
        }
    }
    mp_sys_close((int)fd);
    return result < 0 ? result : sum;
}

/* "Name:\tvalue\n"; "": there is no such line. */
static const char *value_of(const char *status, const char *name) {
    const char *found = strstr(status, name);
    return found ? found + strlen(name) + 1 : "";
}

bool mp_threads_status(long process, long id, struct mp_thread_status *status) {
    char path[64], text[2048];
    struct mp_text name;
    mp_text_init(&name, path, sizeof path);
    mp_text_add(&name, "/proc/%lu/task/%lu/status", (uint64_t)process, (uint64_t)id);
    long fd = mp_sys_open(path, O_RDONLY | O_CLOEXEC, 0);
    long n = fd < 0 ? 0 : mp_sys_read((int)fd, text, sizeof text - 1);
    if (fd >= 0)
        mp_sys_close((int)fd);
    text[n > 0 ? n : 0] = '\0';
    *status = (struct mp_thread_status){.state = *value_of(text, "\nState:")};
    for (const char *at = value_of(text, "\nSigBlk:"); *at && *at != '\n'; at++)
        status->blocked =
            status->blocked << 4 | (uint64_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
    status->filtered = *value_of(text, "\nSeccomp:") == '2';
    return status->state != '\0';
}

struct mp_stopped_thread *mp_threads_find(const struct mp_stopped *stopped, long id) {
    for (uint32_t i = 0; i < stopped->count; i++) {
        if (stopped->threads[i].id == id)
            return &stopped->threads[i];
    }
    return NULL;
}

static int count_one(long id, void *unused) {
    (void)id;
    (void)unused;
    return 1;
}

static void *share_page(void) {
    uintptr_t got =
        mp_sys_mmap(0, OS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mp_sys_failed(got))
        return NULL;
    mp_own_add(got, OS_PAGE);
    return (void *)got;
}

bool mp_threads_begin(struct mp_stopped *stopped, long process) {
    int count = mp_threads_each(process, count_one, NULL);
    *stopped = (struct mp_stopped){
        .room = (count > 0 ? (uint32_t)count : 0) * 2 + THREADS_MORE,
        .process = process,
    };
    stopped->threads = mp_record_alloc(stopped->room * sizeof *stopped->threads);
    stopped->pause_ns = share_page();
    return stopped->threads && stopped->pause_ns;
}

void mp_threads_end(struct mp_stopped *stopped) {
    if (stopped->threads)
        mp_record_free(stopped->threads, stopped->room * sizeof *stopped->threads);
    stopped->threads = NULL;
    if (stopped->pause_ns) {
        mp_own_remove((uintptr_t)stopped->pause_ns);
        mp_sys_munmap((uintptr_t)stopped->pause_ns, OS_PAGE);
    }
    stopped->pause_ns = NULL;
}
