#include "analyze/diff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/totals.h"

bool site_parse_sort(const char *text, enum site_sort *out) {
    static const char *const names[] = {"growth", "bytes", "objects", "new", "old"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum site_sort)i;
            return true;
        }
    }
    return false;
}

int view_parse_regex(const char *option, const char *text, regex_t *out, struct tool_error *error) {
    char reason[200];
    int code = regcomp(out, text, REG_EXTENDED | REG_NOSUB);
    if (code == 0)
        return 0;
    regerror(code, out, reason, sizeof reason);
    return tool_fail(error, "%s %s: %s", option, text, reason);
}

/* ---- samples ---- */

static int by_serial(const void *a, const void *b) {
    const struct memprof_dump_sample *const *x = a, *const *y = b;
    return (*x)->serial < (*y)->serial ? -1 : (*x)->serial > (*y)->serial;
}

static const struct memprof_dump_sample **sorted(const struct dump *dump) {
    const struct memprof_dump_sample **list = tool_alloc(dump->sample_count, sizeof *list);
    for (size_t i = 0; i < dump->sample_count; i++)
        list[i] = &dump->samples[i];
    qsort(list, dump->sample_count, sizeof *list, by_serial);
    return list;
}

/* The same block, unchanged: one that was resized where it lies is another for this purpose. */
static bool is_unchanged(const struct memprof_dump_sample *a, const struct memprof_dump_sample *b) {
    return a->size == b->size && a->coin == b->coin && a->rate == b->rate;
}

static void add_sample(struct sites *sites, int side, const struct memprof_dump_sample *sample,
                       bool changed) {
    struct site *site = sites_of_sample(sites, side, sample);
    double weight = dump_sample_weight(sample);
    pile_add(&site->live[side], weight, (double)sample->size);
    if (changed)
        pile_add(&site->changed[side], weight, (double)sample->size);
}

/* Of a black box with rate 1: what each stack has now, every block of it. */
static void add_sums(struct sites *sites, int side) {
    const struct dump *dump = sites->dumps[side];
    for (uint32_t i = 0; i < dump->stack_count && sites->by != SITE_BY_CLASS; i++) {
        const struct memprof_dump_stack *stack = &dump->stacks[i];
        double objects = stack->allocated_objects - stack->freed_objects;
        double bytes = stack->allocated_bytes - stack->freed_bytes;
        if (!(objects >= 1) || stack->freed_samples >= stack->allocated_samples)
            continue;
        struct pile pile = pile_of_totals(stack->allocated_samples - stack->freed_samples, objects,
                                          bytes > 0 ? bytes : 0);
        pile.bytes_variance = pile.objects_variance = 0;
        struct site *site = sites->by == SITE_BY_NODE ? sites_of_node(sites, side, i, 0)
                                                      : sites_of_stack(sites, side, i);
        pile_join(&site->live[side], &pile);
        pile_join(&site->changed[side], &pile);
    }
}

/* Walks both dumps' samples by their serial numbers. Those in both cancel, with all the blocks they
 * stand for: whatever one sample was drawn for is as live in the new dump as it was in the old. */
static void add_samples(struct sites *sites) {
    for (int side = 0; side < 2; side++) {
        if (sites->dumps[side] && sites->dumps[side]->box.sums_only)
            add_sums(sites, side);
    }
    const struct dump *old = sites->dumps[SITE_OLD], *new = sites->dumps[SITE_NEW];
    const struct memprof_dump_sample **a = old ? sorted(old) : NULL, **b = sorted(new);
    size_t a_count = old ? old->sample_count : 0, b_count = new->sample_count, i = 0, j = 0;
    while (i < a_count || j < b_count) {
        if (j == b_count || (i < a_count && a[i]->serial < b[j]->serial)) {
            add_sample(sites, SITE_OLD, a[i++], true);
        } else if (i == a_count || b[j]->serial < a[i]->serial) {
            add_sample(sites, SITE_NEW, b[j++], true);
        } else {
            bool changed = !sites->same_process || !is_unchanged(a[i], b[j]);
            add_sample(sites, SITE_OLD, a[i++], changed);
            add_sample(sites, SITE_NEW, b[j++], changed);
        }
    }
    free(a);
    free(b);
}

static void join_total(struct site *site, const struct dump *dump, uint64_t samples, double objects,
                       double bytes) {
    struct pile pile = pile_of_totals(samples, objects, bytes);
    if (dump->process->rate == 1)
        pile.bytes_variance = pile.objects_variance = 0;
    pile_join(&site->live[SITE_NEW], &pile);
}

static void add_total(const struct memprof_dump_stack *stack, const struct dump *dump,
                      struct site *site) {
    join_total(site, dump, stack->allocated_samples, stack->allocated_objects,
               stack->allocated_bytes);
}

static void add_totals(struct sites *sites) {
    const struct dump *dump = sites->dumps[SITE_NEW];
    for (uint32_t i = 0; i < dump->stack_count; i++) {
        if (dump->stacks[i].allocated_samples > 0)
            add_total(&dump->stacks[i], dump, sites_of_stack(sites, SITE_NEW, i));
    }
}

/* How many samples there were then is not known: as many as they would be of all. */
static void add_peaks(struct sites *sites) {
    const struct dump *dump = sites->dumps[SITE_NEW];
    for (uint32_t i = 0; i < dump->stack_count; i++) {
        const struct memprof_dump_stack *stack = &dump->stacks[i];
        if (!(stack->peak_objects > 0) || !(stack->allocated_objects > 0))
            continue;
        double share = stack->peak_objects / stack->allocated_objects;
        double samples = ceil(share * (double)stack->allocated_samples);
        if (!(samples >= 1)) /* nor if the figures make no sense */
            samples = 1;
        join_total(sites_of_stack(sites, SITE_NEW, i), dump,
                   samples < 1e18 ? (uint64_t)samples : (uint64_t)1e18, stack->peak_objects,
                   stack->peak_bytes);
    }
}

/* Resident bytes, or where they are not known, all of them. Nothing is estimated. */
static void add_regions(struct sites *sites) {
    const struct dump *dump = sites->dumps[SITE_NEW];
    for (size_t i = 0; i < dump->region_count; i++) {
        const struct memprof_dump_region *region = &dump->regions[i];
        uint64_t size = region->end - region->start;
        struct pile pile = {
            .samples = 1,
            .objects = 1,
            .bytes =
                (double)(region->rss_bytes == MEMPROF_REGION_UNKNOWN ? size : region->rss_bytes),
        };
        struct site *site = sites_of_stack(sites, SITE_NEW, region->stack);
        pile_join(&site->live[SITE_NEW], &pile);
        site->mapped_bytes += (double)size;
    }
}

/* What is live and what was freed are known by node, where there are several. */
static void add_totals_by_node(struct sites *sites) {
    const struct dump *dump = sites->dumps[SITE_NEW];
    if (!dump->frees) { /* an older file */
        for (uint32_t i = 0; i < dump->stack_count; i++) {
            if (dump->stacks[i].allocated_samples > 0)
                add_total(&dump->stacks[i], dump, sites_of_node(sites, SITE_NEW, i, 0));
        }
        return;
    }
    add_samples(sites);
    sites_add_frees(sites, SITE_NEW);
    for (size_t i = 0; i < sites->count; i++) {
        struct site *site = &sites->list[i];
        for (size_t j = 0; j < site->freed_count; j++) {
            struct pile pile = site->freed[j].pile[SITE_NEW];
            if (dump->process->rate == 1)
                pile.bytes_variance = pile.objects_variance = 0;
            pile_join(&site->live[SITE_NEW], &pile);
        }
    }
}

/* ---- figures ---- */

static void figures_of_samples(struct view *view, struct site *site, double z) {
    const struct pile *live = site->live;
    site->old_bytes = live[SITE_OLD].bytes;
    site->new_bytes = live[SITE_NEW].bytes;
    site->bytes = site->new_bytes - site->old_bytes;
    site->objects = live[SITE_NEW].objects - live[SITE_OLD].objects;
    site->interval =
        view->old ? estimate_difference(&site->changed[SITE_NEW], &site->changed[SITE_OLD], z)
                  : estimate_bytes(&live[SITE_NEW], z);
}

/* Classes are counted block by block, so nothing is estimated but the verdict. */
static void add_classes(struct view *view) {
    struct class_row *rows;
    size_t count = totals_classes(view->old, view->new, &rows);
    for (size_t i = 0; i < count; i++) {
        const struct class_row *row = &rows[i];
        struct site *site = sites_of_class(&view->sites, SITE_NEW, row->size);
        site->old_bytes += (double)row->old.live_bytes;
        site->new_bytes += (double)row->new.live_bytes;
        site->bytes = site->new_bytes - site->old_bytes;
        site->objects += (double)row->new.live_objects - (double)row->old.live_objects;
        site->interval = (struct interval){site->bytes, site->bytes};
    }
    free(rows);
}

/* ---- which ---- */

static bool matches(const regex_t *regex, const struct frame_list *frames) {
    for (size_t i = 0; i < frames->count; i++) {
        const struct frame *frame = &frames->at[i];
        if (frame->function && regexec(regex, frame->function, 0, NULL, 0) == 0)
            return true;
        if (frame->module && regexec(regex, frame->module->path, 0, NULL, 0) == 0)
            return true;
    }
    return false;
}

static bool is_chosen(struct view *view, const struct site *site) {
    const struct view_options *options = &view->options;
    if (!options->focus && !options->ignore)
        return true;
    const struct frame_list *frames = sites_frames(&view->sites, site);
    return (!options->focus || matches(options->focus, frames)) &&
           !(options->ignore && matches(options->ignore, frames));
}

/* ---- verdicts ---- */

/* A site that is in one dump only, when the other may have it under a name that cannot be told. */
static bool is_unmatched(const struct view *view, const struct site *site) {
    return view->sites.blind && site->by_names &&
           (site->live[SITE_OLD].samples == 0 || site->live[SITE_NEW].samples == 0);
}

static bool has_changed(const struct view *view, const struct site *site) {
    const struct pile *live = site->live;
    if (view->options.by == SITE_BY_CLASS && fabs(site->bytes) > 0)
        return true;
    if (view->sites.same_process)
        return site->changed[SITE_OLD].samples || site->changed[SITE_NEW].samples;
    return live[SITE_OLD].samples != live[SITE_NEW].samples ||
           fabs(live[SITE_OLD].bytes - live[SITE_NEW].bytes) > 0;
}

/* All sites are looked at together: of a hundred steady ones, five would pass for growing at 95 %.
 * Those with so few samples that nothing they could show would be significant do not count among
 * the hundred: what they show is not looked at (Tarone). */
static void judge(struct view *view) {
    double rate = 1 - view->options.confidence;
    double *p_values = tool_alloc(view->count, sizeof *p_values);
    bool *found = tool_alloc(view->count, sizeof *found);
    struct site **tested = tool_alloc(view->count, sizeof(struct site *));
    size_t count = 0;
    for (size_t i = 0; i < view->count; i++) {
        struct site *site = view->order[i];
        double least;
        site->p_value =
            estimate_p_value(&site->changed[SITE_NEW], &site->changed[SITE_OLD], &least);
        site->verdict = has_changed(view, site) ? SITE_NOISE : SITE_STEADY;
        if (least <= rate && !is_unmatched(view, site)) {
            p_values[count] = site->p_value;
            tested[count++] = site;
        }
    }
    estimate_discoveries(p_values, count, rate, found);
    for (size_t i = 0; i < count; i++) {
        struct site *site = tested[i];
        if (!found[i])
            continue;
        /* By class the direction is the census's to tell. */
        if (site->bytes > 0)
            site->verdict = SITE_GROWING;
        else if (site->bytes < 0)
            site->verdict = SITE_SHRINKING;
        view->growing += site->verdict == SITE_GROWING;
    }
    free(p_values);
    free(found);
    free(tested);
}

/* ---- order ---- */

static int descending(double a, double b) {
    return a > b ? -1 : a < b;
}

static bool is_growth(const struct site *site) {
    return site->verdict == SITE_LEAKING || site->verdict == SITE_GROWING;
}

/* What surely grew, by how much it surely grew; then the rest. */
static int by_growth(const void *a, const void *b) {
    const struct site *x = *(struct site *const *)a, *y = *(struct site *const *)b;
    int order = (int)is_growth(y) - (int)is_growth(x);
    if (order == 0)
        order = descending(fmax(x->interval.low, 0), fmax(y->interval.low, 0));
    if (order == 0)
        order = descending(x->bytes, y->bytes);
    return order ? order : x->id < y->id ? -1 : x->id > y->id;
}

#define ORDER(name, value)                                                                         \
    static int name(const void *a, const void *b) {                                                \
        const struct site *x = *(struct site *const *)a, *y = *(struct site *const *)b;            \
        int order = descending(value(x), value(y));                                                \
        return order ? order : by_growth(a, b);                                                    \
    }

static double size_of_change(const struct site *site) {
    return fabs(site->bytes);
}

static double number_of_change(const struct site *site) {
    return fabs(site->objects);
}

static double new_bytes(const struct site *site) {
    return site->new_bytes;
}

static double old_bytes(const struct site *site) {
    return site->old_bytes;
}

ORDER(by_bytes, size_of_change)
ORDER(by_objects, number_of_change)
ORDER(by_new, new_bytes)
ORDER(by_old, old_bytes)

static void sort(struct view *view) {
    static int (*const orders[])(const void *, const void *) = {
        [SITE_SORT_GROWTH] = by_growth,   [SITE_SORT_BYTES] = by_bytes,
        [SITE_SORT_OBJECTS] = by_objects, [SITE_SORT_NEW] = by_new,
        [SITE_SORT_OLD] = by_old,
    };
    if (view->count > 0)
        qsort(view->order, view->count, sizeof(struct site *), orders[view->options.sort]);
}

/* One dump with a census. What two have in common cancels by its samples, not by its totals; with
 * rate=1 nothing is estimated. */
static bool can_calibrate(const struct view *view) {
    const struct dump *dump = view->new;
    return !view->old && !dump->box.is_box && dump->process->rate != 1 &&
           view->options.by != SITE_BY_CLASS && dump->sample_count > 0;
}

static void add_all(struct view *view) {
    bool by_node = view->options.by == SITE_BY_NODE;
    switch (view->options.of) {
    case VIEW_ALLOCATED:
        if (by_node)
            add_totals_by_node(&view->sites);
        else
            add_totals(&view->sites);
        break;
    case VIEW_PEAK:
        add_peaks(&view->sites);
        break;
    case VIEW_MAPPED:
        add_regions(&view->sites);
        break;
    case VIEW_LIFETIMES:
        sites_add_lifetimes(&view->sites, SITE_NEW);
        if (by_node)
            sites_add_frees(&view->sites, SITE_NEW);
        break;
    case VIEW_LIVE:
        if (can_calibrate(view))
            calibrate_samples(&view->sites, CALIBRATE_LIVE, &view->calibration);
        else
            add_samples(&view->sites);
        if (by_node && view->old)
            sites_add_frees(&view->sites, SITE_OLD);
        if (by_node)
            sites_add_frees(&view->sites, SITE_NEW);
        break;
    }
}

/* What has leaked of each site, by the newer dump, if it knows. */
static void add_leaks(struct view *view) {
    struct calibration unused;
    if (!view->old || !view->new->leaks)
        return;
    calibrate_samples(&view->sites, CALIBRATE_LEAKED, &unused);
    calibrate_samples(&view->sites, CALIBRATE_INDIRECT, &unused);
}

/* What a dump does not tell. */
static int check_options(const struct view_options *options, struct tool_error *error) {
    static const char *const names[] = {
        [VIEW_ALLOCATED] = "--allocated: what was allocated",
        [VIEW_PEAK] = "--peak: what was live at the peak",
        [VIEW_MAPPED] = "--mapped: what was mapped",
        [VIEW_LIFETIMES] = "--lifetimes: what was freed",
    };
    bool by_class = options->by == SITE_BY_CLASS;
    if (options->of != VIEW_LIVE && by_class)
        return tool_fail(error, "%s is not known by class", names[options->of]);
    if ((options->of == VIEW_PEAK || options->of == VIEW_MAPPED) && options->by == SITE_BY_NODE)
        return tool_fail(error, "%s is not known by node", names[options->of]);
    if (by_class && (options->focus || options->ignore))
        return tool_fail(error, "--focus and --ignore: size classes have no functions");
    return 0;
}

int view_make(struct view *view, const struct dump *old, const struct dump *new,
              const struct view_options *options, struct tool_error *error) {
    *view = (struct view){.options = *options, .old = old, .new = new};
    bool by_class = options->by == SITE_BY_CLASS;
    if (check_options(options, error) < 0)
        return -1;
    sites_begin(&view->sites, options->by, old, new);
    add_all(view);
    add_leaks(view);
    double z = estimate_z(options->confidence);
    if (by_class)
        add_classes(view);
    view->order = tool_alloc(view->sites.count, sizeof(struct site *));
    for (size_t i = 0; i < view->sites.count; i++) {
        struct site *site = &view->sites.list[i];
        if (!by_class)
            figures_of_samples(view, site, z);
        if (is_chosen(view, site))
            view->order[view->count++] = site;
    }
    if (old)
        judge(view);
    /* Only now: which sites are small is what the samples show, and no reason to test fewer. */
    size_t kept = 0;
    for (size_t i = 0; i < view->count; i++) {
        if (fabs(view->order[i]->bytes) >= (double)options->min_bytes)
            view->order[kept++] = view->order[i];
        else if (is_growth(view->order[i]))
            view->growing--;
    }
    view->count = kept;
    sort(view);
    return 0;
}

void view_free(struct view *view) {
    sites_free(&view->sites);
    free(view->order);
    *view = (struct view){0};
}
