/*
 * What the programs about stacks and dumps share: how one says what its dump must hold, and a look
 * at the process from outside.
 *
 * Apart from the scripts because only the program knows where its functions and its return
 * addresses are: it prints them, and check.py holds the dump against them. One line each:
 *
 *     expect FILE|NAME|UNWINDERS|SIZE|COUNT|FLAGS|ITEM ITEM ...
 *     module FILE|NAME|BASENAME|gone or loaded|COUNT
 *
 * FILE: the dump. UNWINDERS: for which of them it holds. Every live sample of SIZE bytes must have
 * the stack; with rate=1 there are COUNT of them, else one at least. FLAGS: whole, cut, broken,
 * any. An ITEM is a frame, the innermost first: LOW-HIGH lies between, =ADDRESS is that, !ADDRESS
 * is that and an instruction that was interrupted, ? any; with @NAME the frame's module has that
 * file's name, with @NAME/STATE it is gone or loaded; with *N behind it, it stands N times. A last
 * item * is any frames or none.
 */
#ifndef MEMPROF_TESTS_RECORD_H
#define MEMPROF_TESTS_RECORD_H

#include "../preload/common.h"

#include <dirent.h>
#include <elf.h>
#include <link.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

#include <memprof/memprof.h>

/* A function in the program's dynamic symbols, which is where its extent is looked up, and with a
 * frame of its own. */
#ifdef __clang__
#define SHOWN __attribute__((noinline, visibility("default")))
#else
#define SHOWN __attribute__((noinline, noclone, visibility("default")))
#endif

#define CALLER __builtin_return_address(0)

/* Blocks of a kind: with rate=4k, 64 KiB of them have a sample as good as surely. */
#define R_KEEP 64

/* What MEMPROF_OPTIONS says of a key, which comes with its "=". */
T_UNUSED static const char *r_option(const char *key) {
    static char value[64];
    const char *options = getenv("MEMPROF_OPTIONS");
    const char *at = options ? strstr(options, key) : NULL;
    if (!at)
        return "";
    at += strlen(key);
    size_t length = strcspn(at, ":");
    snprintf(value, sizeof(value), "%.*s", (int)length, at);
    return value;
}

/* ---- what a dump must hold ---- */

static char r_line[32768];
static size_t r_length;

__attribute__((format(printf, 1, 2))) T_UNUSED static void r_add(const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(r_line + r_length, sizeof(r_line) - r_length, format, args);
    va_end(args);
    if (n > 0 && r_length + (size_t)n < sizeof(r_line))
        r_length += (size_t)n;
}

T_UNUSED static void r_expect(const char *file, const char *name, const char *unwinders,
                              size_t size, int count, const char *flags) {
    r_length = 0;
    r_add("expect %s|%s|%s|%zu|%d|%s|", file, name, unwinders, size, count, flags);
}

/* A return address in this function. */
T_UNUSED static void r_in(const void *function) {
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    if (!dladdr1(function, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol)
        r_add(" no-symbol");
    else
        r_add(" %#lx-%#lx", (unsigned long)info.dli_saddr,
              (unsigned long)((uintptr_t)info.dli_saddr + symbol->st_size));
}

T_UNUSED static void r_at(const void *address) {
    r_add(" =%#lx", (unsigned long)(uintptr_t)address);
}

T_UNUSED static void r_interrupted(const void *address) {
    r_add(" !%#lx", (unsigned long)(uintptr_t)address);
}

T_UNUSED static void r_times(unsigned n) {
    r_add("*%u", n);
}

T_UNUSED static void r_of(const char *module, const char *state) {
    r_add("@%s/%s", module, state);
}

T_UNUSED static void r_any(void) {
    r_add(" ?");
}

T_UNUSED static void r_done(const char *rest) {
    r_add(" %s", rest);
    printf("%s\n", r_line);
}

/* The dump itself, and its own case. */
T_UNUSED static void r_dump(const char *file) {
    int result = memprof_dump ? memprof_dump(file) : -1;
    if (result == 0)
        printf("ok a dump is written to %s\n", file);
    else
        printf("not ok a dump is written to %s: %s\n", file,
               memprof_dump ? strerror(errno) : "there is no memprof_dump");
    t_failures += result != 0;
}

/* ---- the process as others see it ---- */

/* Open descriptors as text, "0=/dev/null 5=/tmp/file "; the folder's own is left out. */
T_UNUSED static void r_descriptors(char *text, size_t room) {
    DIR *folder = opendir("/proc/self/fd");
    text[0] = '\0';
    size_t used = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[300], target[300];
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(folder))
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        int added = snprintf(text + used, room - used, "%s=%s ", entry->d_name, target);
        if (added > 0 && used + (size_t)added < room)
            used += (size_t)added;
    }
    if (folder)
        closedir(folder);
}

/* A child of `parent` that /proc shows, and its state, Z for one that is dead; 0: none. */
T_UNUSED static pid_t r_child_of(pid_t parent, char *state) {
    DIR *folder = opendir("/proc");
    pid_t found = 0;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
        char path[300], text[512];
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        t_proc_read(path, text, sizeof(text));
        char *end = strrchr(text, ')');
        int its_parent = 0;
        if (end && sscanf(end + 1, " %c %d", state, &its_parent) == 2 && its_parent == parent)
            found = (pid_t)atoi(entry->d_name);
    }
    if (folder)
        closedir(folder);
    return found;
}

T_UNUSED static void r_sleep_ms(long ms) {
    struct timespec left = {ms / 1000, (ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

T_UNUSED static double r_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

T_UNUSED static void r_too_late(int number) {
    (void)number;
    static const char text[] = "not ok the program ends in time: a deadlock\n";
    ssize_t ignored = write(STDOUT_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    _exit(1);
}

/* A deadlock is a failure with a name. */
T_UNUSED static void r_watchdog(unsigned seconds) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = r_too_late;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

#endif
