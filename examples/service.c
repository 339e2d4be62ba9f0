/* A small service to try memprof on. Requests come in, four threads serve them: pages are rendered
 * and kept in a cache, uploads are read and stored. Everything it needs for a request it allocates
 * and frees; its memory grows all the same, for two reasons that memdiff is to find. It knows
 * nothing of memprof, like any program that is started under it.
 *
 *     service SECONDS */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, QUEUE = 64, BUCKETS = 4096, REQUESTS_PER_SECOND = 2000 };

struct request {
    unsigned number;
    char *path;
    char *headers[6];
};

static void *must(void *block) {
    if (!block)
        abort();
    return block;
}

static char *text(const char *what, unsigned number) {
    char *made = must(malloc(64));
    snprintf(made, 64, "%s%u", what, number);
    return made;
}

/* ---- the queue between the listener and the workers ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct request *waiting[QUEUE];
    unsigned first, count;
    int closed;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void enqueue(struct request *request) {
    pthread_mutex_lock(&queue.lock);
    while (queue.count == QUEUE)
        pthread_cond_wait(&queue.changed, &queue.lock);
    queue.waiting[(queue.first + queue.count++) % QUEUE] = request;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
}

static struct request *dequeue(void) {
    struct request *request = NULL;
    pthread_mutex_lock(&queue.lock);
    while (queue.count == 0 && !queue.closed)
        pthread_cond_wait(&queue.changed, &queue.lock);
    if (queue.count > 0) {
        request = queue.waiting[queue.first];
        queue.first = (queue.first + 1) % QUEUE;
        queue.count--;
        pthread_cond_broadcast(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    return request;
}

/* ---- pages, and a cache of them that nobody ever empties ---- */

struct page {
    struct page *next;
    char *path;
    char *body;
};

static struct page *cache[BUCKETS];
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned hash(const char *path) {
    unsigned h = 5381;
    while (*path)
        h = h * 33 + (unsigned char)*path++;
    return h % BUCKETS;
}

static char *render_page(const char *path) {
    char *body = must(malloc(2000));
    memset(body, ' ', 2000);
    snprintf(body, 2000, "<h1>%s</h1>", path);
    return body;
}

static void serve_page(const struct request *request) {
    pthread_mutex_lock(&cache_lock);
    struct page **bucket = &cache[hash(request->path)], *page = *bucket;
    while (page && strcmp(page->path, request->path) != 0)
        page = page->next;
    if (!page) {
        page = must(malloc(sizeof *page));
        page->path = must(strdup(request->path));
        page->body = render_page(request->path);
        page->next = *bucket;
        *bucket = page;
    }
    pthread_mutex_unlock(&cache_lock);
    char *answer = must(malloc(4096));
    snprintf(answer, 4096, "200 %s", page->body);
    free(answer);
}

/* ---- uploads ---- */

struct upload {
    unsigned char bytes[8192];
};

static struct upload *read_upload(const struct request *request) {
    struct upload *upload = must(malloc(sizeof *upload));
    memset(upload, (int)request->number, sizeof *upload);
    return upload;
}

static int store_upload(const struct upload *upload) {
    return upload->bytes[0] % 2 == 0;
}

static void serve_upload(const struct request *request) {
    struct upload *upload = read_upload(request);
    if (!store_upload(upload))
        return; /* the bug: an upload that cannot be stored is never freed */
    free(upload);
}

/* ---- requests ---- */

static struct request *receive(unsigned number) {
    struct request *request = must(malloc(sizeof *request));
    request->number = number;
    /* One page in twenty is new, the others are asked for again and again. */
    request->path = text("/page/", number % 20 ? number % 500 : number);
    for (unsigned i = 0; i < 6; i++)
        request->headers[i] = text("header: ", number + i);
    return request;
}

static void dismiss(struct request *request) {
    for (unsigned i = 0; i < 6; i++)
        free(request->headers[i]);
    free(request->path);
    free(request);
}

static void *work(void *unused) {
    struct request *request;
    while ((request = dequeue()) != NULL) {
        if (request->number % 9 == 0)
            serve_upload(request);
        else
            serve_page(request);
        dismiss(request);
    }
    return unused;
}

int main(int argc, char **argv) {
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 30;
    unsigned requests = seconds * REQUESTS_PER_SECOND;
    const struct timespec pause = {0, 10000000};
    pthread_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, NULL);
    for (unsigned number = 0; number < requests; number++) {
        enqueue(receive(number));
        if (number % (REQUESTS_PER_SECOND / 100) == 0)
            nanosleep(&pause, NULL);
    }
    pthread_mutex_lock(&queue.lock);
    queue.closed = 1;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    return 0;
}
