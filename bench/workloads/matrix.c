/* Numeric buffers of 8 to 200 KiB: expressions over vectors, each of whose steps makes a new one,
 * as array languages do; a few results stay. Every element is computed. */
#include "measure.h"

#define LIVE 240

struct vector {
    float *at;
    size_t count;
};

static long ops;

static struct vector make(size_t count) {
    ops++;
    return (struct vector){must(malloc(count * sizeof(float))), count};
}

static void drop(struct vector *v) {
    ops += v->at != NULL;
    free(v->at);
    v->at = NULL;
}

static struct vector fill(size_t count, float value) {
    struct vector v = make(count);
    for (size_t i = 0; i < count; i++)
        v.at[i] = value;
    return v;
}

/* a * scale + b, over the elements that both have */
static struct vector combine(struct vector a, float scale, struct vector b) {
    size_t count = a.count < b.count ? a.count : b.count;
    struct vector v = make(count);
    for (size_t i = 0; i < count; i++)
        v.at[i] = a.at[i] * scale + b.at[i];
    return v;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(14);
    static struct vector live[LIVE];
    for (int i = 0; i < LIVE; i++)
        live[i] = fill(rng_between(&rng, 2048, 51200), (float)i);
    for (long rounds = bench_scaled(&bench, 8000); rounds > 0; rounds--) {
        struct vector *result = &live[rng_below(&rng, LIVE)];
        struct vector fresh = fill(rng_between(&rng, 2048, 51200), 1);
        struct vector sum = combine(live[rng_below(&rng, LIVE)], 0.5f, fresh);
        struct vector product = combine(sum, 0.25f, live[rng_below(&rng, LIVE)]);
        drop(&sum);
        if (rng_below(&rng, 4) != 0) {
            drop(result);
            *result = fresh;
            drop(&product);
        } else {
            /* Values stay between 0 and the largest that was put in. */
            if (!(product.at[product.count / 2] >= 0 && product.at[product.count / 2] < 2 * LIVE))
                bench_die("a vector does not hold what was computed");
            drop(result);
            *result = product;
            drop(&fresh);
        }
    }
    bench_hold(&bench);
    for (int i = 0; i < LIVE; i++)
        drop(&live[i]);
    return bench_finish(&bench, ops);
}
