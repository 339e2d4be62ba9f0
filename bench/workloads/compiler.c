/* A compiler without arenas: tokens that die at once, interned names and symbols that live to the
 * end, syntax trees that live for a function or for the whole run, lists of instructions that grow,
 * and passes that make scratch. Many small blocks, most of them freed at the end. */
#include "measure.h"

#define NAMES 20000 /* different ones in a program */

struct name {
    struct name *next;
    uint32_t hash, uses;
    char text[]; /* ends with 0 */
};

struct tree {
    uint16_t kind, children;
    uint32_t line;
    struct name *name;
    struct tree *child[];
};

struct instruction {
    struct instruction *next;
    uint16_t code, operands;
    uint64_t operand[];
};

struct function {
    struct function *next;
    struct tree *body;         /* kept for some: they are to be inlined */
    struct instruction *code;  /* to the end */
    uint32_t *lines;           /* a table, grown as needed */
    uint32_t line_count, room; /* entries */
};

static struct {
    struct name **buckets;
    size_t count, names;
} interned;
static struct rng rng;
static long ops;

static void *take(size_t size) {
    ops++;
    return must(malloc(size));
}

static void drop(void *p) {
    ops += p != NULL;
    free(p);
}

static void interned_grow(void) {
    size_t count = interned.count == 0 ? 256 : interned.count * 2;
    struct name **buckets = must(calloc(count, sizeof *buckets));
    ops++;
    for (size_t i = 0; i < interned.count; i++) {
        for (struct name *n = interned.buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            n->next = buckets[n->hash & (count - 1)];
            buckets[n->hash & (count - 1)] = n;
        }
    }
    drop(interned.buckets);
    interned.buckets = buckets;
    interned.count = count;
}

static struct name *intern(const char *text) {
    uint32_t hash = 2166136261u;
    for (const char *c = text; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    if (interned.names >= interned.count)
        interned_grow();
    struct name **at = &interned.buckets[hash & (interned.count - 1)];
    for (struct name *n = *at; n != NULL; n = n->next) {
        if (n->hash == hash && strcmp(n->text, text) == 0) {
            n->uses++;
            return n;
        }
    }
    size_t length = strlen(text);
    struct name *n = take(sizeof *n + length + 1);
    n->hash = hash;
    n->uses = 1;
    memcpy(n->text, text, length + 1);
    n->next = *at;
    *at = n;
    interned.names++;
    return n;
}

/* The token's own text is a block that dies as soon as its name is known. */
static struct name *lex(void) {
    static const char *const words[] = {"count",        "index",         "buffer_size", "p",
                                        "next_element", "tmp",           "result",      "i",
                                        "value",        "handle_request"};
    uint32_t number = rng_below(&rng, 1 + rng_below(&rng, NAMES));
    char *text = take(40);
    snprintf(text, 40, "%s_%u", words[number % 10], number);
    struct name *n = intern(text);
    drop(text);
    return n;
}

static struct tree *parse(int depth, uint32_t line) {
    static const uint8_t arity[8] = {0, 0, 1, 2, 2, 2, 3, 4};
    uint16_t kind = (uint16_t)(depth == 0 ? 0 : rng_below(&rng, 8)), children = arity[kind];
    struct tree *t = take(sizeof *t + children * sizeof t->child[0]);
    t->kind = kind;
    t->children = children;
    t->line = line;
    t->name = kind < 2 ? lex() : NULL;
    for (int i = 0; i < children; i++)
        t->child[i] = parse(depth - 1, line + (uint32_t)i);
    return t;
}

static void tree_drop(struct tree *t) {
    for (int i = 0; i < t->children; i++)
        tree_drop(t->child[i]);
    drop(t);
}

/* Appends what a tree compiles to; the copy of a folded constant is scratch. */
static struct instruction **generate(struct function *f, const struct tree *t,
                                     struct instruction **end) {
    for (int i = 0; i < t->children; i++)
        end = generate(f, t->child[i], end);
    uint16_t operands = (uint16_t)(1 + t->children % 3);
    struct instruction *in = take(sizeof *in + operands * sizeof in->operand[0]);
    in->next = NULL;
    in->code = t->kind;
    in->operands = operands;
    for (int i = 0; i < operands; i++)
        in->operand[i] = t->line + (unsigned)i;
    *end = in;
    if (f->line_count == f->room) {
        f->room = f->room < 16 ? 16 : f->room * 2;
        f->lines = must(realloc(f->lines, f->room * sizeof *f->lines));
        ops++;
    }
    f->lines[f->line_count++] = t->line;
    return &in->next;
}

/* A pass over the code: bit sets for each block of it, and some instructions replaced. */
static void optimise(struct function *f) {
    uint32_t blocks = f->line_count / 8 + 1, n = 0;
    uint64_t **live = must(calloc(blocks, sizeof *live));
    ops++;
    for (uint32_t i = 0; i < blocks; i++) {
        live[i] = must(calloc(f->line_count / 64 + 1, sizeof **live));
        ops++;
    }
    for (struct instruction **at = &f->code; *at != NULL; at = &(*at)->next, n++) {
        struct instruction *old = *at;
        live[n / 8][n / 64] |= 1ull << (n % 64);
        if (old->code != 3 || old->operands < 2)
            continue;
        struct instruction *in = take(sizeof *in + sizeof in->operand[0]);
        in->next = old->next;
        in->code = 9;
        in->operands = 1;
        in->operand[0] = old->operand[0] + old->operand[1];
        *at = in;
        drop(old);
    }
    for (uint32_t i = 0; i < blocks; i++)
        drop(live[i]);
    drop(live);
}

static struct function *compile(struct function *next) {
    struct function *f = must(calloc(1, sizeof *f));
    ops++;
    f->next = next;
    struct instruction **end = &f->code;
    uint32_t statements = rng_size(&rng, 2, 5);
    struct tree *body = take(sizeof *body + statements * sizeof body->child[0]);
    *body = (struct tree){.kind = 8, .children = (uint16_t)statements};
    for (uint32_t i = 0; i < statements; i++)
        body->child[i] = parse(7, i * 10);
    for (uint32_t i = 0; i < statements; i++)
        end = generate(f, body->child[i], end);
    optimise(f);
    if (rng_below(&rng, 4) == 0)
        f->body = body;
    else
        tree_drop(body);
    return f;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    rng = rng_make(12);
    struct function *functions = NULL;
    for (long i = bench_scaled(&bench, 1000); i > 0; i--)
        functions = compile(functions);
    bench_hold(&bench);
    while (functions != NULL) {
        struct function *next = functions->next;
        for (struct instruction *in = functions->code, *after; in != NULL; in = after) {
            after = in->next;
            drop(in);
        }
        if (functions->body != NULL)
            tree_drop(functions->body);
        drop(functions->lines);
        drop(functions);
        functions = next;
    }
    for (size_t i = 0; i < interned.count; i++) {
        for (struct name *n = interned.buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            drop(n);
        }
    }
    drop(interned.buckets);
    return bench_finish(&bench, ops);
}
