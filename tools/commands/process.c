#include "commands/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <memprof/request.h>

/* A file of /proc/PID as text, at most size - 1 bytes; -1 with errno. NULs become `nul`. */
static ssize_t read_file(pid_t pid, const char *file, char *buffer, size_t size, char nul) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
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

bool process_variable(pid_t pid, const char *name, char *value, size_t size) {
    static char environment[1 << 20];
    size_t length = strlen(name);
    if (read_file(pid, "environ", environment, sizeof environment, '\n') <= 0)
        return false;
    for (const char *line = environment; line; line = strchr(line, '\n')) {
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

static bool maps_library(pid_t pid) {
    char path[64], line[4608];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
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

/* Field 22 of /proc/PID/stat; 0: not known. */
static uint64_t start_ticks(pid_t pid) {
    char stat[1024];
    if (read_file(pid, "stat", stat, sizeof stat, ' ') <= 0)
        return 0;
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

int process_look(pid_t pid, struct process *process, struct tool_error *error) {
    static char status[8192];
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
    if (read_file(pid, "cmdline", process->command, sizeof process->command, ' ') <= 0)
        snprintf(process->command, sizeof process->command, "%s", process->name);
    for (size_t n = strlen(process->command); n > 0 && process->command[n - 1] == ' ';)
        process->command[--n] = '\0';
    if (!same_root(pid))
        snprintf(process->root, sizeof process->root, "/proc/%d/root", (int)pid);

    process->start_ticks = start_ticks(pid);
    process->has_library = maps_library(pid);
    int number = process->has_library ? request_signal(pid) : 0;
    process->request = number && process_catches(pid, number) ? number : 0;
    return 0;
}

bool process_catches(pid_t pid, int number) {
    char status[8192];
    if (read_file(pid, "status", status, sizeof status, ' ') <= 0)
        return false;
    return strtoull(field(status, "SigCgt"), NULL, 16) >> (number - 1) & 1;
}

bool process_lives(pid_t pid) {
    char stat[1024];
    if (read_file(pid, "stat", stat, sizeof stat, ' ') <= 0)
        return false;
    const char *name_end = strrchr(stat, ')');
    return !name_end || (name_end[2] != 'Z' && name_end[2] != 'X');
}
