/* A small cache server to be watched for hours, and the client that keeps it busy. It answers on a
 * socket of the local machine, line by line:
 *
 *     SET KEY VALUE     OK
 *     GET KEY           the value, or NONE
 *
 * What it keeps is bounded: there are KEYS keys, and a value takes the place of the last one. With
 * --leak it loses, in every LOSES requests, what it has made of one.
 *
 *     service SOCKET [--leak]
 *     service --load SOCKET SECONDS [REQUESTS_PER_SECOND] */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 2000, CLIENTS = 16, LINE = 8192, LOSES = 8 };

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "%s: too long for a socket's name\n", path);
        exit(2);
    }
    strcpy(address.sun_path, path);
    return address;
}

/* ---- the cache ---- */

static char *cache[KEYS];

static unsigned slot_of(const char *key) {
    unsigned hash = 5381;
    while (*key)
        hash = hash * 33 + (unsigned char)*key++;
    return hash % KEYS;
}

/* ---- requests ---- */

struct request {
    char *verb, *key, *value;
};

static char *word(char **at) {
    size_t length = strcspn(*at, " ");
    char *made = strndup(*at, length);
    *at += length + ((*at)[length] == ' ');
    return made;
}

static struct request *parse_request(char *line) {
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        fail("parsing");
    request->verb = word(&line);
    request->key = word(&line);
    request->value = strdup(line);
    if (!request->verb || !request->key || !request->value)
        fail("parsing");
    return request;
}

static void free_request(struct request *request) {
    free(request->verb);
    free(request->key);
    free(request->value);
    free(request);
}

static int leaks;

static void serve(char *line, char *answer, size_t size) {
    static unsigned served;
    struct request *request = parse_request(line);
    char **slot = &cache[slot_of(request->key)];
    if (strcmp(request->verb, "SET") == 0) {
        free(*slot);
        *slot = strdup(request->value);
        snprintf(answer, size, "OK\n");
    } else {
        snprintf(answer, size, "%s\n", *slot ? *slot : "NONE");
    }
    if (leaks && ++served % LOSES == 0)
        return; /* the bug: nobody has the request any more, and nobody has freed it */
    free_request(request);
}

/* ---- the server ---- */

struct client {
    char line[LINE];
    size_t length;
};

/* Whole lines of what has come; 0: the client is gone. */
static int hear(int fd, struct client *client) {
    char answer[LINE + 8];
    ssize_t n = read(fd, client->line + client->length, sizeof client->line - 1 - client->length);
    if (n <= 0)
        return 0;
    client->length += (size_t)n;
    client->line[client->length] = '\0';
    for (char *end; (end = strchr(client->line, '\n'));) {
        *end = '\0';
        serve(client->line, answer, sizeof answer);
        if (write(fd, answer, strlen(answer)) < 0)
            return 0;
        client->length -= (size_t)(end + 1 - client->line);
        memmove(client->line, end + 1, client->length + 1);
    }
    return client->length < sizeof client->line - 1;
}

static volatile sig_atomic_t ends;

static void end(int number) {
    (void)number;
    ends = 1;
}

static int run_server(const char *path) {
    static struct client clients[CLIENTS + 1];
    struct pollfd fds[CLIENTS + 1] = {0};
    struct sockaddr_un address = address_of(path);
    const struct sigaction action = {.sa_handler = end};
    nfds_t count = 1;
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    unlink(path);
    fds[0] = (struct pollfd){socket(AF_UNIX, SOCK_STREAM, 0), POLLIN, 0};
    if (fds[0].fd < 0 || bind(fds[0].fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fds[0].fd, CLIENTS) != 0)
        fail(path);
    while (!ends) {
        fds[0].events = count <= CLIENTS ? POLLIN : 0;
        if (poll(fds, count, -1) < 0)
            continue;
        for (nfds_t i = 1; i < count; i++) {
            if (!fds[i].revents || hear(fds[i].fd, &clients[i]))
                continue;
            close(fds[i].fd);
            count--;
            fds[i] = fds[count];
            clients[i] = clients[count];
            fds[i].revents = 0;
        }
        if (fds[0].revents & POLLIN) {
            int fd = accept(fds[0].fd, NULL, NULL);
            if (fd >= 0) {
                clients[count].length = 0;
                fds[count++] = (struct pollfd){fd, POLLIN, 0};
            }
        }
    }
    unlink(path);
    return 0;
}

/* ---- the client ---- */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int run_load(const char *path, double seconds, double rate) {
    struct sockaddr_un address = address_of(path);
    static char line[LINE], answer[LINE];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail(path);
    double began = now();
    for (unsigned number = 0; now() - began < seconds; number++) {
        int key = rand() % KEYS, size = 500 + rand() % 3500;
        if (rand() % 2)
            snprintf(line, sizeof line, "SET key%d %0*d\n", key, size, key);
        else
            snprintf(line, sizeof line, "GET key%d\n", key);
        if (write(fd, line, strlen(line)) < 0)
            fail(path);
        do {
            ssize_t n = read(fd, answer, sizeof answer);
            if (n <= 0)
                fail(path);
            if (answer[n - 1] == '\n')
                break;
        } while (1);
        double early = began + number / rate - now();
        const struct timespec pause = {(time_t)early, (long)((early - (long)early) * 1e9)};
        if (early > 0)
            nanosleep(&pause, NULL);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 4 && strcmp(argv[1], "--load") == 0)
        return run_load(argv[2], atof(argv[3]), argc > 4 ? atof(argv[4]) : 500);
    leaks = argc == 3 && strcmp(argv[2], "--leak") == 0;
    if (argc < 2 || argc > 3 || (argc == 3 && !leaks)) {
        fprintf(stderr, "usage: service SOCKET [--leak] | --load SOCKET SECONDS [RATE]\n");
        return 2;
    }
    return run_server(argv[1]);
}
