/* `memprof ps`: which processes run under memprof, of those that one may look at. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "commands/boxes.h"
#include "commands/commands.h"
#include "commands/process.h"
#include "common.h"
#include "render/output.h"

static const char help[] =
    "usage: memprof ps [--json]\n"
    "Lists the processes that run under memprof, and those that are no more "
    "and left a black box.\n"
    "\n"
    "  --json    as JSON\n"
    "  --help    show this\n"
    "\n"
    "ASKED BY is the signal that memprof dump sends; off: it takes none; left: "
    "the process is no more,\n"
    "and memprof show tells what it held by the file that is named. Delete it "
    "when it has served.\n";

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int by_pid(const void *a, const void *b) {
    const struct process *x = a, *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

static struct process *list_processes(size_t *count) {
    struct process *list = NULL;
    size_t capacity = 0;
    DIR *proc = opendir("/proc");
    *count = 0;
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        struct process process;
        struct tool_error error;
        pid_t pid;
        /* Threads and what has ended meanwhile are no errors here. */
        if (process_parse(entry->d_name, &pid, &error) < 0 ||
            process_look(pid, &process, &error) < 0 || !process.has_library)
            continue;
        list = tool_grow(list, *count, &capacity, sizeof *list);
        list[(*count)++] = process;
    }
    if (proc)
        closedir(proc);
    if (*count)
        qsort(list, *count, sizeof *list, by_pid);
    return list;
}

static void print_left(const struct found_box *left, size_t count) {
    for (size_t i = 0; i < count; i++) {
        printf("%8d  %10s  %8s  ", (int)left[i].pid, "-", left[i].ended ? "kept" : "left");
        output_clean(stdout, left[i].exe);
        printf(": ");
        output_clean(stdout, left[i].path);
        putchar('\n');
    }
}

static void print_left_json(const struct found_box *left, size_t count) {
    for (size_t i = 0; i < count; i++) {
        printf("%s{\"pid\":%d,\"state\":\"%s\",\"exe\":", i ? "," : "", (int)left[i].pid,
               left[i].ended ? "ended" : "killed");
        output_json(stdout, left[i].exe);
        printf(",\"path\":");
        output_json(stdout, left[i].path);
        printf(",\"time\":%lld,\"bytes\":%llu}", (long long)left[i].time,
               (unsigned long long)left[i].bytes);
    }
}

static void print_table(const struct process *list, size_t count) {
    char rss[TOOL_NUMBER];
    printf("%8s  %10s  %8s  %s\n", "PID", "RSS", "ASKED BY", "COMMAND");
    for (size_t i = 0; i < count; i++) {
        char signal[16] = "off";
        if (list[i].request)
            snprintf(signal, sizeof signal, "%d", list[i].request);
        printf("%8d  %10s  %8s  ", (int)list[i].pid, tool_bytes(rss, (double)list[i].rss, false),
               signal);
        output_clean(stdout, list[i].command);
        putchar('\n');
    }
}

static void print_json(const struct process *list, size_t count, const struct found_box *left,
                       size_t left_count) {
    printf("{\"format\":\"memprof-ps/1\",\"processes\":[");
    for (size_t i = 0; i < count; i++) {
        printf("%s{\"pid\":%d,\"rss_bytes\":%llu,\"signal\":", i ? "," : "", (int)list[i].pid,
               (unsigned long long)list[i].rss);
        if (list[i].request)
            printf("%d", list[i].request);
        else
            printf("null");
        printf(",\"command\":");
        output_json(stdout, list[i].command);
        printf("}");
    }
    printf("],\n\"left\":[");
    print_left_json(left, left_count);
    printf("]}\n");
}

int command_ps(int argc, char **argv) {
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return fflush(stdout) == 0 ? 0 : 2;
        }
        if (option != 'j') {
            tool_note("%s: no such option; see memprof ps --help", argv[optind - 1]);
            return 2;
        }
        json = true;
    }
    if (optind != argc) {
        tool_note("ps takes no argument: %s", argv[optind]);
        return 2;
    }
    size_t count, left_count;
    struct process *list = list_processes(&count);
    struct found_box *left = boxes_left(&left_count);
    if (json) {
        print_json(list, count, left, left_count);
    } else {
        print_table(list, count);
        print_left(left, left_count);
    }
    free(left);
    free(list);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    tool_note("writing the list: %s", strerror(errno));
    return 2;
}
