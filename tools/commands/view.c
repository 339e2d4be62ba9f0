#include "commands/view.h"

#include <stdlib.h>
#include <string.h>

#include "render/output.h"

void view_arguments_begin(struct view_arguments *arguments) {
    *arguments = (struct view_arguments){
        .view = {.confidence = 0.95},
        .render = {.top = 10},
    };
}

void view_arguments_end(struct view_arguments *arguments) {
    if (arguments->has_focus)
        regfree(&arguments->focus);
    if (arguments->has_ignore)
        regfree(&arguments->ignore);
    arguments->has_focus = arguments->has_ignore = false;
}

/* The last one counts, as with any option. */
static int take_regex(const char *option, const char *value, regex_t *regex, bool *has,
                      struct tool_error *error) {
    if (*has)
        regfree(regex);
    *has = view_parse_regex(option, value, regex, error) == 0;
    return *has ? 0 : -1;
}

int view_arguments_take(struct view_arguments *arguments, int option, const char *value,
                        struct tool_error *error) {
    struct view_options *view = &arguments->view;
    uint64_t number;
    switch (option) {
    case VIEW_OPTION_BY:
        if (!site_parse_by(value, &view->by))
            return tool_fail(error, "--by %s: it is " SITE_BY_NAMES, value);
        return 0;
    case VIEW_OPTION_FOCUS:
        return take_regex("--focus", value, &arguments->focus, &arguments->has_focus, error);
    case VIEW_OPTION_IGNORE:
        return take_regex("--ignore", value, &arguments->ignore, &arguments->has_ignore, error);
    case VIEW_OPTION_MIN_BYTES:
        if (!tool_parse_size(value, &view->min_bytes))
            return tool_fail(error, "--min-bytes %s: it is a number, with k, m or g behind it",
                             value);
        return 0;
    case VIEW_OPTION_CONFIDENCE:
        if (!tool_parse_confidence(value, &view->confidence))
            return tool_fail(error, "--confidence %s: it is a number between 0.5 and 1", value);
        return 0;
    case VIEW_OPTION_FORMAT:
        if (!render_parse_format(value, &arguments->render.format))
            return tool_fail(error, "--format %s: it is one of " RENDER_FORMATS, value);
        return 0;
    case VIEW_OPTION_TOP:
        if (!tool_parse_size(value, &number))
            return tool_fail(error, "--top %s: it is a number, 0 for all", value);
        arguments->render.top = (size_t)number;
        return 0;
    case 'o':
        arguments->output = value;
        return 0;
    default:
        abort(); /* an option that is in a table and nowhere else */
    }
}

int view_arguments_refuse(int option, char **argv, struct tool_error *error) {
    /* A long option is named by its argument; a short one may share that with others. */
    const char *word = argv[optind - 1];
    if (option == ':' && optopt == 'o')
        return tool_fail(error, "-o: a file is missing");
    if (option == ':')
        return tool_fail(error, "%s: its value is missing", word);
    if (optopt > 0 && optopt < VIEW_OPTION_BY)
        return tool_fail(error, "-%c: there is no such option (--help lists them)", optopt);
    if (optopt != 0)
        return tool_fail(error, "%s: it takes no value", word);
    return tool_fail(error, "%s: there is no such option (--help lists them)", word);
}

int view_arguments_help(const char *text, struct tool_error *error) {
    struct output output;
    if (output_open(&output, NULL, error) < 0)
        return 2;
    fputs(text, output.stream);
    return output_close(&output, error) < 0 ? 2 : 0;
}

struct view_options view_arguments_view(const struct view_arguments *arguments) {
    struct view_options view = arguments->view;
    view.focus = arguments->has_focus ? &arguments->focus : NULL;
    view.ignore = arguments->has_ignore ? &arguments->ignore : NULL;
    return view;
}

int view_arguments_print(const struct view_arguments *arguments, struct view *view,
                         struct tool_error *error) {
    struct output output;
    struct render_options options = arguments->render;
    if (output_open(&output, arguments->output, error) < 0)
        return -1;
    options.colour = tool_colour(output.stream);
    render(output.stream, view, &options);
    return output_close(&output, error);
}
