/* `memprof dump`: has a running process write a dump, and prints where it is. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/ask.h"
#include "commands/commands.h"
#include "commands/process.h"
#include "common.h"

static const char help[] =
    "usage: memprof dump [OPTION]... PID\n"
    "Has a process that runs under memprof write a dump, and prints the file's path.\n"
    "\n"
    "  -o, --output FILE   write it there; else where the process's option dump says\n"
    "  --leaks             look for leaks: threads are stopped for some milliseconds\n"
    "  --timeout SECONDS   wait for so long at most: 60\n"
    "  --help              show this\n"
    "\n"
    "Exit status: 0 the dump is there; 2 it is not, and one line says why.\n";

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"leaks", no_argument, NULL, 'l'},
    {"timeout", required_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct arguments {
    const char *output;
    unsigned seconds;
    pid_t pid;
    bool leaks, help;
};

static int parse(int argc, char **argv, struct arguments *arguments, struct tool_error *error) {
    int option;
    char *end;
    opterr = 0;
    *arguments = (struct arguments){.seconds = 60};
    while ((option = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
        switch (option) {
        case 'o':
            arguments->output = optarg;
            break;
        case 'l':
            arguments->leaks = true;
            break;
        case 't':
            arguments->seconds = (unsigned)strtoul(optarg, &end, 10);
            if (*end || end == optarg || arguments->seconds < 1 || arguments->seconds > 86400)
                return tool_fail(error, "--timeout %s: it is 1 to 86400 seconds", optarg);
            break;
        case 'h':
            arguments->help = true;
            return 0;
        case ':':
            return tool_fail(error, "%s wants a value", argv[optind - 1]);
        default:
            return tool_fail(error, "%s: no such option; see memprof dump --help",
                             argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return tool_fail(error, "dump wants the number of one process");
    return process_parse(argv[optind], &arguments->pid, error);
}

/* As the process will understand it, wherever it stands. */
static int make_absolute(const char *path, char out[4096], struct tool_error *error) {
    char here[4096];
    if (*path == '/')
        here[0] = '\0';
    else if (!getcwd(here, sizeof here - 1))
        return tool_fail(error, "the working directory: %s", strerror(errno));
    else
        strcat(here, "/");
    if (!*path)
        return tool_fail(error, "--output wants a name");
    if (snprintf(out, 4096, "%s%s", here, path) >= 4096)
        return tool_fail(error, "--output: the path is too long: %zu bytes", strlen(path));
    return 0;
}

int command_dump(int argc, char **argv) {
    struct tool_error error;
    struct arguments arguments;
    char path[4096], written[4096];
    int result = parse(argc, argv, &arguments, &error);
    if (result == 0 && arguments.help) {
        fputs(help, stdout);
        return fflush(stdout) == 0 ? 0 : 2;
    }
    if (result == 0 && arguments.output)
        result = make_absolute(arguments.output, path, &error);
    if (result == 0)
        result = ask_dump(arguments.pid, arguments.output ? path : NULL, arguments.leaks,
                          arguments.seconds, written, &error);
    if (result < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    puts(written);
    return fflush(stdout) == 0 ? 0 : 2;
}
