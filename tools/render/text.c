/* The answer for people: a headline, then the sites in order, each under the function that is most
 * to blame for it, with its stack, innermost first. */
#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "analyze/totals.h"
#include "render/output.h"
#include "render/render.h"

enum {
    STACK_SHOWN = 24, /* frames; deeper ones are counted */
    NAME_SHOWN = 90,  /* bytes */
};

struct page {
    FILE *stream;
    struct view *view;
    bool colour;
};

static void colour(const struct page *page, const char *code) {
    if (page->colour)
        fprintf(page->stream, "\033[%sm", code);
}

static void coloured(const struct page *page, const char *code, const char *text) {
    colour(page, code);
    fputs(text, page->stream);
    colour(page, "0");
}

static void clean(const struct page *page, const char *text) {
    output_clean(page->stream, text);
}

/* ---- the headline ---- */

static void moment(char *out, size_t size, uint64_t time_ns) {
    struct tm parts;
    time_t time = (time_t)(time_ns / 1000000000u);
    if (!localtime_r(&time, &parts) || strftime(out, size, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        snprintf(out, size, "an unknown time");
}

static void sampling(const struct page *page, const struct memprof_dump_process *process) {
    char number[TOOL_NUMBER];
    if (process->rate == 0)
        fputs("nothing was sampled (rate=0)", page->stream);
    else if (process->rate == 1)
        fputs("every allocation was recorded", page->stream);
    else
        fprintf(page->stream, "one sample per %s on average",
                tool_bytes(number, (double)process->rate, false));
}

static void change(const struct page *page, const char *name, uint64_t old, uint64_t new) {
    char a[TOOL_NUMBER], b[TOOL_NUMBER], c[TOOL_NUMBER];
    fprintf(page->stream, "  %-5s %10s -> %10s  (%s)", name, tool_bytes(a, (double)old, false),
            tool_bytes(b, (double)new, false),
            old == new ? "no change" : tool_bytes(c, (double)new - (double)old, true));
}

static void parts(const struct page *page, const struct dump *dump) {
    struct rss_parts rss = totals_rss(dump);
    char number[TOOL_NUMBER], word[2 * TOOL_NUMBER];
    int column = 0;
    if (rss.total == 0)
        return;
    for (size_t i = 0; i + 1 < RSS_NAMES; i++) {
        uint64_t part = totals_rss_part(&rss, i);
        if (part == 0)
            continue;
        int length = snprintf(word, sizeof word, "%s %s", totals_rss_names[i].name,
                              tool_bytes(number, (double)part, false));
        const char *before = column == 0 ? "        of it " : ", ";
        if (column + length > 84) {
            before = ",\n              ";
            column = 0;
        }
        column += fprintf(page->stream, "%s%s", before, word);
    }
    fputc('\n', page->stream);
}

/* By node: what each has of the process. */
static void nodes(const struct page *page, const struct dump *dump) {
    char cells[5][TOOL_NUMBER];
    if (dump->node_count == 0) {
        fputs("\nThe machine has one NUMA node.\n", page->stream);
        return;
    }
    fprintf(page->stream, "\n  %-8s %12s %12s %12s %12s %16s\n", "node", "heap", "mapped", "live",
            "misplaced", "freed elsewhere");
    for (size_t i = 0; i < dump->node_count; i++) {
        const struct memprof_dump_node *node = &dump->nodes[i];
        bool home = node->flags & MEMPROF_NODE_HOME;
        tool_bytes(cells[0], (double)node->heap_bytes, false);
        tool_bytes(cells[1], (double)node->block_bytes, false);
        tool_bytes(cells[2], (double)node->live_bytes, false);
        tool_bytes(cells[3], (double)node->misplaced_bytes, false);
        tool_bytes(cells[4], (double)node->remote_freed_bytes, false);
        fprintf(page->stream, "  %-8u %12s %12s %12s %12s %16s\n", node->node, cells[0], cells[1],
                home ? cells[2] : "-",
                home && node->misplaced_bytes != MEMPROF_NODE_UNKNOWN ? cells[3] : "-",
                home ? cells[4] : "-");
    }
}

static void head_of_two(const struct page *page) {
    const struct view *view = page->view;
    const struct memprof_dump_process *old = view->old->process, *new = view->new->process;
    char a[TOOL_NUMBER], b[TOOL_NUMBER];
    colour(page, "1");
    clean(page, dump_text(view->new, new->exe));
    colour(page, "0");
    if (view->sites.same_process && new->time_ns >= old->time_ns)
        fprintf(page->stream, ", pid %u, %s apart", new->pid,
                tool_duration(a, (double)(new->time_ns - old->time_ns) / 1e9));
    else if (view->sites.same_process)
        fprintf(page->stream, ", pid %u", new->pid);
    else
        fprintf(page->stream, ", pid %u and then pid %u", old->pid, new->pid);
    fputs("; ", page->stream);
    sampling(page, new);
    fputc('\n', page->stream);
    change(page, "live", old->live_bytes, new->live_bytes);
    fprintf(page->stream, "  in %s -> %s blocks\n", tool_count(a, (double)old->live_objects, false),
            tool_count(b, (double)new->live_objects, false));
    change(page, "rss", old->rss_bytes, new->rss_bytes);
    fputc('\n', page->stream);
    parts(page, view->new);
    if (view->options.by == SITE_BY_NODE)
        nodes(page, view->new);
}

/* What a black box cannot know, and how sure it is of the rest. */
static void source(const struct page *page, const struct dump *dump, const char *indent) {
    const struct dump_box *box = &dump->box;
    char a[TOOL_NUMBER];
    if (!box->is_box)
        return;
    fprintf(page->stream, "  from%s  its black box; ", indent);
    fputs(box->is_unknown   ? "the process is not seen from here"
          : box->is_running ? "the process runs"
          : box->has_ended  ? "the process has come to its end"
                            : "the process is no more, and did not come to a normal end",
          page->stream);
    if (box->torn)
        fprintf(page->stream, "; %u stacks were being written", box->torn);
    if (box->unmirrored)
        fprintf(page->stream, "; %s records had no room in it",
                tool_count(a, (double)box->unmirrored, false));
    fputc('\n', page->stream);
}

/* Counted: in a dump when it was made, in a black box some time before the last sample. */
static void live(const struct page *page, const struct dump *dump, const char *indent) {
    const struct memprof_dump_process *process = dump->process;
    struct totals_of_stacks totals = totals_stacks(dump);
    char a[TOOL_NUMBER], b[TOOL_NUMBER];
    fprintf(page->stream, "  live%s  %s in %s blocks", indent,
            tool_bytes(a, (double)process->live_bytes, false),
            tool_count(b, (double)process->live_objects, false));
    if (dump->box.is_box && dump->box.figures_age_ns > 0)
        fprintf(page->stream, " when last counted, %s before; some %s at the last sample",
                tool_duration(b, (double)dump->box.figures_age_ns / 1e9),
                tool_bytes(a, fmax(totals.allocated - totals.freed, 0), false));
}

static void resident(const struct page *page, const struct dump *dump, const char *indent) {
    char a[TOOL_NUMBER];
    bool known = !dump->box.is_box || dump->box.is_running;
    fprintf(page->stream, "  rss%s   %s\n", indent,
            known ? tool_bytes(a, (double)dump->process->rss_bytes, false) : "not known");
}

static void head_of_one(const struct page *page) {
    static const char *const titles[] = {
        [VIEW_LIVE] = "Who holds the live memory:",
        [VIEW_ALLOCATED] = "Allocated since the start, freed or not:",
        [VIEW_PEAK] = "Who held the memory at the peak:",
        [VIEW_MAPPED] = "Mapped by the program itself (what is resident of it):",
        [VIEW_LIFETIMES] = "Freed since the start:",
    };
    const struct view *view = page->view;
    const struct memprof_dump_process *process = view->new->process;
    char a[TOOL_NUMBER], b[TOOL_NUMBER], when[64];
    moment(when, sizeof when, process->time_ns);
    colour(page, "1");
    clean(page, dump_text(view->new, process->exe));
    colour(page, "0");
    fprintf(page->stream, ", pid %u, %s, %s after its start; ", process->pid, when,
            tool_duration(a, (double)process->uptime_ns / 1e9));
    sampling(page, process);
    fputc('\n', page->stream);
    source(page, view->new, "");
    live(page, view->new, "");
    fputc('\n', page->stream);
    resident(page, view->new, "");
    if (process->peak_bytes > 0)
        fprintf(page->stream, "  peak  %s (estimate), %s before\n",
                tool_bytes(a, (double)process->peak_bytes, false),
                tool_duration(b, (double)process->peak_age_ns / 1e9));
    parts(page, view->new);
    if (view->options.by == SITE_BY_NODE)
        nodes(page, view->new);
    fprintf(page->stream, "\n%s\n", titles[view->options.of]);
}

/* ---- a site ---- */

/* "file.c:42", without the folders: the stack has room for names, not for paths. */
static void place(const struct page *page, const struct frame *frame) {
    const char *slash = frame->file ? strrchr(frame->file, '/') : NULL;
    if (!frame->file)
        return;
    clean(page, slash ? slash + 1 : frame->file);
    if (frame->line)
        fprintf(page->stream, ":%u", frame->line);
}

/* A function's name, cut where C++ lets it run over the lines; other formats have it whole. */
static void short_name(struct tool_text *text, const struct frame *frame) {
    render_name(text, frame);
    if (text->length <= NAME_SHOWN)
        return;
    text->length = NAME_SHOWN - 3;
    while (text->length > 0 && ((unsigned char)text->at[text->length] & 0xc0) == 0x80)
        text->length--; /* not within a character */
    tool_text_add(text, "...", 3);
}

static void name(const struct page *page, const struct frame *frame) {
    struct tool_text text = {0};
    short_name(&text, frame);
    clean(page, text.at);
    tool_text_free(&text);
}

/* How many columns it takes, near enough. */
static int width(const struct frame *frame) {
    struct tool_text text = {0};
    short_name(&text, frame);
    int length = (int)text.length;
    tool_text_free(&text);
    return length;
}

static void stack(const struct page *page, const struct site *site,
                  const struct frame_list *frames) {
    size_t first, end;
    int widest = 0;
    blame_trim(frames, &first, &end);
    size_t shown = end - first > STACK_SHOWN ? first + STACK_SHOWN : end;
    for (size_t i = first; i < shown; i++) {
        int columns = width(&frames->at[i]);
        if (columns <= 40 && columns > widest)
            widest = columns;
    }
    for (size_t i = first; i < shown; i++) {
        const struct frame *frame = &frames->at[i];
        fputs("      ", page->stream);
        name(page, frame);
        if (frame->file || frame->inlined) {
            int columns = width(frame);
            fprintf(page->stream, "%*s", columns < widest ? widest - columns + 2 : 2, "");
            place(page, frame);
        }
        if (frame->inlined)
            fputs(frame->file ? " (inlined)" : "(inlined)", page->stream);
        fputc('\n', page->stream);
    }
    if (shown < end)
        fprintf(page->stream, "      ... and %zu more frames\n", end - shown);
    const struct memprof_dump_stack *record = &site->dump->stacks[site->stack];
    if (record->flags & MEMPROF_STACK_CUT)
        fputs("      ... and what is deeper than the profile keeps\n", page->stream);
    if (record->flags & MEMPROF_STACK_BROKEN)
        fputs("      ... and what could not be unwound\n", page->stream);
}

static void title(const struct page *page, const struct site *site,
                  const struct frame_list *frames) {
    char class[TOOL_NUMBER];
    if (page->view->options.by == SITE_BY_CLASS) {
        coloured(page, "1", render_class(class, site->class_size));
        return;
    }
    if (frames->count == 0) {
        fputs("an unknown function", page->stream);
        return;
    }
    const struct frame *blamed = &frames->at[blame_find(frames)];
    if (page->view->options.by == SITE_BY_MODULE) {
        colour(page, "1");
        clean(page, blamed->module ? blamed->module->path : "unknown");
        colour(page, "0");
        return;
    }
    if (page->view->options.by == SITE_BY_NODE)
        fprintf(page->stream, "on node %u, ", site->node);
    fputs("in ", page->stream);
    colour(page, "1");
    name(page, blamed);
    colour(page, "0");
    if (blamed->file) {
        fputs(" (", page->stream);
        place(page, blamed);
        fputs(")", page->stream);
    } else if (blamed->function && blamed->module) {
        fputs(" (", page->stream);
        clean(page, blamed->module->base);
        fputs(")", page->stream);
    }
}

/* "freed: 12.0 MiB by threads on node 1 (75 %)": since the start, or between two dumps of one
 * process. */
static void freed(const struct page *page, const struct site *site) {
    bool between = page->view->old && page->view->sites.same_process;
    char number[TOOL_NUMBER];
    double all = 0;
    bool any = false;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < site->freed_count; i++) {
            const struct site_freed *freed = &site->freed[i];
            double bytes = freed->pile[SITE_NEW].bytes;
            if (between)
                bytes -= freed->pile[SITE_OLD].bytes;
            if (pass == 0)
                all += bytes;
            if (pass == 0 || bytes <= 0)
                continue;
            fprintf(page->stream, "%s%s by threads on node %u (%.0f %%)",
                    any       ? ", "
                    : between ? "    freed in between: "
                              : "    freed: ",
                    tool_bytes(number, bytes, false), freed->on, 100 * bytes / all);
            any = true;
        }
    }
    if (any)
        fputc('\n', page->stream);
}

/* "1.5 us" */
static const char *lifetime(char out[TOOL_NUMBER], double ns) {
    static const char *const units[] = {"ns", "us", "ms"};
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++, ns /= 1000) {
        if (ns < 999.5) {
            snprintf(out, TOOL_NUMBER, "%.3g %s", ns, units[i]);
            return out;
        }
    }
    return tool_duration(out, ns);
}

/* "lived: half of them up to 1.5 ms, 90 % up to 6 ms, all up to 100 ms; 75 % freed by others" */
static void lifetimes(const struct page *page, const struct site *site) {
    const struct site_lifetimes *lived = site->lifetimes;
    char half[TOOL_NUMBER], most[TOOL_NUMBER], all[TOOL_NUMBER];
    double objects = site->live[SITE_NEW].objects;
    if (!lived)
        return;
    fprintf(page->stream, "    lived: half of them up to %s, 90 %% up to %s, all up to %s",
            lifetime(half, sites_lived(lived, 0.5)), lifetime(most, sites_lived(lived, 0.9)),
            lifetime(all, sites_lived(lived, 1)));
    if (lived->elsewhere > 0)
        fprintf(page->stream, "; %.0f %% freed by other threads", 100 * lived->elsewhere / objects);
    if (lived->resized > 0)
        fprintf(page->stream, "; %.0f %% by realloc", 100 * lived->resized / objects);
    fputc('\n', page->stream);
}

static bool is_exact(const struct render_figures *figures) {
    return figures->low == figures->bytes && figures->high == figures->bytes;
}

/* "(1.0 to 1.4 MiB)": the unit once where it is the same. */
static void interval(const struct page *page, const struct render_figures *figures, bool sign) {
    char low[TOOL_NUMBER], high[TOOL_NUMBER];
    if (is_exact(figures)) {
        fputs(" exactly", page->stream);
        return;
    }
    tool_bytes(low, (double)figures->low, sign);
    tool_bytes(high, (double)figures->high, sign);
    char *unit = strchr(low, ' ');
    if (unit && strcmp(unit, strchr(high, ' ')) == 0)
        *unit = '\0';
    fprintf(page->stream, " (%s to %s)", low, high);
}

static void site_of_two(const struct page *page, const struct site *site,
                        const struct frame_list *frames) {
    static const char *const codes[] = {"1;31", "31", "33", "2", "32", "2"};
    struct render_figures figures = render_figures(page->view, site);
    char a[TOOL_NUMBER], b[TOOL_NUMBER];
    fputc('\n', page->stream);
    coloured(page, codes[site->verdict], site_verdict_name(site->verdict));
    fprintf(page->stream, "  %s", tool_bytes(a, (double)figures.bytes, true));
    interval(page, &figures, true);
    fprintf(page->stream, "  %s objects  ", tool_count(a, (double)figures.objects, true));
    title(page, site, frames);
    fprintf(page->stream, "\n    %s -> %s\n", tool_bytes(a, (double)figures.old_bytes, false),
            tool_bytes(b, (double)figures.new_bytes, false));
}

static void site_of_one(const struct page *page, const struct site *site,
                        const struct frame_list *frames, double all) {
    struct render_figures figures = render_figures(page->view, site);
    char a[TOOL_NUMBER], b[TOOL_NUMBER];
    fprintf(page->stream, "\n%s", tool_bytes(a, (double)figures.bytes, false));
    interval(page, &figures, false);
    if (all > 0)
        fprintf(page->stream, "  %.1f %%", 100 * (double)figures.bytes / all);
    if (page->view->options.of == VIEW_MAPPED)
        fprintf(page->stream, " of %s  %s regions  ", tool_bytes(b, site->mapped_bytes, false),
                tool_count(a, (double)figures.objects, false));
    else
        fprintf(page->stream, "  %s objects  ", tool_count(a, (double)figures.objects, false));
    title(page, site, frames);
    fputc('\n', page->stream);
}

/* ---- all of it ---- */

static void rest(const struct page *page, size_t shown, size_t steady) {
    const struct view *view = page->view;
    size_t more = view->count - shown - steady;
    if (more > 0 || steady > 0)
        fputc('\n', page->stream);
    if (more > 0)
        fprintf(page->stream, "%zu more %s not shown (--top 0 shows all).\n", more,
                more == 1 ? "site is" : "sites are");
    if (steady > 0)
        fprintf(page->stream, "%zu %s not changed.\n", steady,
                steady == 1 ? "site has" : "sites have");
}

/* What of the live memory is no site's. */
static void besides(const struct page *page) {
    const struct calibration *calibration = &page->view->calibration;
    char a[TOOL_NUMBER], b[TOOL_NUMBER];
    if (!calibration->done)
        return;
    fprintf(page->stream, "\nBesides, %s by which blocks are rounded up",
            tool_bytes(a, fmax(calibration->rounding_bytes, 0), false));
    if (calibration->unsampled_objects > 0)
        fprintf(page->stream, ", and %s in %s blocks of sizes without a sample",
                tool_bytes(a, calibration->unsampled_bytes, false),
                tool_count(b, calibration->unsampled_objects, false));
    fputs(".\n", page->stream);
}

static void nothing(const struct page *page) {
    const struct view *view = page->view;
    bool chosen = view->options.focus || view->options.ignore || view->options.min_bytes;
    if (view->new->process->rate == 0 && view->sites.count == 0)
        fputs("\nNo stacks: the program ran with rate=0. --by class needs none.\n", page->stream);
    else if (chosen)
        fputs("\nNo site is left by the options that choose.\n", page->stream);
    else
        fputs(view->options.of == VIEW_LIVE ? "\nNo site: no sampled block is live.\n"
                                            : "\nNo site: of that the dump has nothing.\n",
              page->stream);
}

static void verdict(const struct page *page) {
    const struct view *view = page->view;
    if (view->growing > 0)
        fprintf(page->stream, "\n%zu %s growing, at a confidence of %g %%.\n", view->growing,
                view->growing == 1 ? "site is" : "sites are", 100 * view->options.confidence);
    else
        fprintf(page->stream, "\nNo site is growing, at a confidence of %g %%.\n",
                100 * view->options.confidence);
}

void render_text(FILE *stream, struct view *view, const struct render_options *options) {
    struct page page = {.stream = stream, .view = view, .colour = options->colour};
    size_t shown = 0, steady = 0, most = options->top ? options->top : view->count;
    double all = 0;
    if (view->old)
        head_of_two(&page);
    else
        head_of_one(&page);
    for (size_t i = 0; i < view->count; i++)
        all += view->order[i]->new_bytes;
    for (size_t i = 0; i < view->count; i++) {
        const struct site *site = view->order[i];
        if (view->old && site->verdict == SITE_STEADY) {
            steady++;
            continue;
        }
        if (shown == most)
            continue;
        shown++;
        const struct frame_list *frames = sites_frames(&view->sites, site);
        if (view->old)
            site_of_two(&page, site, frames);
        else
            site_of_one(&page, site, frames, all);
        if (view->options.by == SITE_BY_NODE)
            freed(&page, site);
        if (view->options.of == VIEW_LIFETIMES)
            lifetimes(&page, site);
        if (sites_are_stacks(view->options.by))
            stack(&page, site, frames);
    }
    rest(&page, shown, steady);
    besides(&page);
    if (view->count == 0)
        nothing(&page);
    if (view->old)
        verdict(&page);
}

/* ---- a process, without its stacks ---- */

static void class_table(const struct page *page, const struct dump *dump) {
    struct class_row *rows;
    size_t count = totals_classes(NULL, dump, &rows);
    char cells[4][TOOL_NUMBER];
    fprintf(page->stream, "\n  %-12s %10s %14s %12s %12s\n", "blocks of", "pages", "live", "in all",
            "stranded");
    for (size_t i = 0; i < count; i++) {
        const struct memprof_dump_class *class = &rows[i].new;
        if (rows[i].size > 0)
            snprintf(cells[0], TOOL_NUMBER, "%llu", (unsigned long long)rows[i].size);
        else
            snprintf(cells[0], TOOL_NUMBER, "%s", totals_class_name(rows[i].kind));
        fprintf(page->stream, "  %-12s %10s %14s %12s %12s\n", cells[0],
                tool_count(cells[1], (double)class->pages, false),
                tool_count(cells[2], (double)class->live_objects, false),
                tool_bytes(cells[3], (double)class->live_bytes, false),
                tool_bytes((char[TOOL_NUMBER]){0}, (double)class->stranded_bytes, false));
    }
    free(rows);
}

void render_text_stats(FILE *stream, const struct dump *dump, bool colour_too) {
    const struct memprof_dump_process *process = dump->process;
    struct page page = {.stream = stream, .colour = colour_too};
    struct totals_of_stacks totals = totals_stacks(dump);
    char a[TOOL_NUMBER], b[TOOL_NUMBER], when[64];
    moment(when, sizeof when, process->time_ns);
    colour(&page, "1");
    clean(&page, dump_text(dump, process->exe));
    colour(&page, "0");
    fprintf(stream, ", pid %u, %s, %s after its start; %u threads\n", process->pid, when,
            tool_duration(a, (double)process->uptime_ns / 1e9), process->threads);
    source(&page, dump, "     ");
    live(&page, dump, "     ");
    if (process->peak_bytes > 0)
        fprintf(stream, "; at its highest some %s, %s before",
                tool_bytes(a, (double)process->peak_bytes, false),
                tool_duration(b, (double)process->peak_age_ns / 1e9));
    fprintf(stream, "\n  allocated  %s blocks since the start",
            tool_count(a, (double)process->allocated_objects, false));
    if (process->rate > 0)
        fprintf(stream, ", some %s", tool_bytes(a, totals.allocated, false));
    fprintf(stream, "\n  sampling   ");
    sampling(&page, process);
    fprintf(stream, "; %s samples, %s dropped\n",
            tool_count(a, (double)process->samples_taken, false),
            tool_count(b, (double)process->samples_dropped, false));
    resident(&page, dump, "     ");
    parts(&page, dump);
    if (dump->node_count > 0)
        nodes(&page, dump);
    class_table(&page, dump);
}
