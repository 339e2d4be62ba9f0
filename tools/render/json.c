/* JSON, as the manual pages state it: every key is there, what is unknown is null. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analyze/totals.h"
#include "render/output.h"
#include "render/render.h"

typedef unsigned long long ull;

static void dump(FILE *stream, const struct dump *dump) {
    const struct memprof_dump_process *process = dump->process;
    fputs("{\"path\":", stream);
    output_json(stream, dump->path);
    fprintf(stream, ",\"pid\":%u,\"exe\":", process->pid);
    output_json(stream, dump_text(dump, process->exe));
    fprintf(stream,
            ",\"time\":%llu.%09llu,\"rate\":%llu,\"live_bytes\":%llu,\"live_objects\":%llu,"
            "\"rss_bytes\":%llu}",
            (ull)process->time_ns / 1000000000u, (ull)process->time_ns % 1000000000u,
            (ull)process->rate, (ull)process->live_bytes, (ull)process->live_objects,
            (ull)process->rss_bytes);
}

/* `place`: it is one of a stack, and not a function or a module as a whole. */
static void frame(FILE *stream, const struct frame *frame, bool place) {
    fputs("{\"function\":", stream);
    output_json(stream, frame->function);
    fputs(",\"file\":", stream);
    output_json(stream, frame->file);
    if (frame->line)
        fprintf(stream, ",\"line\":%u", frame->line);
    else
        fputs(",\"line\":null", stream);
    fputs(",\"module\":", stream);
    output_json(stream, frame->module ? frame->module->path : NULL);
    if (place && frame->module)
        fprintf(stream, ",\"offset\":%llu", (ull)frame->offset);
    else
        fputs(",\"offset\":null", stream);
    fprintf(stream, ",\"inlined\":%s}", frame->inlined ? "true" : "false");
}

static void frame_list(FILE *stream, const struct frame_list *list, bool place) {
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            fputc(',', stream);
        frame(stream, &list->at[i], place);
    }
}

static void frames(FILE *stream, struct view *view, const struct site *site) {
    char name[TOOL_NUMBER];
    fputs("\"frames\":[", stream);
    if (view->options.by == SITE_BY_CLASS)
        frame(stream, &(struct frame){.function = render_class(name, site->class_size)}, false);
    frame_list(stream, sites_frames(&view->sites, site), sites_are_stacks(view->options.by));
    fputs("]}", stream);
}

/* Ever, in the newer dump. */
static void freed(FILE *stream, const struct view *view, const struct site *site) {
    if (view->options.by != SITE_BY_NODE)
        return;
    fprintf(stream, "\"node\":%u,\"freed\":[", site->node);
    for (size_t i = 0, shown = 0; i < site->freed_count; i++) {
        const struct pile *pile = &site->freed[i].pile[SITE_NEW];
        if (pile->samples > 0)
            fprintf(stream, "%s{\"node\":%u,\"bytes\":%lld,\"objects\":%lld}", shown++ ? "," : "",
                    site->freed[i].on, (long long)tool_integer(pile->bytes),
                    (long long)tool_integer(pile->objects));
    }
    fputs("],", stream);
}

/* Only steps in which something was freed. */
static void lifetimes(FILE *stream, const struct view *view, const struct site *site) {
    if (view->options.of != VIEW_LIFETIMES || !site->lifetimes)
        return;
    const struct site_lifetimes *lived = site->lifetimes;
    fputs("\"lifetimes\":[", stream);
    for (int i = 0, shown = 0; i < SITE_LIFETIMES; i++) {
        if (lived->objects[i] > 0)
            fprintf(stream, "%s{\"below_ns\":%.0f,\"objects\":%lld}", shown++ ? "," : "",
                    ldexp(1, i), (long long)tool_integer(lived->objects[i]));
    }
    fprintf(stream, "],\"freed_by_others\":%lld,\"resized\":%lld,",
            (long long)tool_integer(lived->elsewhere), (long long)tool_integer(lived->resized));
}

static void sites(FILE *stream, struct view *view) {
    fputs("\"sites\":[", stream);
    for (size_t i = 0; i < view->count; i++) {
        const struct site *site = view->order[i];
        struct render_figures figures = render_figures(view, site);
        fprintf(stream, "%s{\"id\":\"%016llx\",", i ? ",\n  " : "\n  ", (ull)site->id);
        if (view->old)
            fprintf(stream, "\"verdict\":\"%s\",", site_verdict_name(site->verdict));
        fprintf(stream, "\"bytes\":%lld,\"bytes_low\":%lld,\"bytes_high\":%lld,\"objects\":%lld,",
                (long long)figures.bytes, (long long)figures.low, (long long)figures.high,
                (long long)figures.objects);
        /* Two dumps make no trend. */
        if (view->old)
            fprintf(stream,
                    "\"old_bytes\":%lld,\"new_bytes\":%lld,\"leaked_bytes\":%lld,"
                    "\"slope_bytes_per_hour\":null,\"p_value\":null,",
                    (long long)figures.old_bytes, (long long)figures.new_bytes,
                    (long long)tool_integer(site->leaked[0].bytes + site->leaked[1].bytes));
        freed(stream, view, site);
        lifetimes(stream, view, site);
        if (view->options.of == VIEW_MAPPED)
            fprintf(stream, "\"mapped_bytes\":%lld,", (long long)tool_integer(site->mapped_bytes));
        frames(stream, view, site);
    }
    fputs("],\n", stream);
}

static int64_t minus(uint64_t a, uint64_t b) {
    return a >= b ? (int64_t)(a - b) : -(int64_t)(b - a);
}

static void classes(FILE *stream, const struct view *view) {
    struct class_row *rows;
    size_t count = totals_classes(view->old, view->new, &rows);
    fputs("\"classes\":[", stream);
    for (size_t i = 0; i < count; i++) {
        const struct class_row *row = &rows[i];
        fprintf(stream,
                "%s{\"size\":%llu,\"kind\":\"%s\",\"live_objects\":%llu,\"live_bytes\":%llu,"
                "\"stranded_bytes\":%llu",
                i ? ",\n  " : "\n  ", (ull)row->size, totals_class_name(row->kind),
                (ull)row->new.live_objects, (ull)row->new.live_bytes, (ull)row->new.stranded_bytes);
        if (view->old)
            fprintf(stream, ",\"delta_live_bytes\":%lld,\"delta_stranded_bytes\":%lld",
                    (long long)minus(row->new.live_bytes, row->old.live_bytes),
                    (long long)minus(row->new.stranded_bytes, row->old.stranded_bytes));
        fputc('}', stream);
    }
    fputs("],\n", stream);
    free(rows);
}

static void number_or_null(FILE *stream, const char *name, bool known, uint64_t number) {
    if (known)
        fprintf(stream, ",\"%s\":%llu", name, (ull)number);
    else
        fprintf(stream, ",\"%s\":null", name);
}

/* Of the newer dump; none where the machine has one. */
static void nodes(FILE *stream, const struct dump *dump) {
    fputs("\"nodes\":[", stream);
    for (size_t i = 0; i < dump->node_count; i++) {
        const struct memprof_dump_node *node = &dump->nodes[i];
        bool home = node->flags & MEMPROF_NODE_HOME;
        fprintf(stream,
                "%s{\"node\":%u,\"committed_bytes\":%llu,\"mapped_bytes\":%llu,"
                "\"other_bytes\":%llu",
                i ? ",\n  " : "\n  ", node->node, (ull)node->heap_bytes, (ull)node->block_bytes,
                (ull)node->other_bytes);
        number_or_null(stream, "live_bytes", home, node->live_bytes);
        number_or_null(stream, "live_objects", home, node->live_objects);
        number_or_null(stream, "misplaced_bytes",
                       home && node->misplaced_bytes != MEMPROF_NODE_UNKNOWN,
                       node->misplaced_bytes);
        number_or_null(stream, "remote_freed_bytes", home, node->remote_freed_bytes);
        number_or_null(stream, "remote_frees", home, node->remote_frees);
        fputc('}', stream);
    }
    fputs("],\n", stream);
}

static void rss(FILE *stream, const struct dump *dump) {
    struct rss_parts parts = totals_rss(dump);
    fputs("\"rss\":{", stream);
    for (size_t i = 0; i < RSS_NAMES; i++)
        fprintf(stream, "%s\"%s\":%llu", i ? "," : "", totals_rss_names[i].name,
                (ull)totals_rss_part(&parts, i));
    fputs("}}\n", stream);
}

/* With the sites' bytes they add up to live_bytes. */
static void besides(FILE *stream, const struct view *view) {
    const struct calibration *calibration = &view->calibration;
    if (calibration->done)
        fprintf(stream,
                "\"besides\":{\"rounding_bytes\":%lld,\"unsampled_bytes\":%lld,"
                "\"unsampled_objects\":%lld},\n",
                (long long)tool_integer(fmax(calibration->rounding_bytes, 0)),
                (long long)tool_integer(calibration->unsampled_bytes),
                (long long)tool_integer(calibration->unsampled_objects));
}

void render_json(FILE *stream, struct view *view) {
    const struct memprof_dump_process *new = view->new->process;
    if (view->old) {
        const struct memprof_dump_process *old = view->old->process;
        fputs("{\"format\":\"memdiff/1\",\n\"dumps\":[", stream);
        dump(stream, view->old);
        fputs(",\n  ", stream);
        dump(stream, view->new);
        fprintf(stream, "],\n\"total\":{\"bytes\":%lld,\"objects\":%lld,\"rss_bytes\":%lld},\n",
                (long long)minus(new->live_bytes, old->live_bytes),
                (long long)minus(new->live_objects, old->live_objects),
                (long long)minus(new->rss_bytes, old->rss_bytes));
    } else {
        fprintf(stream,
                "{\"format\":\"memprof-show/1\",\n\"of\":\"%s\",\n\"dump\":", render_of(view));
        dump(stream, view->new);
        fputs(",\n", stream);
        besides(stream, view);
    }
    sites(stream, view);
    classes(stream, view);
    if (view->old)
        fputs("\"fragmentation\":[],\n", stream);
    nodes(stream, view->new);
    rss(stream, view->new);
}

static void series(FILE *stream, const struct dump *dump) {
    fputs("\"series\":[", stream);
    for (size_t i = 0; i < dump->point_count; i++) {
        const struct memprof_dump_point *point = &dump->points[i];
        fprintf(stream,
                "%s{\"time\":%llu.%09llu,\"live_bytes\":%llu,\"live_objects\":%llu,"
                "\"cached_max_bytes\":%llu,\"heap_bytes\":%llu,\"allocated_objects\":%llu}",
                i ? ",\n  " : "\n  ", (ull)point->time_ns / 1000000000u,
                (ull)point->time_ns % 1000000000u, (ull)point->live_bytes, (ull)point->live_objects,
                (ull)point->cached_bytes, (ull)point->heap_bytes, (ull)point->allocated_objects);
    }
    fputs("],\n", stream);
}

void render_json_stats(FILE *stream, const struct dump *dump) {
    const struct memprof_dump_process *process = dump->process;
    const struct view view = {.new = dump};
    const struct dump_box *box = &dump->box;
    struct totals_of_stacks totals = totals_stacks(dump);
    bool known = process->rate > 0;
    uint64_t allocated = process->allocated_objects, live = process->live_objects;
    fprintf(stream, "{\"format\":\"memprof-stats/1\",\n\"pid\":%u,\"exe\":", process->pid);
    output_json(stream, dump_text(dump, process->exe));
    fprintf(stream,
            ",\"time\":%llu.%09llu,\n\"live_bytes\":%llu,\"live_objects\":%llu,"
            "\"cached_max_bytes\":%llu",
            (ull)process->time_ns / 1000000000u, (ull)process->time_ns % 1000000000u,
            (ull)process->live_bytes, (ull)live, (ull)process->cached_bytes);
    number_or_null(stream, "allocated_bytes", known, (uint64_t)tool_integer(totals.allocated));
    fprintf(stream, ",\"allocated_objects\":%llu", (ull)allocated);
    number_or_null(stream, "freed_bytes", known, (uint64_t)tool_integer(totals.freed));
    fprintf(stream, ",\"freed_objects\":%llu,\n\"source\":\"%s\",\"state\":\"%s\"",
            (ull)(allocated > live ? allocated - live : 0), box->is_box ? "blackbox" : "dump",
            box->is_unknown                   ? "unknown"
            : !box->is_box || box->is_running ? "running"
            : box->has_ended                  ? "ended"
                                              : "killed");
    number_or_null(stream, "rss_bytes", !box->is_box || box->is_running, process->rss_bytes);
    number_or_null(stream, "peak_bytes", process->peak_bytes > 0, process->peak_bytes);
    fprintf(stream, ",\"threads\":%u,\"rate\":%llu,\"samples\":%llu,\"dropped\":%llu,\n",
            process->threads, (ull)process->rate, (ull)process->samples_taken,
            (ull)process->samples_dropped);
    classes(stream, &view);
    nodes(stream, dump);
    series(stream, dump);
    rss(stream, dump);
}

const char *render_world(uint32_t world) {
    static const char *const names[] = {"", "ptrace", "signal", "two-scan"};
    return names[world];
}

void render_json_leaks(FILE *stream, struct leaks *leaks) {
    const struct memprof_dump_process *process = leaks->dump->process;
    const struct memprof_dump_leaks *exact = leaks->dump->leaks;
    fprintf(stream, "{\"format\":\"memprof-leaks/1\",\n\"pid\":%u,\"exe\":", process->pid);
    output_json(stream, dump_text(leaks->dump, process->exe));
    fprintf(stream,
            ",\"time\":%llu.%09llu,\n\"world\":\"%s\",\"threads\":%u,\"threads_missed\":%u,"
            "\"pause_us\":%llu,\"scan_ms\":%llu,\"unseen_bytes\":%llu,\n",
            (ull)process->time_ns / 1000000000u, (ull)process->time_ns % 1000000000u,
            render_world(exact->world), exact->threads, exact->threads_missed,
            (ull)exact->pause_ns / 1000, (ull)exact->scan_ns / 1000000,
            (ull)leaks_unseen(leaks->dump));
    fprintf(stream,
            "\"exact\":{\"leaked_bytes\":%llu,\"leaked_objects\":%llu,\"indirect_bytes\":%llu,"
            "\"indirect_objects\":%llu,\"reachable_bytes\":%llu,\"reachable_objects\":%llu},\n"
            "\"leaks\":[",
            (ull)exact->leaked_bytes, (ull)exact->leaked_objects, (ull)exact->indirect_bytes,
            (ull)exact->indirect_objects, (ull)exact->reachable_bytes,
            (ull)exact->reachable_objects);
    for (size_t i = 0; i < leaks->count; i++) {
        const struct leak *leak = &leaks->list[i];
        fprintf(stream,
                "%s{\"kind\":\"%s\",\"bytes\":%lld,\"objects\":%lld,\"estimated\":%s,"
                "\"suppressed\":%s,\"frames\":[",
                i ? ",\n  " : "\n  ", leak->indirect ? "indirect" : "direct",
                (long long)tool_integer(leak->bytes), (long long)tool_integer(leak->objects),
                leak->estimated ? "true" : "false", leak->suppressed ? "true" : "false");
        if (leak->site)
            frame_list(stream, sites_frames(&leaks->sites, leak->site), true);
        fputs("]}", stream);
    }
    fputs("],\n\"growing\":[", stream);
    for (size_t i = 0; i < leaks->growing_count; i++) {
        const struct growing *growing = &leaks->growing[i];
        fprintf(stream,
                "%s{\"bytes\":%lld,\"objects\":%lld,\"slope_bytes_per_hour\":%.0f,\"p_value\":%.3g,"
                "\"frames\":[",
                i ? ",\n  " : "\n  ", (long long)tool_integer(growing->bytes),
                (long long)tool_integer(growing->objects), growing->slope_bytes_per_hour,
                growing->p_value);
        frame_list(stream, sites_frames(&leaks->sites, growing->site), true);
        fputs("]}", stream);
    }
    fputs("]}\n", stream);
}
