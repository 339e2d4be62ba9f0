#include "control/report.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "control/dump.h"
#include "control/path.h"
#include "heap/arena.h"
#include "platform/elf.h"
#include "platform/options.h"
#include "platform/own.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "platform/trace.h"
#include "record/writer.h"

#ifndef MEMPROF_TOOL
#define MEMPROF_TOOL "/usr/bin/memprof"
#endif

#define PATH_MOST 4096u
#define OS_PAGE   ((size_t)4096)
#define MISSING   127 /* the command could not be run */

static const char *suppressions = ""; /* the option's file */
static uint32_t report_count;
static char report_path[PATH_MOST]; /* of the last one; for its copy */
static const char *tool = "";       /* the memprof command; "": not found */
static const char *program = "";    /* suppressions that the program brings; "": none */

/* A program written for LeakSanitizer may define it; it is not called before the first report. */
extern const char *__lsan_default_suppressions(void) __attribute__((weak));

extern int __lsan_is_turned_off(void) __attribute__((weak));

/* ---- the command ---- */

static bool is_there(const char *path) {
    long fd = mp_sys_open(path, O_PATH | O_CLOEXEC, 0);
    if (fd >= 0)
        mp_sys_close((int)fd);
    return fd >= 0;
}

/* Where it is installed, or built, beside this library. */
static void find_tool(void) {
    static const char *const places[] = {"../tools/memprof", "../bin/memprof", "../../bin/memprof"};
    static char path[PATH_MOST];
    const char *library = mp_path_absolute(mp_elf_own_path()), *slash = strrchr(library, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places && !*tool; i++) {
        struct mp_text text;
        mp_text_init(&text, path, sizeof path);
        for (const char *at = library; at <= slash; at++)
            mp_text_add(&text, "%c", *at);
        mp_text_add(&text, "%s", places[i]);
        if (is_there(path))
            tool = mp_meta_copy(path);
    }
    if (!*tool && is_there(MEMPROF_TOOL))
        tool = MEMPROF_TOOL;
}

/* ---- in the copy ---- */

/* A file in memory with that text, by the name that the command opens it with. */
static bool make_file(const char *content, char *name, size_t size) {
    struct mp_text text;
    long fd = mp_sys_memory_file("memprof");
    if (fd < 0)
        return false;
    for (size_t left = strlen(content); left;) {
        long n = mp_sys_write((int)fd, content, left);
        if (n <= 0)
            return false;
        content += n;
        left -= (size_t)n;
    }
    mp_text_init(&text, name, size);
    mp_text_add(&text, "/proc/self/fd/%lu", (uint64_t)fd);
    return true;
}

/* Its exit status, or -errno. A process that becomes another program is a child like all others,
 * whose end is told to its parent: so the copy has a child for that, and stays what it is. */
static int run(const char *const *arguments, const char *const *environment) {
    int status, log = mp_say_open();
    long child = mp_sys_copy(), got;
    if (child == 0) {
        mp_sys_become(tool, arguments, environment, log);
        mp_sys_exit(MISSING);
    }
    if (child < 0)
        return (int)child;
    do
        got = mp_trace_wait(&status, true);
    while (got != child && (got > 0 || got == -EINTR));
    return got == child && WIFEXITED(status) ? WEXITSTATUS(status) : -ESRCH;
}

/* What it prints goes to the log. */
static int run_tool(int dump, const char *const *first) {
    static char file[48], own[48];
    const char *arguments[12] = {tool, "leaks"};
    static const char *const environment[] = {"LC_ALL=C", NULL};
    struct mp_text text;
    unsigned count = 2;
    while (*first)
        arguments[count++] = *first++;
    if (*suppressions) {
        arguments[count++] = "--suppressions";
        arguments[count++] = suppressions;
    }
    if (*program && make_file(program, own, sizeof own)) {
        arguments[count++] = "--suppressions";
        arguments[count++] = own;
    }
    mp_text_init(&text, file, sizeof file);
    mp_text_add(&text, "/proc/self/fd/%lu", (uint64_t)(unsigned)dump);
    arguments[count] = file;
    return run(arguments, environment);
}

static int tell(int dump, const struct mp_contents_leaks *leaks, void *unused) {
    static const char *const first[] = {"--quiet", NULL};
    (void)unused;
    int status = *tool ? run_tool(dump, first) : -ENOENT;
    if (status >= 0 && status <= 2)
        return status;
    const uint64_t *objects = leaks->found->all.objects, *bytes = leaks->found->all.bytes;
    uint64_t count = objects[MP_LEAKED] + objects[MP_LEAKED_INDIRECTLY];
    if (count)
        mp_say("%lu bytes leaked in %lu blocks, and %lu in %lu that only they lead to; by whom the "
               "memprof command tells, which is not beside this library",
               bytes[MP_LEAKED], objects[MP_LEAKED], bytes[MP_LEAKED_INDIRECTLY],
               objects[MP_LEAKED_INDIRECTLY]);
    return count > 0;
}

static int write_report(int dump, const struct mp_contents_leaks *leaks, void *unused) {
    const char *const first[] = {"--json", "--output", report_path, NULL};
    (void)leaks;
    (void)unused;
    return run_tool(dump, first);
}

/* ---- in the process ---- */

static void ask_program(void) {
    if (__lsan_default_suppressions && !*program)
        program = __lsan_default_suppressions();
    if (!program)
        program = "";
}

int mp_report_begin_sigsafe(void) {
    const struct mp_dump_order order = {.leaks = true, .then = write_report};
    int error =
        *tool ? mp_path_fill(mp_options.report, ++report_count, report_path, sizeof report_path)
              : -ENOENT;
    ask_program();
    return error ? error : mp_dump_begin_sigsafe(&order);
}

int mp_report_tell(bool *leaks) {
    const struct mp_dump_order order = {.leaks = true, .then = tell};
    int status = 0;
    if (!*tool && !mp_sys_confined)
        find_tool();
    ask_program();
    int error = mp_dump_run(&order, &status);
    if (status == ECANCELED)
        error = -ECANCELED;
    if (error && !mp_sys_confined)
        mp_say("no search for leaks: %s", mp_say_reason(error));
    *leaks = status == 1;
    return error;
}

/* Into memory that the copy shares. */
static int count(int dump, const struct mp_contents_leaks *leaks, void *counted) {
    const struct mp_leaks_sums *all = &leaks->found->all;
    (void)dump;
    *(struct memprof_leaks *)counted = (struct memprof_leaks){
        .leaked_bytes = all->bytes[MP_LEAKED],
        .leaked_objects = all->objects[MP_LEAKED],
        .indirect_bytes = all->bytes[MP_LEAKED_INDIRECTLY],
        .indirect_objects = all->objects[MP_LEAKED_INDIRECTLY],
        .reachable_bytes = all->bytes[MP_REACHABLE],
        .reachable_objects = all->objects[MP_REACHABLE],
        .pause_ns = leaks->pause_ns,
        .scan_ns = leaks->found->scan_ns,
        .world = leaks->world,
        .threads = leaks->threads,
        .threads_missed = leaks->threads_missed,
    };
    return 0;
}

int mp_report_count(struct memprof_leaks *leaks) {
    int status = 0;
    uintptr_t page =
        mp_sys_mmap(0, OS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mp_sys_failed(page))
        return (int)(intptr_t)page;
    mp_own_add(page, OS_PAGE);
    const struct mp_dump_order order = {
        .leaks = true, .then = count, .context = (void *)page, .no_dump = true};
    int error = mp_dump_run(&order, &status);
    *leaks = *(const struct memprof_leaks *)page;
    mp_own_remove(page);
    mp_sys_munmap(page, OS_PAGE);
    return error ? error : -status;
}

/* ---- at exit ---- */

static bool wanted_at_exit;

/* After all else that the program has registered, and all destructors: registered by a library that
 * is loaded before the program, it stands behind the loader's own. libc then flushes its streams.
 */
static void at_exit(int status, void *unused) {
    bool leaks = false;
    (void)unused;
    if (!wanted_at_exit || (__lsan_is_turned_off && __lsan_is_turned_off()))
        return;
    wanted_at_exit = false;
    mp_report_tell(&leaks);
    if (leaks && status == 0 && mp_options.exitcode)
        exit((int)mp_options.exitcode);
}

void mp_report_stop(void) {
    wanted_at_exit = false;
}

static bool is_given(const char *path) {
    return strcmp(path, "off") != 0;
}

bool mp_report_is_wanted(void) {
    return is_given(mp_options.report);
}

void mp_report_start(void) {
    if (is_given(mp_options.suppressions))
        suppressions = mp_path_absolute(mp_options.suppressions);
    wanted_at_exit = mp_options.leaks == MP_LEAKS_EXIT;
    if (wanted_at_exit || mp_report_is_wanted())
        find_tool();
    if (mp_report_is_wanted() && !*tool)
        mp_say("report=%s: the memprof command is not beside this library; there is no report",
               mp_options.report);
    if (wanted_at_exit)
        on_exit(at_exit, NULL);
}
