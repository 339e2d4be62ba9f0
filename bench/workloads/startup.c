/* Small programs: /bin/true, started again and again, waited for each time. The children get the
 * environment, and with it the preloaded library; their time and their peak count. */
#include <spawn.h>
#include <sys/wait.h>
#include "measure.h"

extern char **environ;

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    bench.count_children = true;
    char name[] = "/bin/true";
    char *arguments[] = {name, NULL};
    long runs = bench_scaled(&bench, 400);
    for (long i = 0; i < runs; i++) {
        pid_t child;
        int status;
        if (posix_spawn(&child, name, NULL, NULL, arguments, environ) != 0)
            bench_die("/bin/true does not start");
        if (waitpid(child, &status, 0) != child || status != 0)
            bench_die("/bin/true failed");
    }
    return bench_finish(&bench, runs);
}
