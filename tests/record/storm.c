/*
 * Threads allocate while others fork, vfork and exec, and start processes by posix_spawn. Children
 * of fork allocate and may dump; all of them end, and well.
 *
 *     storm SECONDS
 */
#include "record.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static _Atomic bool stop;

enum kind { FORK, FORK_EXEC, VFORK, SPAWN, KINDS };
static _Atomic unsigned counts[KINDS];
static double seconds = 0.5;

struct block {
    size_t size;
    unsigned char bytes[];
};

static struct block *make(size_t size) {
    struct block *block = malloc(sizeof(*block) + size);
    if (block) {
        block->size = size;
        memset(block->bytes, (int)(size & 0xff), size);
    }
    return block;
}

static bool drop(struct block *block) {
    bool good = !block || (block->bytes[0] == (block->size & 0xff) &&
                           block->bytes[block->size - 1] == (block->size & 0xff));
    free(block);
    return good;
}

static void *allocate(void *seed) {
    struct block *slots[64] = {0};
    uint64_t state = (uintptr_t)seed;
    while (!stop) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        unsigned i = (unsigned)(state >> 58);
        CHECK(drop(slots[i]), "a block's bytes changed");
        slots[i] = make(1 + (size_t)(state >> 33) % 3000);
    }
    for (unsigned i = 0; i < COUNT(slots); i++)
        free(slots[i]);
    return NULL;
}

static void child_of_fork(unsigned number) {
    r_watchdog(30);
    for (unsigned i = 1; i < 200; i++)
        if (!drop(make(i * 7)))
            _exit(3);
    if (number % 4 == 0 && memprof_dump && memprof_dump("storm-child.heap") != 0)
        _exit(4);
    if (number % 4 == 1)
        exit(0); /* with all that runs at an exit */
    _exit(0);
}

static void wait_well(pid_t child, const char *what, int wanted) {
    int status = 0;
    if (child < 0) {
        CHECK(errno == EAGAIN || errno == ENOMEM, "%s: %s", what, strerror(errno));
        return;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "%s ends with %#x", what, status);
}

static void *fork_on(void *unused) {
    for (unsigned n = 0; !stop; n++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0)
            child_of_fork(n);
        wait_well(child, "a child of fork", 0);
        counts[FORK]++;
    }
    return unused;
}

static void *fork_exec_on(void *unused) {
    while (!stop) {
        pid_t child = fork();
        if (child == 0) {
            r_watchdog(30);
            free(malloc(100));
            execl("/bin/true", "true", (char *)NULL);
            _exit(5);
        }
        wait_well(child, "fork and exec of true", 0);
        counts[FORK_EXEC]++;
    }
    return unused;
}

static void *vfork_on(void *unused) {
    char *const arguments[] = {(char *)"false", NULL};
    while (!stop) {
        pid_t child = vfork();
        if (child == 0) {
            execv("/bin/false", arguments);
            _exit(5);
        }
        wait_well(child, "vfork and exec of false", 1);
        counts[VFORK]++;
    }
    return unused;
}

static void *spawn_on(void *unused) {
    char *const arguments[] = {(char *)"true", NULL};
    while (!stop) {
        posix_spawn_file_actions_t actions;
        pid_t child = -1;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        int error = posix_spawn(&child, "/bin/true", &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (error) {
            errno = error;
            child = -1;
        }
        wait_well(child, "posix_spawn of true", 0);
        counts[SPAWN]++;
    }
    return unused;
}

static void *dump_on(void *unused) {
    while (!stop) {
        CHECK(!memprof_dump || memprof_dump("storm.heap") == 0, "no dump: %s", strerror(errno));
        r_sleep_ms(20);
    }
    return unused;
}

static void storm(void) {
    static void *(*const works[])(void *) = {fork_on,  fork_on,  fork_exec_on, vfork_on, spawn_on,
                                             allocate, allocate, allocate,     dump_on};
    pthread_t threads[COUNT(works)];
    size_t started = 0;
    while (started < COUNT(works) &&
           pthread_create(&threads[started], NULL, works[started], (void *)(started + 1)) == 0)
        started++;
    for (double end = r_seconds() + seconds; r_seconds() < end;)
        free(strdup("the main thread allocates too"));
    stop = true;
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    CHECK(started == COUNT(works), "only %zu threads were started", started);
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(counts[kind] > 0, "nothing of kind %d was started", kind);
    printf("# %u forks, %u forks and execs, %u vforks, %u spawns\n", counts[FORK],
           counts[FORK_EXEC], counts[VFORK], counts[SPAWN]);
}

static void no_child_left(void) {
    char state = ' ';
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "waitpid knows of a child");
    pid_t child = r_child_of(getpid(), &state);
    CHECK(child == 0, "process %d is left, in state %c", (int)child, state);
}

int main(int argc, char **argv) {
    t_init();
    r_watchdog(60);
    if (argc > 1)
        seconds = atof(argv[1]);
    RUN("threads allocate while others fork, vfork, exec and spawn", storm);
    RUN("no child is left", no_child_left);
    r_dump("storm-end.heap");
    return t_done();
}
