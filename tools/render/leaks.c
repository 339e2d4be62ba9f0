/* The text of a search for leaks: what LeakSanitizer prints, line by line, so that what reads the
 * one reads the other. What is an estimate, and how the search was made, is said besides. */
#include <stdarg.h>

#include "render/output.h"
#include "render/render.h"

struct page {
    FILE *stream;
    bool colour;
};

static void coloured(const struct page *page, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void coloured(const struct page *page, const char *code, const char *format, ...) {
    va_list args;
    if (page->colour)
        fprintf(page->stream, "\033[%sm", code);
    va_start(args, format);
    vfprintf(page->stream, format, args);
    va_end(args);
    if (page->colour)
        fputs("\033[0m", page->stream);
}

static void print_frame(const struct page *page, size_t number, const struct frame *frame) {
    fprintf(page->stream, "    #%zu 0x%llx", number, (unsigned long long)frame->offset);
    if (frame->function) {
        fputs(" in ", page->stream);
        output_clean(page->stream, frame->function);
    }
    if (frame->file) {
        fputc(' ', page->stream);
        output_clean(page->stream, frame->file);
        if (frame->line)
            fprintf(page->stream, ":%u", frame->line);
    } else if (frame->module) {
        fputs(" (", page->stream);
        output_clean(page->stream, frame->module->path);
        fprintf(page->stream, "+0x%llx)", (unsigned long long)frame->offset);
    }
    fputc('\n', page->stream);
}

static void print_frames(const struct page *page, struct leaks *leaks, const struct site *site) {
    const struct frame_list *frames = sites_frames(&leaks->sites, site);
    for (size_t i = 0; i < frames->count; i++)
        print_frame(page, i, &frames->at[i]);
    fputc('\n', page->stream);
}

/* What is no leak to LeakSanitizer, since something leads to it. */
static void print_growing(const struct page *page, struct leaks *leaks) {
    char cells[3][TOOL_NUMBER];
    for (size_t i = 0; i < leaks->growing_count; i++) {
        const struct growing *growing = &leaks->growing[i];
        coloured(page, "33", "Growing: %s in %s reachable blocks, %s an hour, allocated from:\n",
                 tool_bytes(cells[0], growing->bytes, false),
                 tool_count(cells[1], growing->objects, false),
                 tool_bytes(cells[2], growing->slope_bytes_per_hour, true));
        print_frames(page, leaks, growing->site);
    }
}

static void print_leak(const struct page *page, struct leaks *leaks, const struct leak *leak) {
    coloured(page, leak->indirect ? "34" : "31", "%s leak of %.0f byte(s) in %.0f object(s)",
             leak->indirect ? "Indirect" : "Direct", leak->bytes, leak->objects);
    if (!leak->site) {
        fputs(" of which none was sampled\n\n", page->stream);
        return;
    }
    fprintf(page->stream, "%s allocated from:\n", leak->estimated ? " (estimated)" : "");
    print_frames(page, leaks, leak->site);
}

static void print_suppressions(const struct page *page, const struct suppressions *suppressions) {
    static const char line[] = "-----------------------------------------------------\n";
    bool any = false;
    for (size_t i = 0; suppressions && i < suppressions->count; i++) {
        const struct suppression *suppression = &suppressions->list[i];
        if (!(suppression->objects > 0))
            continue;
        if (!any)
            fprintf(page->stream, "%sSuppressions used:\n  count      bytes template\n", line);
        any = true;
        fprintf(page->stream, "%7.0f %10.0f ", suppression->objects, suppression->bytes);
        output_clean(page->stream, suppression->pattern);
        fputc('\n', page->stream);
    }
    if (any)
        fprintf(page->stream, "%s\n", line);
}

static void print_summary(const struct page *page, const struct leaks *leaks) {
    const struct memprof_dump_leaks *exact = leaks->dump->leaks;
    char cells[4][TOOL_NUMBER];
    fprintf(page->stream, "SUMMARY: LeakSanitizer: %.0f byte(s) leaked in %.0f allocation(s).\n",
            leaks->found_bytes, leaks->found_objects);
    fprintf(page->stream,
            "memprof: counted: %s leaked in %s blocks directly, %s in %s indirectly; ",
            tool_bytes(cells[0], (double)exact->leaked_bytes, false),
            tool_count(cells[1], (double)exact->leaked_objects, false),
            tool_bytes(cells[2], (double)exact->indirect_bytes, false),
            tool_count(cells[3], (double)exact->indirect_objects, false));
    fprintf(page->stream, "%s reachable in %s\n",
            tool_bytes(cells[0], (double)exact->reachable_bytes, false),
            tool_count(cells[1], (double)exact->reachable_objects, false));
}

static void print_search(const struct page *page, const struct leaks *leaks) {
    const struct memprof_dump_leaks *exact = leaks->dump->leaks;
    char number[TOOL_NUMBER];
    uint64_t unseen = leaks_unseen(leaks->dump);
    fprintf(page->stream, "memprof: %u threads stopped (%s) for %.1f ms, searched in %.0f ms\n",
            exact->threads - exact->threads_missed, render_world(exact->world),
            (double)exact->pause_ns / 1e6, (double)exact->scan_ns / 1e6);
    if (exact->threads_missed)
        fprintf(
            page->stream,
            "memprof: %u threads could not be stopped: what they have in registers is unknown\n",
            exact->threads_missed);
    if (unseen)
        fprintf(page->stream,
                "memprof: %s of memory that a fork does not copy were not searched for pointers\n",
                tool_bytes(number, (double)unseen, false));
}

void render_text_leaks(FILE *stream, struct leaks *leaks, const struct suppressions *suppressions,
                       bool colour) {
    const struct page page = {stream, colour};
    if (leaks->found) {
        fputs("=================================================================\n", stream);
        coloured(&page, "31", "==%u==ERROR: LeakSanitizer: detected memory leaks",
                 leaks->dump->process->pid);
        fputs("\n\n", stream);
    }
    for (size_t i = 0; i < leaks->count; i++) {
        if (!leaks->list[i].suppressed)
            print_leak(&page, leaks, &leaks->list[i]);
    }
    print_growing(&page, leaks);
    print_suppressions(&page, suppressions);
    if (leaks->found)
        print_summary(&page, leaks);
    else
        fputs("memprof: no leaks\n", stream);
    print_search(&page, leaks);
}
