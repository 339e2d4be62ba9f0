/* memprof: starts programs under the library, finds those that run under it, and asks them. This is
 * the list of its commands; each has a file in commands/. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/ask.h"
#include "commands/commands.h"
#include "commands/process.h"
#include "commands/show.h"
#include "common.h"

static const char help[] =
    "usage: memprof COMMAND [ARGUMENT]...\n"
    "\n"
    "  run [OPTION]... -- PROGRAM ARGS...   run a program under memprof\n"
    "  ps                                   list the processes that run under it\n"
    "  dump PID                             have a process write a dump\n"
    "  show PID|FILE                        who holds the memory, by a dump\n"
    "  help, version                        show this, or the version\n"
    "\n"
    "memprof COMMAND --help says more. memdiff compares two dumps.\n";

static int print(const char *text) {
    fputs(text, stdout);
    return fflush(stdout) == 0 ? 0 : 2;
}

/* Of a process: a dump that is made, shown and removed. */
static int show_process(pid_t pid, const struct show_options *options) {
    struct tool_error error;
    char path[64], written[4096];
    snprintf(path, sizeof path, "/tmp/memprof-show.%d.%d.heap", (int)pid, (int)getpid());
    if (ask_dump(pid, path, 60, written, &error) < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    int status = show_file(written, options);
    unlink(written);
    return status;
}

/* A number that names no file is a process. */
static int show(int argc, char **argv) {
    struct show_options options;
    struct tool_error error;
    pid_t pid;
    bool is_process = show_parse(argc, argv, &options, &error) == 0 && !options.help &&
                      argc - optind == 1 && access(argv[optind], F_OK) != 0 &&
                      process_parse(argv[optind], &pid, &error) == 0;
    int status = is_process ? show_process(pid, &options) : 0;
    show_end(&options);
    optind = 0; /* it is parsed again, and says what was wrong */
    return is_process ? status : command_show(argc, argv);
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", command_run},
    {"ps", command_ps},
    {"dump", command_dump},
    {"show", show},
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
