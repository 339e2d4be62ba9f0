/* The parent: starts the child with the library preloaded, and answers its questions by what the
 * kernel says of its pages (move_pages). */
#include "question.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void die(const char *what) {
    perror(what);
    exit(2);
}

int nodes_with[64], nodes_with_count;

bool read_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "re");
    bool got = file && fgets(line, (int)size, file);
    if (file)
        fclose(file);
    return got;
}

void find_nodes(void) {
    char line[256];
    if (!read_line("/sys/devices/system/node/has_memory", line, sizeof line))
        die("has_memory");
    for (char *at = line; *at >= '0' && *at <= '9';) {
        int first = (int)strtol(at, &at, 10), last = first;
        if (*at == '-')
            last = (int)strtol(at + 1, &at, 10);
        for (; first <= last; first++)
            nodes_with[nodes_with_count++] = first;
        at += *at == ',';
    }
}

static pid_t child;
static bool judged; /* our library: shares are to be what they should */
static const char *the_case;
static int failures;

static void take(void *to, size_t size) {
    for (char *at = to; size > 0;) {
        ssize_t got = read(ASK, at, size);
        if (got <= 0)
            die("the child went away in the middle");
        at += got;
        size -= (size_t)got;
    }
}

static uintptr_t addresses[PAGES_MAX];
static int status[PAGES_MAX];

static void ask_kernel(uint32_t count) {
    static void *pages[PAGES_MAX];
    for (uint32_t i = 0; i < count; i++)
        pages[i] = (void *)addresses[i];
    if (syscall(SYS_move_pages, child, (unsigned long)count, pages, NULL, status, 0) != 0)
        die("move_pages");
}

/* The pages of the child's mappings in that TiB. */
static uint32_t all_around(uintptr_t address) {
    char path[64], line[512];
    unsigned long start, end;
    uint32_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", child);
    FILE *maps = fopen(path, "re");
    if (!maps)
        die(path);
    while (fgets(line, sizeof line, maps) && sscanf(line, "%lx-%lx", &start, &end) == 2) {
        for (; start < end && start >> 40 == address >> 40 && count < PAGES_MAX; start += OS_PAGE)
            addresses[count++] = start;
    }
    fclose(maps);
    return count;
}

static void count_pages(const struct question *question) {
    uint32_t on[64] = {0}, count = question->count;
    if (question->node == COUNT_ALL)
        count = all_around(addresses[0]);
    ask_kernel(count);
    for (uint32_t i = 0; i < count; i++) {
        if (status[i] >= 0)
            on[status[i] % 64]++;
    }
    for (int i = 0; i < nodes_with_count; i++)
        printf("count %s %d %u\n", question->what, nodes_with[i], on[nodes_with[i]]);
}

static void answer(const struct question *question) {
    take(addresses, question->count * sizeof *addresses);
    if (question->node == COUNT || question->node == COUNT_ALL) {
        count_pages(question);
        return;
    }
    ask_kernel(question->count);
    uint32_t there = 0, present = 0, on[64] = {0};
    int missing = 0; /* why the last one is */
    for (uint32_t i = 0; i < question->count; i++) {
        if (status[i] < 0) {
            missing = -status[i];
            continue;
        }
        present++;
        on[status[i] % 64]++;
        there += status[i] == question->node;
    }
    double share = present ? (double)there / present : 0, least = 1, most = 0;
    bool right = present == question->count && share >= question->least;
    if (question->node < 0) {
        for (int i = 0; i < nodes_with_count; i++) {
            double part = present ? (double)on[nodes_with[i]] / present : 0;
            least = part < least ? part : least;
            most = part > most ? part : most;
        }
        right = present == question->count &&
                (question->node == ANYWHERE || least >= 0.8 / nodes_with_count);
    }
    printf("%s %s: %s: ", judged ? right ? "ok" : "not ok" : "share", the_case, question->what);
    if (question->node >= 0)
        printf("%.2f %% of %u pages on node %d", 100 * share, present, question->node);
    else
        printf("%.1f to %.1f %% of %u pages on each node", 100 * least, 100 * most, present);
    if (missing)
        printf("; %u are not there: %s", question->count - present, strerror(missing));
    printf("\n");
    failures += judged && !right;
}

/* Kills who calls mbind, or asks for a policy or for pages: the library must know it is there. */
static void filter(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mbind, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_get_mempolicy, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_move_pages, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("seccomp");
}

int ask_about(const char *self, const char *name, const char *library, bool judge) {
    the_case = name;
    judged = judge;
    int ends[2];
    char environment[512], reply = 0;
    struct question question;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        die("socketpair");
    child = fork();
    if (child == 0) {
        dup2(ends[1], ASK);
        snprintf(environment, sizeof environment, "%s", library);
        if (*library)
            setenv("LD_PRELOAD", environment, 1);
        if (getenv("FILTER"))
            filter();
        execl(self, self, "--child", the_case, (char *)NULL);
        die("exec");
    }
    close(ends[1]);
    if (ends[0] != ASK) {
        dup2(ends[0], ASK);
        close(ends[0]);
    }
    while (read(ASK, &question, sizeof question) == (ssize_t)sizeof question) {
        answer(&question);
        if (write(ASK, &reply, 1) != 1)
            break;
    }
    int ended;
    waitpid(child, &ended, 0);
    if (ended != 0) {
        printf("not ok %s: ended with status %#x\n", the_case, ended);
        failures++;
    }
    return failures > 0;
}
