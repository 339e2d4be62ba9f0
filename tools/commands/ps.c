/* `memprof ps`: which processes run under memprof, of those that one may look at. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/process.h"
#include "common.h"
#include "render/output.h"

static const char help[] = "usage: memprof ps [--json]\n"
                           "Lists the processes that run under memprof.\n"
                           "\n"
                           "  --json    as JSON\n"
                           "  --help    show this\n"
                           "\n"
                           "ASKED BY is the signal that memprof dump sends; off: it takes none.\n";

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

static void print_json(const struct process *list, size_t count) {
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
    size_t count;
    struct process *list = list_processes(&count);
    if (json)
        print_json(list, count);
    else
        print_table(list, count);
    free(list);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    tool_note("writing the list: %s", strerror(errno));
    return 2;
}
