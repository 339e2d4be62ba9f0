#include "commands/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <memprof/request.h>

/* A file as text, at most size - 1 bytes; -1 with errno. NULs become `nul`. */
static ssize_t read_path(const char *path, char *buffer, size_t size, char nul) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t length = 0;
    ssize_t n;
    while (length < size - 1 && (n = read(fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)n;
    close(fd);
    for (size_t i = 0; i < length; i++) {
        if (!buffer[i])
            buffer[i] = nul;
    }
    buffer[length] = '\0';
    return (ssize_t)length;
}

/* Field 3 of a file like /proc/PID/stat; 'X': there is none. */
static char state_in(const char *path) {
    char stat[1024];
    const char *name_end = read_path(path, stat, sizeof stat, ' ') > 0 ? strrchr(stat, ')') : NULL;
    return name_end && name_end[1] ? name_end[2] : 'X';
}

static bool has_ended(char state) {
    return state == 'Z' || state == 'X';
}

/* A thread by which /proc tells of the process: the first, or when that has ended before others,
 * one of these. 0: all have. */
static pid_t thread_of(pid_t pid) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!has_ended(state_in(path)))
        return pid;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *list = opendir(path);
    pid_t found = 0;
    for (struct dirent *entry; list && !found && (entry = readdir(list)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, entry->d_name);
        if (entry->d_name[0] != '.' && !has_ended(state_in(path)))
            found = (pid_t)atoi(entry->d_name);
    }
    if (list)
        closedir(list);
    return found;
}

/* A file of the process's. */
static ssize_t read_file(pid_t pid, const char *file, char *buffer, size_t size, char nul) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    return read_path(path, buffer, size, nul);
}

/* ... and of what it has as long as any thread is there. */
static ssize_t read_living(pid_t pid, pid_t thread, const char *file, char *buffer, size_t size,
                           char nul) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/%s", (int)pid, (int)thread, file);
    return read_path(path, buffer, size, nul);
}

/* What follows "\nKEY:" in /proc/PID/status. */
static const char *field(const char *status, const char *key) {
    size_t length = strlen(key);
    for (const char *line = status; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
    }
    return "";
}

/* Of the process that was looked at last. */
static struct {
    pid_t pid;
    char text[1 << 20];
} environment;

static void read_environment(pid_t pid, pid_t thread) {
    environment.pid = pid;
    if (read_living(pid, thread, "environ", environment.text, sizeof environment.text, '\n') <= 0)
        environment.text[0] = '\0';
}

bool process_variable(pid_t pid, const char *name, char *value, size_t size) {
    size_t length = strlen(name);
    if (environment.pid != pid)
        read_environment(pid, thread_of(pid));
    for (const char *line = environment.text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0 || line[length] != '=')
            continue;
        size_t end = strcspn(line, "\n");
        snprintf(value, size, "%.*s", (int)(end - length - 1), line + length + 1);
        return true;
    }
    return false;
}

bool process_option(pid_t pid, const char *key, char *value, size_t size) {
    static char options[65536];
    size_t length = strlen(key);
    bool found = false;
    if (!process_variable(pid, "MEMPROF_OPTIONS", options, sizeof options))
        return false;
    for (char *at = options; *at; at += *at != '\0') {
        size_t name = strcspn(at, "=:,");
        char *from = at + name + (at[name] == '=');
        char quote = *from == '\'' || *from == '"' ? *from : '\0';
        from += quote != '\0';
        size_t end = quote ? strcspn(from, (char[]){quote, '\0'}) : strcspn(from, ":,");
        if (name == length && at[name] == '=' && strncmp(at, key, length) == 0) {
            snprintf(value, size, "%.*s", (int)end, from);
            found = true; /* the last one counts */
        }
        at = from + end;
        at += strcspn(at, ":,");
    }
    return found;
}

/* The signal that the process's options name; 0: off. What they are is read off the environment it
 * was started with. */
static int request_signal(pid_t pid) {
    char value[64];
    if (process_option(pid, "control", value, sizeof value) && strcmp(value, "auto") != 0)
        return 0;
    if (!process_option(pid, "signal", value, sizeof value) || strncmp(value, "auto", 4) == 0)
        return MEMPROF_REQUEST_SIGNAL;
    int number = atoi(value);
    return number >= 1 && number <= 64 ? number : 0;
}

static bool maps_library(pid_t pid, pid_t thread) {
    char path[64], line[4608];
    snprintf(path, sizeof path, "/proc/%d/task/%d/maps", (int)pid, (int)thread);
    FILE *maps = fopen(path, "re");
    bool found = false;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        const char *slash = strrchr(line, '/');
        found = slash && strncmp(slash, "/libmemprof.so", 14) == 0;
    }
    if (maps)
        fclose(maps);
    return found;
}

static bool same_root(pid_t pid) {
    char mine[64], theirs[64], path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
    ssize_t a = readlink("/proc/self/ns/mnt", mine, sizeof mine);
    ssize_t b = readlink(path, theirs, sizeof theirs);
    return a < 0 || b < 0 || (a == b && memcmp(mine, theirs, (size_t)a) == 0);
}

int process_parse(const char *text, pid_t *pid, struct tool_error *error) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno || *end || end == text || number < 1 || number > INT32_MAX)
        return tool_fail(error, "%s: no number of a process", text);
    *pid = (pid_t)number;
    return 0;
}

/* A field of what /proc/PID/stat says; 0: it does not say it. */
#define START_TICKS 22
#define START_STACK 28
static uint64_t stat_field(const char *stat, int wanted) {
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < wanted; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static void read_stat(pid_t pid, char stat[1024]) {
    if (read_file(pid, "stat", stat, 1024, ' ') <= 0)
        stat[0] = '\0';
}

uint64_t process_stack(pid_t pid) {
    char stat[1024];
    read_stat(pid, stat);
    return stat_field(stat, START_STACK);
}

int process_look(pid_t pid, struct process *process, struct tool_error *error) {
    static char status[8192];
    char stat[1024];
    memset(process, 0, sizeof *process);
    if (read_file(pid, "status", status, sizeof status, ' ') <= 0)
        return tool_fail(error, "process %d: %s", (int)pid,
                         errno == ENOENT || errno == ESRCH || errno == 0 ? "there is none"
                                                                         : strerror(errno));
    process->pid = pid;
    process->state = *field(status, "State");
    process->uid =
        (uid_t)strtoul(field(status, "Uid") + strcspn(field(status, "Uid"), "\t"), NULL, 10);
    process->rss = strtoull(field(status, "VmRSS"), NULL, 10) * 1024;
    const char *name = field(status, "Name");
    snprintf(process->name, sizeof process->name, "%.*s", (int)strcspn(name, "\n"), name);

    /* "NSpid: 4711 12 1": the last is the innermost. */
    process->own_pid = pid;
    const char *pids = field(status, "NSpid");
    for (size_t length = strcspn(pids, "\n"), i = 0; i < length; i++) {
        if (i == 0 || pids[i - 1] == '\t' || pids[i - 1] == ' ')
            process->own_pid = (pid_t)atoi(pids + i);
    }
    const pid_t thread = thread_of(pid);
    if (read_living(pid, thread, "cmdline", process->command, sizeof process->command, ' ') <= 0)
        snprintf(process->command, sizeof process->command, "%s", process->name);
    for (size_t n = strlen(process->command); n > 0 && process->command[n - 1] == ' ';)
        process->command[--n] = '\0';
    if (!same_root(pid))
        snprintf(process->root, sizeof process->root, "/proc/%d/root", (int)pid);

    read_stat(pid, stat);
    process->start_ticks = stat_field(stat, START_TICKS);
    process->stack = stat_field(stat, START_STACK);
    process->has_library = maps_library(pid, thread);
    environment.pid = 0;
    if (process->has_library)
        read_environment(pid, thread);
    int number = process->has_library ? request_signal(pid) : 0;
    process->request = number && process_catches(pid, number) ? number : 0;
    return 0;
}

bool process_catches(pid_t pid, int number) {
    char status[8192];
    if (read_living(pid, thread_of(pid), "status", status, sizeof status, ' ') <= 0)
        return false;
    return strtoull(field(status, "SigCgt"), NULL, 16) >> (number - 1) & 1;
}

bool process_lives(pid_t pid) {
    return thread_of(pid) != 0;
}
