#include "render/watch.h"

#include <math.h>

#include "render/output.h"

#define HOUR 3600.0

static const char *per_hour(char out[TOOL_NUMBER], double slope) {
    return tool_bytes(out, slope * HOUR, true);
}

static void p_value(FILE *stream, double p) {
    fprintf(stream, p >= 0.00095 ? "%.3f" : p >= 1e-9 ? "%.0e" : "<1e-9", p);
}

/* "+1.2 MiB an hour (95 %: 900 KiB to +1.5 MiB), p 0.003" */
static void say_slope(FILE *stream, const struct trend *trend) {
    char slope[TOOL_NUMBER], low[TOOL_NUMBER], high[TOOL_NUMBER];
    fprintf(stream, "%s an hour (95 %%: %s to %s), p ", per_hour(slope, trend->slope),
            per_hour(low, trend->low), per_hour(high, trend->high));
    p_value(stream, trend->p_value);
}

static const char *class_name(char out[TOOL_NUMBER + 16], const struct growth_class *class) {
    char size[TOOL_NUMBER];
    if (class->kind == MEMPROF_CLASS_LARGE)
        return "large blocks";
    if (class->kind == MEMPROF_CLASS_MAPPED)
        return "blocks with mappings of their own";
    snprintf(out, TOOL_NUMBER + 16, "blocks of %s", tool_bytes(size, (double)class->size, false));
    return out;
}

void render_watch_head(FILE *stream, const struct watched *watched) {
    char age[TOOL_NUMBER];
    fprintf(stream, "process %d (", (int)watched->pid);
    output_clean(stream, watched->exe);
    fputs(")\n", stream);
    if (watched->before.enough) {
        fprintf(stream, "its first %s: %s, ", tool_duration(age, watched->before_seconds),
                site_verdict_name(watched->before.verdict));
        say_slope(stream, &watched->before);
        fputc('\n', stream);
    }
    fprintf(stream, "\n%14s %10s %10s  %11s  %-24s %7s  %s\n", "AFTER", "LIVE", "RSS", "GROWTH/H",
            "   95 % INTERVAL", "P", "VERDICT");
}

void render_watch_round(FILE *stream, const struct watched *watched) {
    const struct watch_round *round = &watched->rounds[watched->count - 1];
    const struct trend *trend = watched->now.by_class ? &watched->now.part : &watched->now.total;
    char time[TOOL_NUMBER], live[TOOL_NUMBER], rss[TOOL_NUMBER], slope[TOOL_NUMBER];
    char low[TOOL_NUMBER], high[TOOL_NUMBER], name[TOOL_NUMBER + 16];
    fprintf(stream, "%14s %10s %10s", tool_duration(time, round->seconds),
            tool_bytes(live, (double)round->live_bytes, false),
            tool_bytes(rss, (double)round->rss_bytes, false));
    if (!trend->enough) {
        fputs("            -\n", stream);
        return;
    }
    fprintf(stream, "  %11s  %11s %11s  ", per_hour(slope, trend->slope), per_hour(low, trend->low),
            per_hour(high, trend->high));
    fprintf(stream, trend->p_value >= 0.00095 ? "%7.3f" : "%7.0e", trend->p_value);
    fprintf(stream, "  %s%s%s\n", site_verdict_name(watched->now.verdict),
            watched->now.by_class ? ": " : "",
            watched->now.by_class ? class_name(name, &watched->now.class) : "");
}

void render_watch_end(FILE *stream, const struct watched *watched) {
    const struct growth_verdict *now = &watched->now;
    char time[TOOL_NUMBER], rise[TOOL_NUMBER], name[TOOL_NUMBER + 16];
    static const char *const ends[] = {"", ", until a signal", ", until its end"};
    fprintf(stream, "\n%s%s: ", tool_duration(time, watched->seconds), ends[watched->end]);
    if (!now->total.enough) {
        fputs("too few readings to say anything\n", stream);
        return;
    }
    fprintf(stream, "%s\n  the heap    ", site_verdict_name(now->verdict));
    say_slope(stream, &now->total);
    if (now->by_class) {
        fprintf(stream, ": nothing certain\n  %s    ", class_name(name, &now->class));
        say_slope(stream, &now->part);
    }
    if (now->total.bend != TREND_STRAIGHT && now->total.rise > TREND_RISE_LEAST)
        fprintf(stream, "\n  before      it warmed up by %s in %s",
                tool_bytes(rise, now->total.rise, false), tool_duration(time, now->total.settled));
    fputc('\n', stream);
}

/* ---- JSON ---- */

static void key_slope(FILE *stream, const char *key, bool known, double slope) {
    if (known)
        fprintf(stream, "\"%s\":%lld,", key, (long long)tool_integer(slope * HOUR));
    else
        fprintf(stream, "\"%s\":null,", key);
}

static void keys_of(FILE *stream, const struct trend *trend) {
    key_slope(stream, "slope_bytes_per_hour", trend->enough, trend->slope);
    key_slope(stream, "slope_low", trend->enough, trend->low);
    key_slope(stream, "slope_high", trend->enough, trend->high);
    if (trend->enough)
        fprintf(stream, "\"p_value\":%.6g", trend->p_value);
    else
        fputs("\"p_value\":null", stream);
}

/* The moment is one in the series' own time, which begins at 0. */
static void warm_up(FILE *stream, const struct trend *trend) {
    if (trend->enough && trend->bend != TREND_STRAIGHT)
        fprintf(stream, "\"warm_up\":{\"seconds\":%.3f,\"bytes\":%lld}", trend->settled,
                (long long)tool_integer(trend->rise));
    else
        fputs("\"warm_up\":null", stream);
}

static void class(FILE *stream, const struct growth_verdict *now) {
    static const char *const kinds[] = {"sized", "large", "mapped"};
    fputs("\"class\":", stream);
    if (!now->by_class) {
        fputs("null,\n", stream);
        return;
    }
    fprintf(stream, "{\"kind\":\"%s\",\"size\":%llu,", kinds[now->class.kind % 3],
            (unsigned long long)now->class.size);
    keys_of(stream, &now->part);
    fputs("},\n", stream);
}

void render_json_watch(FILE *stream, const struct watched *watched) {
    static const char *const ends[] = {"time", "signal", "exit"};
    const struct growth_verdict *now = &watched->now;
    fprintf(stream, "{\"format\":\"memprof-watch/1\",\n\"pid\":%d,\"exe\":", (int)watched->pid);
    output_json(stream, watched->exe);
    fprintf(stream, ",\"time\":%.3f,\"seconds\":%.3f,\"source\":\"%s\",\"end\":\"%s\",\n",
            watched->time, watched->seconds, watched->by_box ? "blackbox" : "dump",
            ends[watched->end]);
    fputs("\"points\":[", stream);
    for (size_t i = 0; i < watched->count; i++)
        fprintf(stream, "%s{\"time\":%.3f,\"live_bytes\":%llu,\"rss_bytes\":%llu}",
                i ? ",\n  " : "\n  ", watched->time + watched->rounds[i].seconds,
                (unsigned long long)watched->rounds[i].live_bytes,
                (unsigned long long)watched->rounds[i].rss_bytes);
    fputs("],\n", stream);
    keys_of(stream, &now->total);
    fputs(",\n", stream);
    class(stream, now);
    warm_up(stream, &now->total);
    fputs(",\n\"before\":", stream);
    if (watched->before.enough) {
        fprintf(stream, "{\"seconds\":%.3f,", watched->before_seconds);
        keys_of(stream, &watched->before);
        fprintf(stream, ",\"verdict\":\"%s\"}", site_verdict_name(watched->before.verdict));
    } else {
        fputs("null", stream);
    }
    fprintf(stream, ",\n\"verdict\":\"%s\"}\n", site_verdict_name(now->verdict));
}
