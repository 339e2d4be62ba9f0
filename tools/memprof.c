/* memprof: starts programs under the library, finds those that run under it, and asks them. This is
 * the list of its commands; each has a file in commands/. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/ask.h"
#include "commands/boxes.h"
#include "commands/commands.h"
#include "commands/leaks.h"
#include "commands/process.h"
#include "commands/show.h"
#include "commands/stats.h"
#include "common.h"

static const char help[] =
    "usage: memprof COMMAND [ARGUMENT]...\n"
    "\n"
    "  run [OPTION]... -- PROGRAM ARGS...   run a program under memprof\n"
    "  ps                                   list the processes that run under it\n"
    "  dump PID                             have a process write a dump\n"
    "  show PID|FILE                        who holds the memory\n"
    "  leaks PID|FILE                       what has leaked\n"
    "  stats PID|FILE                       what it holds, without stacks\n"
    "  watch PID                            does it grow for good?\n"
    "  help, version                        show this, or the version\n"
    "\n"
    "memprof COMMAND --help says more. memdiff compares two dumps.\n";

static int print(const char *text) {
    fputs(text, stdout);
    return fflush(stdout) == 0 ? 0 : 2;
}

/* What a process that can be asked may take for its answer, if there is its black box to fall back
 * on: a dump of a GiB takes some two seconds. */
#define PATIENCE_S 10u

/* Of a process: a dump that is made, shown and removed; or its black box, where it does not answer
 * or is no more. */
static int of_process(pid_t pid, int (*show_it)(const char *path, const void *options),
                      const void *options) {
    struct tool_error error;
    struct process process;
    struct found_box box;
    struct asked asked;
    if (process_look(pid, &process, &error) < 0) {
        if (!boxes_of_dead(pid, &box)) {
            tool_note("%s", error.text);
            return 2;
        }
        return show_it(box.path, options);
    }
    bool has_box = process.has_library && boxes_of_process(&process, &box),
         stopped = process.state == 'T';
    if ((stopped && has_box) ||
        ask_for_moment(pid, false, has_box ? PATIENCE_S : 60, &asked, &error) < 0) {
        if (!has_box) {
            tool_note("%s", error.text);
            return 2;
        }
        if (stopped)
            tool_note("process %d is stopped: this is its black box", (int)pid);
        else
            tool_note("%s: this is its black box", error.text);
        return show_it(box.path, options);
    }
    int status = show_it(asked.path, options);
    asked_drop(&asked);
    return status;
}

/* Of a process that must answer: no black box says what has leaked. */
static int of_living(pid_t pid, const struct leaks_options *options) {
    struct tool_error error;
    struct asked asked;
    if (ask_for_moment(pid, true, 60, &asked, &error) < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    int status = leaks_file(asked.path, options);
    asked_drop(&asked);
    return status;
}

/* A number that names no file is a process. */
static bool is_process(const char *word, pid_t *pid) {
    struct tool_error unused;
    return access(word, F_OK) != 0 && process_parse(word, pid, &unused) == 0;
}

static int show_it(const char *path, const void *options) {
    return show_file(path, options);
}

static int show(int argc, char **argv) {
    struct show_options options;
    struct tool_error error;
    pid_t pid;
    bool process = show_parse(argc, argv, &options, &error) == 0 && !options.help &&
                   argc - optind == 1 && is_process(argv[optind], &pid);
    int status = process ? of_process(pid, show_it, &options) : 0;
    show_end(&options);
    optind = 0; /* it is parsed again, and says what was wrong */
    return process ? status : command_show(argc, argv);
}

static int stats(int argc, char **argv) {
    struct stats_options options;
    struct tool_error error;
    pid_t pid;
    if (stats_parse(argc, argv, &options, &error) < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    if (options.help)
        return stats_help();
    return is_process(argv[optind], &pid) ? of_process(pid, stats_file, &options)
                                          : stats_file(argv[optind], &options);
}

static int leaks(int argc, char **argv) {
    struct leaks_options options;
    struct tool_error error;
    pid_t pid;
    if (leaks_parse(argc, argv, &options, &error) < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    if (options.help)
        return leaks_help();
    return is_process(argv[optind], &pid) ? of_living(pid, &options)
                                          : leaks_file(argv[optind], &options);
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", command_run}, {"ps", command_ps}, {"dump", command_dump},   {"show", show},
    {"stats", stats},     {"leaks", leaks},   {"watch", command_watch},
};

int main(int argc, char **argv) {
    tool_begin("memprof");
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print(help);
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0)
        return print("memprof " MEMPROF_VERSION "\n");
    if (*name)
        tool_note("%s: no such command; see memprof help", name);
    else
        fputs(help, stderr);
    return 2;
}
