#include "profile/about.h"

#include <fcntl.h>
#include <string.h>

#include "platform/options.h"
#include "platform/sys.h"
#include "profile/sampler.h"
#include "profile/unwind.h"
#include "record/modules.h"

#ifndef MEMPROF_VERSION
#define MEMPROF_VERSION "unknown"
#endif

static long first_pid, pid_now;
static uint64_t began_real_ns, began_ns;

void mp_about_start(void) {
    pid_now = mp_sys_getpid();
    if (!first_pid)
        first_pid = pid_now;
    began_real_ns = mp_sys_real_ns();
    began_ns = mp_sys_precise_ns();
}

bool mp_about_has_started(void) {
    return first_pid != 0;
}

long mp_about_first_pid(void) {
    return first_pid;
}

long mp_about_pid(void) {
    return pid_now;
}

uint64_t mp_about_began_ns(void) {
    return began_real_ns;
}

uint64_t mp_about_began_precisely_ns(void) {
    return began_ns;
}

/* As text, NULs included. How much of it. */
static size_t read_file(const char *path, char *text, size_t size) {
    long fd = mp_sys_open(path, O_RDONLY, 0);
    long n = fd < 0 ? 0 : mp_sys_read((int)fd, text, size - 1);
    if (fd >= 0)
        mp_sys_close((int)fd);
    n = n > 0 ? n : 0;
    text[n] = '\0';
    return (size_t)n;
}

void mp_about_host(char *host, size_t size) {
    read_file("/proc/sys/kernel/hostname", host, size);
    host[strcspn(host, "\n/")] = '\0';
}

static const char *command_line(void) {
    static char command[4096];
    size_t length = read_file("/proc/self/cmdline", command, sizeof command);
    for (size_t i = 0; i + 1 < length; i++) {
        if (!command[i])
            command[i] = ' ';
    }
    return command;
}

void mp_about(struct memprof_dump_process *process, long pid, uint32_t (*text)(const char *text)) {
    static char host[256];
    memset(process, 0, sizeof *process);
    mp_about_host(host, sizeof host);
    process->start_time_ns = began_real_ns;
    process->pid = (uint32_t)pid;
    process->uid = mp_sys_getuid();
    process->exe = text(mp_modules_program());
    process->command = text(command_line());
    process->host = text(host);
    process->library = text(MEMPROF_VERSION);
    process->rate = mp_sampler_rate();
    process->seed = mp_sampler_seed();
    process->unwinder = (uint32_t)mp_unwind_backend();
    process->depth = (uint32_t)mp_options.depth;
    process->page_size = 4096;
}
