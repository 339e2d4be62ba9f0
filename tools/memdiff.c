/* memdiff: what has grown between two dumps, and who holds it. This is its command line; what it
 * finds is analyze/diff.c's, and what it prints render/'s. */
#include <stdio.h>
#include <string.h>

#include "analyze/totals.h"
#include "commands/view.h"
#include "common.h"

static const char help[] =
    "usage: memdiff [OPTION]... OLD NEW\n"
    "Compares two dumps of memprof and names the sites whose memory has grown.\n"
    "\n"
    "  --by WHAT            stack (default), function, module, class, node\n"
    "  --sort WHAT          growth (default), bytes, objects, new, old\n"
    "  --focus RE           only where a function or a module's path matches\n"
    "  --ignore RE          not where one matches\n"
    "  --min-bytes N        leave out sites that changed by less; N with k, m or g\n"
    "  --top N              sites that the text shows: 10; 0 for all\n"
    "  --confidence C       of intervals and verdicts: 0.95\n"
    "  --fail-on EXPR       exit with 1 if it holds and with 0 if not: 'growth>1m',\n"
    "                       'rss>10%', 'objects>1000'\n"
    "  --format FORMAT      " RENDER_FORMATS "\n"
    "  -o, --output FILE    write there\n"
    "  --help, --version    show this, or the version\n"
    "\n"
    "Exit status: 0 nothing grows; 1 a site grows, or what --fail-on names; 2 trouble.\n";

enum { OPTION_SORT = VIEW_OPTION_OWN, OPTION_FAIL_ON, OPTION_VERSION };

static const struct option long_options[] = {
    VIEW_OPTIONS,
    {"sort", required_argument, NULL, OPTION_SORT},
    {"fail-on", required_argument, NULL, OPTION_FAIL_ON},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

struct arguments {
    struct view_arguments shared;
    struct fail_on limit;
    bool has_limit;
    const char *text; /* to print and nothing else; NULL: the work is to be done */
};

static int parse(int argc, char **argv, struct arguments *arguments, struct tool_error *error) {
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
        switch (option) {
        case OPTION_SORT:
            if (!site_parse_sort(optarg, &arguments->shared.view.sort))
                return tool_fail(error, "--sort %s: it is growth, bytes, objects, new or old",
                                 optarg);
            break;
        case OPTION_FAIL_ON:
            if (fail_on_parse(optarg, &totals_rules, &arguments->limit, error) < 0)
                return -1;
            arguments->has_limit = true;
            break;
        case OPTION_VERSION:
            arguments->text = "memdiff " MEMPROF_VERSION "\n";
            return 0;
        case VIEW_OPTION_HELP:
            arguments->text = help;
            return 0;
        case '?':
        case ':':
            return view_arguments_refuse(option, argv, error);
        default:
            if (view_arguments_take(&arguments->shared, option, optarg, error) < 0)
                return -1;
        }
    }
    int files = argc - optind;
    if (files < 2)
        return tool_fail(error, "two dumps are wanted, not %d (--help says more)", files);
    if (files > 2)
        return tool_fail(error, "more than two dumps cannot be compared yet");
    return 0;
}

static void remark(const struct dump *old, const struct dump *new) {
    if (!sites_same_process(old, new))
        tool_note("the dumps are of different processes (%u and %u): sites are matched by their "
                  "code, and no block is known to be the same",
                  old->process->pid, new->process->pid);
    else if (new->process->time_ns < old->process->time_ns)
        tool_note("%s was written before %s: are they the wrong way round?", new->path, old->path);
}

/* The exit status, or -1 with the error. */
static int compare(const struct dump *old, const struct dump *new,
                   const struct arguments *arguments, struct tool_error *error) {
    struct view_options options = view_arguments_view(&arguments->shared);
    struct view view;
    if (view_make(&view, old, new, &options, error) < 0)
        return -1;
    if (view.sites.blind)
        tool_note("sites of a program whose builds differ are matched by names, and some have "
                  "none: they are not judged");
    int status = view.growing > 0;
    if (arguments->has_limit)
        status = totals_exceed(&arguments->limit, old, new, error);
    if (status >= 0 && view_arguments_print(&arguments->shared, &view, error) < 0)
        status = -1;
    view_free(&view);
    return status;
}

static int work(char **paths, const struct arguments *arguments, struct tool_error *error) {
    struct dump *dumps[2];
    struct dump_error unreadable;
    for (int i = 0; i < 2; i++) {
        if (dump_open(&dumps[i], paths[i], &unreadable) < 0) {
            while (i-- > 0)
                dump_close(dumps[i]);
            return tool_fail(error, "%s", unreadable.text);
        }
    }
    remark(dumps[0], dumps[1]);
    int status = compare(dumps[0], dumps[1], arguments, error);
    dump_close(dumps[0]);
    dump_close(dumps[1]);
    return status;
}

int main(int argc, char **argv) {
    struct arguments arguments = {0};
    struct tool_error error;
    tool_begin("memdiff");
    view_arguments_begin(&arguments.shared);
    int status = parse(argc, argv, &arguments, &error);
    if (status == 0 && arguments.text)
        status = view_arguments_help(arguments.text, &error) ? -1 : 0;
    else if (status == 0)
        status = work(argv + optind, &arguments, &error);
    view_arguments_end(&arguments.shared);
    if (status < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    return status;
}
