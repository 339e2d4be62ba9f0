/* `memprof run`: starts a program under the library. It becomes that program, so its status and
 * signals are the program's own. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "common.h"

#ifndef MEMPROF_LIBRARY
#define MEMPROF_LIBRARY "/usr/local/lib/libmemprof.so"
#endif

static const char help[] =
    "usage: memprof run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
    "Runs a program under memprof.\n"
    "\n"
    "  --rate R          mean bytes between samples: auto, 1 (every allocation), or a size\n"
    "  --dump PATH       write a dump there when the program ends; %p stands for its pid\n"
    "  -o KEY=VALUE      any option of the library (memprof run -o help=1 true lists them)\n"
    "  --help            show this\n"
    "\n"
    "The exit status is the program's; 2 for a mistake here, 126 or 127 if it cannot be run.\n";

/* The library beside this program: in the build tree, or where both were installed. */
static char *find_library(struct tool_error *error) {
    static const char *const places[] = {"../src/libmemprof.so", "../lib/libmemprof.so",
                                         "libmemprof.so"};
    char self[3072], path[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%.*s/%s", (int)(slash - self), self, places[i]);
        char *real = realpath(path, NULL);
        if (real)
            return real;
    }
    if (access(MEMPROF_LIBRARY, R_OK) == 0)
        return tool_copy(MEMPROF_LIBRARY);
    tool_fail(error, "libmemprof.so is neither beside this program nor at " MEMPROF_LIBRARY);
    return NULL;
}

/* Appends KEY=VALUE; a value with a separator in it is quoted. */
static int add_option(struct tool_text *options, const char *key, size_t key_length,
                      const char *value, struct tool_error *error) {
    const char *quote = !strpbrk(value, ":,'\"") ? "" : !strchr(value, '"') ? "\"" : "'";
    if (*quote && strchr(value, *quote))
        return tool_fail(error, "a value with both kinds of quotes: %s", value);
    if (options->length)
        tool_text_add(options, ":", 1);
    tool_text_add(options, key, key_length);
    tool_text_add(options, "=", 1);
    tool_text_add(options, quote, strlen(quote));
    tool_text_add(options, value, strlen(value));
    tool_text_add(options, quote, strlen(quote));
    return 0;
}

enum { OPTION_RATE = 256, OPTION_DUMP, OPTION_HELP };

static const struct option long_options[] = {
    {"rate", required_argument, NULL, OPTION_RATE},
    {"dump", required_argument, NULL, OPTION_DUMP},
    {"option", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

/* 0; -1 with the error; 1: the help was asked for. */
static int parse(int argc, char **argv, struct tool_text *options, struct tool_error *error) {
    int option, result = 0;
    opterr = 0;
    /* +: what follows the program's name is the program's. */
    while (result == 0 && (option = getopt_long(argc, argv, "+:o:", long_options, NULL)) != -1) {
        const char *equals;
        switch (option) {
        case OPTION_RATE:
            result = add_option(options, "rate", 4, optarg, error);
            break;
        case OPTION_DUMP:
            result = add_option(options, "dump", 4, optarg, error);
            if (result == 0)
                result = add_option(options, "dump_exit", 9, "1", error);
            break;
        case 'o':
            equals = strchr(optarg, '=');
            if (!equals || equals == optarg)
                return tool_fail(error, "-o %s: it is KEY=VALUE", optarg);
            result = add_option(options, optarg, (size_t)(equals - optarg), equals + 1, error);
            break;
        case OPTION_HELP:
            return 1;
        case ':':
            return tool_fail(error, "%s wants a value", argv[optind - 1]);
        default:
            return tool_fail(error, "%s: no such option; see memprof run --help", argv[optind - 1]);
        }
    }
    if (result == 0 && optind == argc)
        return tool_fail(error, "run: which program? See memprof run --help");
    return result;
}

/* The variable, with `first` before what it has. */
static void prepend(const char *name, const char *first, const char *separator, bool last) {
    const char *old = getenv(name);
    struct tool_text text = {0};
    bool both = old && *old && *first;
    const char *a = last ? (old ? old : "") : first, *b = last ? first : (old ? old : "");
    tool_text_add(&text, a, strlen(a));
    tool_text_add(&text, separator, both ? strlen(separator) : 0);
    tool_text_add(&text, b, strlen(b));
    tool_text_add(&text, "", 1);
    if (*text.at)
        setenv(name, text.at, 1);
    tool_text_free(&text);
}

int command_run(int argc, char **argv) {
    struct tool_error error;
    struct tool_text options = {0};
    int parsed = parse(argc, argv, &options, &error);
    if (parsed > 0) {
        fputs(help, stdout);
        return fflush(stdout) == 0 ? 0 : 2;
    }
    char *library = parsed == 0 ? find_library(&error) : NULL;
    if (!library) {
        tool_note("%s", error.text);
        tool_text_free(&options);
        return 2;
    }
    tool_text_add(&options, "", 1);
    prepend("LD_PRELOAD", library, ":", false);
    prepend("MEMPROF_OPTIONS", options.at, ":", true); /* what is said here comes last, and wins */
    execvp(argv[optind], argv + optind);
    int reason = errno;
    tool_note("%s: %s", argv[optind], strerror(reason));
    return reason == ENOENT ? 127 : 126;
}
