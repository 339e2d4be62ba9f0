/* The formats of one line per site: CSV for spreadsheets, folded stacks for flame graphs. */
#include <stdlib.h>
#include <string.h>

#include "render/output.h"
#include "render/render.h"

/* The first character that would be taken for a formula gets company: files of names that others
 * chose are opened in spreadsheets. */
static void csv_text(FILE *stream, const char *text) {
    fputc('"', stream);
    if (*text && strchr("=+-@", *text))
        fputc('\'', stream);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"')
            fputc('"', stream);
        fputc(c < ' ' || c == 0x7f ? '?' : c, stream);
    }
    fputc('"', stream);
}

/* All frames, outermost first, with semicolons between them; none of their own. */
static void fold(struct tool_text *out, const struct view *view, const struct site *site,
                 const struct frame_list *frames) {
    char class[TOOL_NUMBER];
    tool_text_clear(out);
    if (view->options.by == SITE_BY_CLASS) {
        render_class(class, site->class_size);
        tool_text_add(out, class, strlen(class));
    }
    if (view->options.by == SITE_BY_NODE) {
        snprintf(class, sizeof class, "node %u", site->node);
        tool_text_add(out, class, strlen(class));
        if (frames->count > 0)
            tool_text_add(out, ";", 1);
    }
    for (size_t i = frames->count; i-- > 0;) {
        size_t from = out->length;
        render_name(out, &frames->at[i]);
        for (char *at = out->at + from; *at; at++) {
            if (*at == ';')
                *at = ':';
        }
        if (i > 0)
            tool_text_add(out, ";", 1);
    }
    if (out->length == 0)
        tool_text_add(out, "unknown", 7);
}

void render_csv(FILE *stream, struct view *view) {
    struct tool_text text = {0};
    fputs("id,verdict,bytes,bytes_low,bytes_high,objects,old_bytes,new_bytes,function,file,line,"
          "module,stack\r\n",
          stream);
    for (size_t i = 0; i < view->count; i++) {
        const struct site *site = view->order[i];
        const struct frame_list *frames = sites_frames(&view->sites, site);
        struct render_figures figures = render_figures(view, site);
        struct frame none = {0};
        const struct frame *blamed = frames->count ? &frames->at[blame_find(frames)] : &none;
        fprintf(stream, "%016llx,%s,%lld,%lld,%lld,%lld,", (unsigned long long)site->id,
                view->old ? site_verdict_name(site->verdict) : "", (long long)figures.bytes,
                (long long)figures.low, (long long)figures.high, (long long)figures.objects);
        if (view->old)
            fprintf(stream, "%lld", (long long)figures.old_bytes);
        fprintf(stream, ",%lld,", (long long)figures.new_bytes);
        csv_text(stream, blamed->function ? blamed->function : "");
        fputc(',', stream);
        csv_text(stream, blamed->file ? blamed->file : "");
        fputc(',', stream);
        if (blamed->line)
            fprintf(stream, "%u", blamed->line);
        fputc(',', stream);
        csv_text(stream, blamed->module ? blamed->module->path : "");
        fputc(',', stream);
        fold(&text, view, site, frames);
        csv_text(stream, text.at);
        fputs("\r\n", stream);
    }
    tool_text_free(&text);
}

/* Two dumps: two columns, old and new, as difffolded.pl writes them. */
void render_folded(FILE *stream, struct view *view) {
    struct tool_text text = {0};
    for (size_t i = 0; i < view->count; i++) {
        const struct site *site = view->order[i];
        struct render_figures figures = render_figures(view, site);
        fold(&text, view, site, sites_frames(&view->sites, site));
        output_clean(stream, text.at);
        if (view->old)
            fprintf(stream, " %lld", (long long)figures.old_bytes);
        fprintf(stream, " %lld\n", (long long)figures.new_bytes);
    }
    tool_text_free(&text);
}
