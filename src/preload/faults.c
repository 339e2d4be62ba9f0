/* Only in the test build libmemprof-faults.so: makes memprof's own system calls fail as the
 * variable MEMPROF_FAULTS says: comma-separated rules CALL@N        the Nth call of that name fails
 * with ENOMEM (1: the first) CALL@N+       that and all later ones CALL%P:SEED   each with a chance
 * of P in 1000 CALL is a name as in platform/sys.c, or * for any. */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "platform/sys.h"

#define RULES 16

struct rule {
    const char *call;
    size_t call_length;
    uint32_t nth; /* 0: by chance */
    uint32_t permille;
    int onward;
    _Atomic(uint32_t) seen;
    _Atomic(uint64_t) state;
};

static struct rule rules[RULES];
static unsigned rule_count;

static uint32_t number(const char **at) {
    uint32_t value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        value = value * 10 + (uint32_t)(**at - '0');
    return value;
}

static int applies(struct rule *rule) {
    if (rule->nth) {
        uint32_t seen = ++rule->seen;
        return seen == rule->nth || (rule->onward && seen > rule->nth);
    }
    uint64_t state = atomic_fetch_add(&rule->state, 0x9e3779b97f4a7c15u);
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
    return (state >> 33) % 1000 < rule->permille;
}

static int fault(const char *name) {
    for (unsigned i = 0; i < rule_count; i++) {
        struct rule *rule = &rules[i];
        int named =
            strlen(name) == rule->call_length && memcmp(name, rule->call, rule->call_length) == 0;
        if ((named || *rule->call == '*') && applies(rule))
            return ENOMEM;
    }
    return 0;
}

__attribute__((constructor(102))) static void start(void) {
    const char *at = getenv("MEMPROF_FAULTS");
    while (at && *at && rule_count < RULES) {
        struct rule *rule = &rules[rule_count++];
        rule->call = at;
        rule->call_length = strcspn(at, "@%,");
        at += rule->call_length;
        char kind = *at ? *at++ : '\0';
        uint32_t value = number(&at);
        if (kind == '@') {
            rule->nth = value;
            if (*at == '+') {
                rule->onward = 1;
                at++;
            }
        } else {
            rule->permille = value;
            if (*at == ':') {
                at++;
                rule->state = number(&at);
            }
        }
        if (*at == ',')
            at++;
    }
    if (rule_count)
        mp_sys_fault = fault;
}
