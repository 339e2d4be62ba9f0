#include "commands/show.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: memprof show [OPTION]... FILE\n"
    "Shows who holds the memory of a process, by a dump of it.\n"
    "\n"
    "  --live               what was live when the dump was made (default)\n"
    "  --allocated          all that was allocated since the start, freed or not\n"
    "  --peak               what was live when the heap was at its highest\n"
    "  --mapped             what the program has mapped by mmap: resident bytes\n"
    "  --lifetimes          what was freed, how long it lived, and who freed it\n"
    "  --by WHAT            stack (default), function, module, class, node\n"
    "  --focus RE           only where a function or a module's path matches\n"
    "  --ignore RE          not where one matches\n"
    "  --min-bytes N        leave out sites with less; N with k, m or g\n"
    "  --top N              sites that the text shows: 10; 0 for all\n"
    "  --confidence C       of the intervals: 0.95\n"
    "  --format FORMAT      " RENDER_FORMATS "\n"
    "  -o, --output FILE    write there\n"
    "  --help               show this\n";

enum {
    OPTION_LIVE = VIEW_OPTION_OWN,
    OPTION_ALLOCATED,
    OPTION_PEAK,
    OPTION_MAPPED,
    OPTION_LIFETIMES
};

static const struct option long_options[] = {
    VIEW_OPTIONS,
    {"live", no_argument, NULL, OPTION_LIVE},
    {"allocated", no_argument, NULL, OPTION_ALLOCATED},
    {"peak", no_argument, NULL, OPTION_PEAK},
    {"mapped", no_argument, NULL, OPTION_MAPPED},
    {"lifetimes", no_argument, NULL, OPTION_LIFETIMES},
    {0},
};

int show_parse(int argc, char **argv, struct show_options *options, struct tool_error *error) {
    *options = (struct show_options){0};
    view_arguments_begin(&options->shared);
    options->shared.view.sort = SITE_SORT_NEW;
    opterr = 0;
    optind = 0; /* from the start: main may have used getopt before */
    int option;
    while ((option = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
        switch (option) {
        case OPTION_LIVE:
            options->shared.view.of = VIEW_LIVE;
            break;
        case OPTION_ALLOCATED:
            options->shared.view.of = VIEW_ALLOCATED;
            break;
        case OPTION_PEAK:
            options->shared.view.of = VIEW_PEAK;
            break;
        case OPTION_MAPPED:
            options->shared.view.of = VIEW_MAPPED;
            break;
        case OPTION_LIFETIMES:
            options->shared.view.of = VIEW_LIFETIMES;
            break;
        case VIEW_OPTION_HELP:
            options->help = true;
            return 0;
        case '?':
        case ':':
            return view_arguments_refuse(option, argv, error);
        default:
            if (view_arguments_take(&options->shared, option, optarg, error) < 0)
                return -1;
        }
    }
    return 0;
}

void show_end(struct show_options *options) {
    view_arguments_end(&options->shared);
}

static int show(const struct dump *dump, const struct show_options *options,
                struct tool_error *error) {
    struct view_options chosen = view_arguments_view(&options->shared);
    struct view view;
    if (view_make(&view, NULL, dump, &chosen, error) < 0)
        return -1;
    int code = view_arguments_print(&options->shared, &view, error);
    view_free(&view);
    return code;
}

int show_file(const char *path, const struct show_options *options) {
    struct tool_error error;
    struct dump_error unreadable;
    struct dump *dump;
    if (dump_open(&dump, path, &unreadable) < 0) {
        tool_note("%s", unreadable.text);
        return 2;
    }
    int code = show(dump, options, &error);
    dump_close(dump);
    if (code < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    return 0;
}

int command_show(int argc, char **argv) {
    struct show_options options;
    struct tool_error error;
    int status = 2;
    if (show_parse(argc, argv, &options, &error) < 0) {
        tool_note("%s", error.text);
    } else if (options.help) {
        status = view_arguments_help(help, &error);
        if (status)
            tool_note("%s", error.text);
    } else if (argc - optind != 1) {
        tool_note("show: one dump is wanted, not %d", argc - optind);
    } else {
        status = show_file(argv[optind], &options);
    }
    show_end(&options);
    return status;
}
