#include "commands/stats.h"

#include <getopt.h>
#include <stdio.h>

#include "reader/dump.h"
#include "render/output.h"
#include "render/render.h"

static const char help[] = "usage: memprof stats [--json] PID|FILE\n"
                           "Says what a process holds, by a dump of it: live, free and resident "
                           "memory, size classes, NUMA\n"
                           "nodes.\n"
                           "\n"
                           "  --json   as JSON\n"
                           "  --help   show this\n";

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

int stats_parse(int argc, char **argv, struct stats_options *options, struct tool_error *error) {
    int option;
    *options = (struct stats_options){0};
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == 'j')
            options->json = true;
        else if (option == 'h')
            options->help = true;
        else
            return tool_fail(error, "%s: no such option; see memprof stats --help",
                             argv[optind - 1]);
    }
    if (!options->help && argc - optind != 1)
        return tool_fail(error, "stats: one process or dump is wanted, not %d", argc - optind);
    return 0;
}

int stats_file(const char *path, const void *given) {
    const struct stats_options *options = given;
    struct dump_error unreadable;
    struct tool_error error;
    struct output output;
    struct dump *dump;
    if (dump_open(&dump, path, &unreadable) < 0) {
        tool_note("%s", unreadable.text);
        return 2;
    }
    int result = output_open(&output, NULL, &error);
    if (result == 0) {
        if (options->json)
            render_json_stats(output.stream, dump);
        else
            render_text_stats(output.stream, dump, tool_colour(output.stream));
        result = output_close(&output, &error);
    }
    dump_close(dump);
    if (result < 0)
        tool_note("%s", error.text);
    return result < 0 ? 2 : 0;
}

int stats_help(void) {
    fputs(help, stdout);
    return fflush(stdout) == 0 ? 0 : 2;
}
