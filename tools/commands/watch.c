/* `memprof watch`: polls a process, and says whether its heap grows for good.
 *
 * Its black box costs the process nothing to read, and is written up to twenty times a second: so
 * it is read ten times in a round, and the trend is that of all readings. A process without one is
 * asked for a dump in each round. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "analyze/fail_on.h"
#include "commands/ask.h"
#include "commands/boxes.h"
#include "commands/commands.h"
#include "commands/process.h"
#include "common.h"
#include "reader/box.h"
#include "reader/dump.h"
#include "render/output.h"
#include "render/watch.h"

static const char help[] =
    "usage: memprof watch [OPTION]... PID\n"
    "Looks at a process again and again, and says whether what it holds grows for good, only "
    "warms\n"
    "up, or goes up and down.\n"
    "\n"
    "  --every TIME     from one line to the next: 10s; the figures are read more often than that\n"
    "  --for TIME       how long; otherwise until the process ends, or a signal comes\n"
    "  --fail-on EXPR   exit with 1 if it holds and with 0 if not: 'growth>1m/h', 'live>2g',\n"
    "                   'rss>2g'\n"
    "  --json           one JSON object at the end\n"
    "  --help           show this\n"
    "\n"
    "Exit status: 0 it does not grow; 1 it grows, or what --fail-on names; 2 trouble.\n";

enum { RULE_GROWTH, RULE_LIVE, RULE_RSS };
static const struct fail_on_name rule_names[] = {
    [RULE_GROWTH] = {"growth", FAIL_ON_RATE},
    [RULE_LIVE] = {"live", FAIL_ON_AMOUNT},
    [RULE_RSS] = {"rss", FAIL_ON_AMOUNT},
};
static const struct fail_on_rules rules = {
    rule_names, sizeof rule_names / sizeof *rule_names,
    "it is growth>, and bytes per time as in growth>1m/h; or live> or rss>, and bytes"};

#define READINGS      10   /* of a black box in a round */
#define READING_LEAST 0.05 /* seconds between them: it is written no more often */
#define READING_MOST  1.0
#define ROUND_LEAST   0.1
#define TIME_MOST     3.2e7 /* a year */
#define PATIENCE_S    10u   /* for the answer of a process that is asked */

struct watch {
    double every, duration; /* seconds; duration 0: without end */
    struct fail_on fail_on;
    bool has_fail_on, json, help;
    pid_t pid;

    struct process process; /* as it was last */
    struct found_box box;
    bool has_box;
    uint64_t start_time_ns; /* by its black box; 0: not known yet */
    uint64_t written_ns;    /* when that was written last; since 1970 */
    struct {                /* what it said when it was asked, */
        uint64_t since_ns;  /* which holds as long as nothing is written after this; 0: nothing */
        uint64_t live;
        struct memprof_dump_class classes[GROWTH_CLASSES];
        size_t class_count;
    } told;
    bool complained;
    bool exceeded; /* --fail-on's live or rss, in some round */
    double began;  /* monotonic */
    sigset_t signals;
    struct growth growth;
    struct watched watched;
};

static const struct option long_options[] = {
    {"every", required_argument, NULL, 'e'},   {"for", required_argument, NULL, 'f'},
    {"fail-on", required_argument, NULL, 'o'}, {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},          {0},
};

static int parse(int argc, char **argv, struct watch *watch, struct tool_error *error) {
    int option;
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        switch (option) {
        case 'e':
            if (!tool_parse_time(optarg, &watch->every) || watch->every < ROUND_LEAST ||
                watch->every > TIME_MOST)
                return tool_fail(error, "--every %s: it is a time, as in 10s, 100ms at least",
                                 optarg);
            break;
        case 'f':
            if (!tool_parse_time(optarg, &watch->duration) || !(watch->duration > 0) ||
                watch->duration > TIME_MOST)
                return tool_fail(error, "--for %s: it is a time, as in 90s, 15m or 1h", optarg);
            break;
        case 'o':
            if (fail_on_parse(optarg, &rules, &watch->fail_on, error) < 0)
                return -1;
            watch->has_fail_on = true;
            break;
        case 'j':
            watch->json = true;
            break;
        case 'h':
            watch->help = true;
            return 0;
        case ':':
            return tool_fail(error, "%s wants a value", argv[optind - 1]);
        default:
            return tool_fail(error, "%s: no such option; see memprof watch --help",
                             argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return tool_fail(error, "watch: one process is wanted, not %d", argc - optind);
    return process_parse(argv[optind], &watch->pid, error);
}

static double seconds_by(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double now(const struct watch *watch) {
    return seconds_by(CLOCK_MONOTONIC) - watch->began;
}

/* ---- figures ---- */

/* Two sources differ by what threads have at hand; two programs by all. */
static void begin_anew(struct watch *watch) {
    growth_forget(&watch->growth);
}

/* 1: the box does not say just now, or there is none. */
static int glance(struct watch *watch, struct box_glance *out) {
    struct dump_error unused;
    if (!watch->has_box || box_glance(out, watch->box.path, &unused) != 0)
        return 1;
    watch->written_ns = out->figures.time_ns;
    return 0;
}

/* 0: `live` is what it holds; 1: there is no telling by its box. */
static int read_box(struct watch *watch, uint64_t *live) {
    struct box_glance seen;
    if (glance(watch, &seen) != 0)
        return 1;
    if (watch->start_time_ns && watch->start_time_ns != seen.start_time_ns) {
        tool_note("process %d has become another program: its series begins anew", (int)watch->pid);
        begin_anew(watch);
    } else if (!watch->watched.by_box) {
        begin_anew(watch);
    }
    watch->start_time_ns = seen.start_time_ns;
    watch->watched.by_box = true;
    if (watch->told.since_ns == seen.figures.time_ns) {
        *live = watch->told.live;
        growth_add(&watch->growth, now(watch), *live, watch->told.classes, watch->told.class_count);
        return 0;
    }
    *live = seen.figures.live_bytes;
    growth_add(&watch->growth, now(watch), *live, seen.figures.classes,
               (size_t)seen.figures.class_count);
    return 0;
}

static int ask(struct watch *watch, struct tool_error *error) {
    struct asked asked;
    struct dump_error unreadable;
    struct dump *dump;
    if (ask_for_moment(watch->pid, false, PATIENCE_S, &asked, error) < 0)
        return -1;
    int result = dump_open(&dump, asked.path, &unreadable);
    asked_drop(&asked);
    if (result < 0)
        return tool_fail(error, "%s", unreadable.text);
    watch->told.live = dump->process->live_bytes;
    watch->told.class_count =
        dump->class_count < GROWTH_CLASSES ? dump->class_count : GROWTH_CLASSES;
    for (size_t i = 0; i < watch->told.class_count; i++)
        watch->told.classes[i] = dump->classes[i];
    dump_close(dump);
    return 0;
}

/* That it answers may have it write its figures, too, a moment later. */
static void ask_silent(struct watch *watch) {
    struct tool_error unused;
    struct box_glance seen;
    double age = seconds_by(CLOCK_REALTIME) - (double)watch->written_ns / 1e9;
    if (age < watch->every || watch->told.since_ns == watch->written_ns ||
        watch->process.state == 'T')
        return;
    if (ask(watch, &unused) < 0)
        return;
    const struct timespec moment = {0, 50000000};
    nanosleep(&moment, NULL);
    if (glance(watch, &seen) == 0)
        watch->told.since_ns = watch->written_ns;
}

static int read_dump(struct watch *watch, uint64_t *live, struct tool_error *error) {
    if (ask(watch, error) < 0)
        return -1;
    if (watch->watched.by_box)
        begin_anew(watch);
    watch->watched.by_box = false;
    watch->told.since_ns = 0;
    *live = watch->told.live;
    growth_add(&watch->growth, now(watch), *live, watch->told.classes, watch->told.class_count);
    return 0;
}

/* ---- rounds ---- */

/* Is it still there, and the same? */
static bool look(struct watch *watch) {
    struct process process;
    struct tool_error unused;
    if (!process_lives(watch->pid) || process_look(watch->pid, &process, &unused) < 0 ||
        process.start_ticks != watch->process.start_ticks)
        return false;
    watch->process = process;
    watch->has_box = process.has_library && boxes_of_process(&process, &watch->box);
    return true;
}

static void add_round(struct watch *watch, double time, uint64_t live) {
    struct watched *watched = &watch->watched;
    uint64_t rss = watch->process.rss;
    watched->rounds =
        tool_grow(watched->rounds, watched->count, &watched->capacity, sizeof *watched->rounds);
    watched->rounds[watched->count++] = (struct watch_round){time, live, rss};
    if (watch->has_fail_on && watch->fail_on.name != RULE_GROWTH)
        watch->exceeded =
            watch->exceeded ||
            (double)(watch->fail_on.name == RULE_LIVE ? live : rss) > watch->fail_on.limit;
    if (watch->json)
        return;
    growth_judge(&watch->growth, &watched->now);
    render_watch_round(stdout, watched);
    fflush(stdout);
}

/* False: it is no more. An error counts in the first round, in later ones it is told once. */
static bool take_round(struct watch *watch, double time, struct tool_error *error) {
    uint64_t live;
    error->text[0] = '\0';
    if (!look(watch))
        return false;
    if (watch->written_ns)
        ask_silent(watch);
    if (read_box(watch, &live) != 0 && read_dump(watch, &live, error) < 0) {
        if (!process_lives(watch->pid))
            return false;
        if (watch->watched.count > 0 && !watch->complained)
            tool_note("%s; it is asked again", error->text);
        watch->complained = true;
        return true;
    }
    error->text[0] = '\0';
    watch->complained = false;
    add_round(watch, time, live);
    return true;
}

/* True: a signal has come that is the end. */
static bool wait_until(const struct watch *watch, double time) {
    for (;;) {
        double left = time - now(watch);
        if (left <= 0)
            return false;
        const struct timespec pause = {(time_t)left, (long)((left - floor(left)) * 1e9)};
        if (sigtimedwait(&watch->signals, NULL, &pause) > 0)
            return true;
        if (errno == EAGAIN)
            return false;
    }
}

/* The readings between two rounds; true: a signal has come. */
static bool wait_for_round(struct watch *watch, double time) {
    const double distance = watch->growth.distance;
    uint64_t live;
    for (double next = now(watch) + distance; next < time - distance / 2; next += distance) {
        if (wait_until(watch, next))
            return true;
        if (read_box(watch, &live) != 0 || !process_lives(watch->pid))
            break;
    }
    return wait_until(watch, time);
}

static void poll(struct watch *watch) {
    struct watched *watched = &watch->watched;
    struct tool_error unused;
    for (uint64_t round = 1;; round++) {
        double time = (double)round * watch->every, end = watch->duration;
        /* A round that took long is followed by the next that is due. */
        if (time < now(watch))
            continue;
        if (end > 0 && time > end * (1 + 1e-9)) {
            watched->end = wait_for_round(watch, end) ? WATCH_SIGNAL : WATCH_TIME;
            return;
        }
        watched->end = WATCH_SIGNAL;
        if (wait_for_round(watch, time))
            return;
        watched->end = WATCH_EXIT;
        if (!take_round(watch, now(watch), &unused))
            return;
    }
}

/* ---- the command ---- */

/* How it came to what it is, by its black box. */
static void judge_before(struct watch *watch) {
    struct dump_error unused;
    struct dump *dump;
    if (!watch->has_box || dump_open(&dump, watch->box.path, &unused) < 0)
        return;
    struct trend_point *points = tool_alloc(dump->point_count + 1, sizeof *points);
    for (size_t i = 0; i < dump->point_count; i++)
        points[i] = (struct trend_point){(double)dump->points[i].uptime_ns / 1e9,
                                         (double)dump->points[i].live_bytes};
    trend_judge(&watch->watched.before, points, dump->point_count);
    watch->watched.before_seconds = (double)dump->process->uptime_ns / 1e9;
    free(points);
    dump_close(dump);
}

static void name_exe(struct watched *watched) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)watched->pid);
    ssize_t n = readlink(path, watched->exe, sizeof watched->exe - 1);
    watched->exe[n > 0 ? n : 0] = '\0';
}

/* They are waited for, and so blocked; those that are ignored stay so. */
static void expect_signals(struct watch *watch) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigemptyset(&watch->signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action;
        if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&watch->signals, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &watch->signals, NULL);
}

static bool holds(const struct watch *watch) {
    const struct growth_verdict *verdict = &watch->watched.now;
    bool grows = verdict->total.enough && verdict->verdict == SITE_GROWING;
    if (!watch->has_fail_on)
        return grows;
    if (watch->fail_on.name == RULE_GROWTH)
        return grows && verdict->slope > watch->fail_on.limit;
    return watch->exceeded;
}

static int begin(struct watch *watch, struct tool_error *error) {
    struct watched *watched = &watch->watched;
    if (process_look(watch->pid, &watch->process, error) < 0)
        return -1;
    if (!watch->process.has_library)
        return tool_fail(error, "process %d (%s) does not run under memprof, or is not yours",
                         (int)watch->pid, watch->process.name);
    watched->pid = watch->pid;
    watched->by_box = watch->has_box = boxes_of_process(&watch->process, &watch->box);
    struct box_glance unused;
    glance(watch, &unused);
    name_exe(watched);
    judge_before(watch);
    if (!watch->json) {
        render_watch_head(stdout, watched);
        fflush(stdout);
    }
    watched->time = seconds_by(CLOCK_REALTIME);
    watch->began = seconds_by(CLOCK_MONOTONIC);
    if (!take_round(watch, 0, error))
        return tool_fail(error, "process %d has ended meanwhile", (int)watch->pid);
    return error->text[0] ? -1 : 0;
}

static int finish(struct watch *watch) {
    struct watched *watched = &watch->watched;
    watched->seconds = now(watch);
    growth_judge(&watch->growth, &watched->now);
    if (!watched->now.total.enough)
        tool_note("process %d: %zu readings in %.1f s are too few for a verdict", (int)watch->pid,
                  watch->growth.count, watched->seconds);
    if (watch->json)
        render_json_watch(stdout, watched);
    else
        render_watch_end(stdout, watched);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tool_note("writing what was seen: %s", strerror(errno));
        return 2;
    }
    return holds(watch);
}

int command_watch(int argc, char **argv) {
    static struct watch watch = {.every = 10};
    struct tool_error error;
    if (parse(argc, argv, &watch, &error) < 0) {
        tool_note("%s", error.text);
        return 2;
    }
    if (watch.help) {
        fputs(help, stdout);
        return fflush(stdout) == 0 ? 0 : 2;
    }
    growth_begin(&watch.growth, watch.every,
                 fmin(fmax(watch.every / READINGS, READING_LEAST), READING_MOST));
    expect_signals(&watch);
    int status = 2;
    if (begin(&watch, &error) < 0) {
        tool_note("%s", error.text);
    } else {
        poll(&watch);
        status = finish(&watch);
    }
    growth_free(&watch.growth);
    free(watch.watched.rounds);
    return status;
}
