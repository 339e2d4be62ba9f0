#include "commands/leaks.h"

#include <getopt.h>
#include <stdio.h>

#include "analyze/leaks.h"
#include "reader/dump.h"
#include "render/output.h"
#include "render/render.h"

static const char help[] =
    "usage: memprof leaks [OPTION]... PID|FILE\n"
    "Says which blocks of a process no pointer leads to, and by which stacks they were allocated:\n"
    "of a running process, whose threads are stopped for some milliseconds, or of a dump that was\n"
    "written with --leaks.\n"
    "\n"
    "  --json                 as JSON\n"
    "  --suppressions FILE    lines leak:PATTERN, as LeakSanitizer has them; may be given again\n"
    "  --min-bytes N          leave out stacks with less; N with k, m or g\n"
    "  --quiet                say nothing where there are none\n"
    "  -o, --output FILE      write there\n"
    "  --help                 show this\n"
    "\n"
    "Exit status: 0 there are none; 1 there are some; 2 there is no answer, and one line says "
    "why.\n";

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"suppressions", required_argument, NULL, 's'},
    {"min-bytes", required_argument, NULL, 'm'},
    {"quiet", no_argument, NULL, 'q'},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

int leaks_parse(int argc, char **argv, struct leaks_options *options, struct tool_error *error) {
    int option;
    *options = (struct leaks_options){0};
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
        switch (option) {
        case 'j':
            options->json = true;
            break;
        case 's':
            if (options->suppressions_count == LEAKS_SUPPRESSIONS)
                return tool_fail(error, "--suppressions: %d files are the most",
                                 LEAKS_SUPPRESSIONS);
            options->suppressions[options->suppressions_count++] = optarg;
            break;
        case 'm':
            if (!tool_parse_size(optarg, &options->min_bytes))
                return tool_fail(error, "--min-bytes %s: it is a number, with k, m or g", optarg);
            break;
        case 'q':
            options->quiet = true;
            break;
        case 'o':
            options->output = optarg;
            break;
        case 'h':
            options->help = true;
            return 0;
        case ':':
            return tool_fail(error, "%s wants a value", argv[optind - 1]);
        default:
            return tool_fail(error, "%s: no such option; see memprof leaks --help",
                             argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return tool_fail(error, "leaks: one process or dump is wanted, not %d", argc - optind);
    return 0;
}

static int print(struct leaks *leaks, const struct suppressions *suppressions,
                 const struct leaks_options *options, struct tool_error *error) {
    struct output output;
    if (output_open(&output, options->output, error) < 0)
        return -1;
    if (options->json)
        render_json_leaks(output.stream, leaks);
    else
        render_text_leaks(output.stream, leaks, suppressions, tool_colour(output.stream));
    return output_close(&output, error);
}

/* 1: there are some. */
static int find(const struct dump *dump, const struct leaks_options *options,
                struct tool_error *error) {
    struct suppressions suppressions = {0};
    struct leaks leaks;
    int result = 0;
    for (size_t i = 0; i < options->suppressions_count && result == 0; i++)
        result = suppressions_read(&suppressions, options->suppressions[i], error);
    if (result == 0)
        result = leaks_find(&leaks, dump, &suppressions, options->min_bytes, error);
    if (result == 0) {
        if (leaks.found || !options->quiet || suppressions_were_used(&suppressions))
            result = print(&leaks, &suppressions, options, error);
        if (result == 0)
            result = leaks.found > 0;
        leaks_free(&leaks);
    }
    suppressions_free(&suppressions);
    return result;
}

int leaks_file(const char *path, const void *given) {
    struct dump_error unreadable;
    struct tool_error error;
    struct dump *dump;
    if (dump_open(&dump, path, &unreadable) < 0) {
        tool_note("%s", unreadable.text);
        return 2;
    }
    int result = find(dump, given, &error);
    dump_close(dump);
    if (result >= 0)
        return result;
    tool_note("%s", error.text);
    return 2;
}

int leaks_help(void) {
    fputs(help, stdout);
    return fflush(stdout) == 0 ? 0 : 2;
}
