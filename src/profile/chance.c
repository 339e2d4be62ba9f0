#include "profile/chance.h"

#include <string.h>

/* splitmix64 */
uint64_t mp_chance_next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t mp_chance_stream(uint64_t seed, uint64_t index) {
    uint64_t state = seed ^ 0x6d656d70726f6600u;
    state = mp_chance_next(&state) + index * 0xd1342543de82ef95u;
    uint64_t stream = mp_chance_next(&state);
    return stream ? stream : 1;
}

/* In (0, 1]. */
static double uniform(uint64_t *state) {
    return (double)((mp_chance_next(state) >> 11) + 1) * 0x1p-53;
}

/* ln of a positive normal number: the exponent, and ln m = 2 artanh((m - 1) / (m + 1)) of a
 * mantissa within a factor of sqrt 2 of one. */
static double logarithm(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m /= 2;
        exponent++;
    }
    double s = (m - 1) / (m + 1), square = s * s, sum = 0;
    for (int n = 21; n >= 1; n -= 2)
        sum = sum * square + 1.0 / n;
    return exponent * 0.6931471805599453 + 2 * s * sum;
}

/* 1 - exp(-x) for x >= 0: by its series where the difference would lose digits; further out
 * exp(-x) = exp(-x / 2^k) ^ (2^k). */
static double complement_of_exp(double x) {
    if (x > 40)
        return 1;
    int halvings = 0;
    while (x > 0.25) {
        x /= 2;
        halvings++;
    }
    double sum = 0;
    for (int n = 14; n >= 1; n--)
        sum = (1 - sum) * x / n;
    while (halvings-- > 0)
        sum = sum * (2 - sum);
    return sum;
}

double mp_chance_of(uint64_t bytes, uint64_t rate) {
    return rate <= 1 ? 1 : complement_of_exp((double)bytes / (double)rate);
}

int mp_chance_toss(uint64_t *state, double p) {
    return p >= 1 || uniform(state) <= p;
}

uint32_t mp_chance_count(uint64_t *state, uint64_t bytes, uint64_t rate) {
    if (rate <= 1)
        return 1;
    double count = -logarithm(uniform(state)) * (double)rate / (double)bytes;
    return count < 4e9 ? (uint32_t)count + 1 : 4000000000u;
}
