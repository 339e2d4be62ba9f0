/* What `memprof watch` says: a line for each round, a summary, or JSON. */
#ifndef RENDER_WATCH_H
#define RENDER_WATCH_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "analyze/growth.h"

struct watch_round {
    double seconds; /* since the first */
    uint64_t live_bytes, rss_bytes;
};

enum watch_end { WATCH_TIME, WATCH_SIGNAL, WATCH_EXIT };

struct watched {
    pid_t pid;
    char exe[4096];
    double time; /* unix, of the first round */
    double seconds;
    bool by_box; /* the last figures were the black box's, or a dump's */
    enum watch_end end;
    struct watch_round *rounds; /* with malloc */
    size_t count, capacity;
    double before_seconds; /* how old the process was when its series was judged; 0: it was not */
    struct trend before;   /* by that series */
    struct growth_verdict now;
};

/* Before the first round: what is known of the time until then, and the columns. */
void render_watch_head(FILE *stream, const struct watched *watched);
/* The last round. */
void render_watch_round(FILE *stream, const struct watched *watched);
void render_watch_end(FILE *stream, const struct watched *watched);
void render_json_watch(FILE *stream, const struct watched *watched);

#endif
