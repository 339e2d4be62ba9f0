/* Producer and consumer: half of the threads allocate and fill messages, the other half read and
 * free them. Messages go over in groups through a bounded queue, one queue for each pair of
 * threads. Nobody spins, and who has to wait is woken when there is work for a while, so that queue
 * and scheduler cost little beside the heap. */
#include "measure.h"

#define GROUP  256 /* messages */
#define DEPTH  64  /* groups in the queue */
#define ENOUGH 16  /* groups, or free places, for which it is worth being woken */

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long put, taken; /* groups so far; under the lock, but each is written by one side only */
    bool hungry, congested; /* the consumer, the producer waits */
    struct slot ring[DEPTH][GROUP];
};

static struct queue queues[BENCH_MAX_THREADS / 2];
static long groups;

static void produce(struct queue *q, struct worker *w) {
    struct rng rng = rng_make((uint64_t)w->index);
    for (long g = 0; g < groups; g++) {
        struct slot *group = q->ring[g % DEPTH];
        pthread_mutex_lock(&q->lock);
        q->congested = q->put - q->taken == DEPTH;
        while (q->congested)
            pthread_cond_wait(&q->changed, &q->lock);
        pthread_mutex_unlock(&q->lock);
        for (int i = 0; i < GROUP; i++)
            slot_fill(&group[i], rng_size(&rng, 16, 8));
        pthread_mutex_lock(&q->lock);
        q->put++;
        if (q->hungry && (q->put - q->taken >= ENOUGH || q->put == groups)) {
            q->hungry = false;
            pthread_cond_signal(&q->changed);
        }
        pthread_mutex_unlock(&q->lock);
    }
    w->ops = groups * GROUP;
}

static void consume(struct queue *q, struct worker *w) {
    for (long g = 0; g < groups; g++) {
        struct slot *group = q->ring[g % DEPTH];
        pthread_mutex_lock(&q->lock);
        q->hungry = q->put == q->taken;
        while (q->hungry)
            pthread_cond_wait(&q->changed, &q->lock);
        pthread_mutex_unlock(&q->lock);
        for (int i = 0; i < GROUP; i++)
            slot_drop(&group[i]);
        pthread_mutex_lock(&q->lock);
        q->taken++;
        if (q->congested && q->put - q->taken <= DEPTH - ENOUGH) {
            q->congested = false;
            pthread_cond_signal(&q->changed);
        }
        pthread_mutex_unlock(&q->lock);
    }
    w->ops = groups * GROUP;
}

static void work(struct worker *w) {
    struct queue *q = &queues[w->index / 2];
    if (w->index % 2 == 0)
        produce(q, w);
    else
        consume(q, w);
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 2);
    bench.threads += bench.threads % 2; /* they come in pairs */
    groups = bench_scaled(&bench, 10000) / (bench.threads / 2);
    groups = groups > 0 ? groups : 1;
    for (int i = 0; i < bench.threads / 2; i++) {
        pthread_mutex_init(&queues[i].lock, NULL);
        pthread_cond_init(&queues[i].changed, NULL);
    }
    bench_threads_start(&bench, work);
    long ops = bench_threads_wait(&bench);
    return bench_finish(&bench, ops);
}
