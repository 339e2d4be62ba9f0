# gcc: a generated program at several levels, its object code, debug information, LTO and errors.
# set: core
# needs: gcc
# witness: gcc cc1 as collect2 ld lto1 program
# limit: 120
# shellcheck shell=bash

count=$(scale 40 200)
{
    cat <<'C'
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
struct node { struct node *left, *right; uint64_t key; char text[24]; };
#define STEP(n) x = x * 6364136223846793005ULL + n; sum ^= x >> (n % 13)
C
    for ((i = 0; i < count; i++)); do
        cat <<C
static uint64_t work_$i(uint64_t x, const char *s, unsigned n) {
    uint64_t sum = $i, table[$((i % 7 + 3))] = {x, 1, 2};
    for (unsigned k = 0; k < n; k++) {
        switch ((x >> 7) % $((i % 5 + 3))) {
        case 0: STEP($i); break;
        case 1: table[k % $((i % 7 + 3))] += x; /* falls through */
        case 2: sum += table[x % $((i % 7 + 3))] + strlen(s); break;
        default: STEP(7); sum += (uint64_t)((double)x / ($i.5 + k));
        }
    }
    return sum;
}
C
    done
    cat <<'C'
static struct node *insert(struct node *n, uint64_t key) {
    if (!n) {
        n = calloc(1, sizeof(*n));
        if (!n)
            abort();
        n->key = key;
        snprintf(n->text, sizeof(n->text), "%llx", (unsigned long long)key);
        return n;
    }
    if (key < n->key)
        n->left = insert(n->left, key);
    else
        n->right = insert(n->right, key);
    return n;
}
static uint64_t drop(struct node *n) {
    if (!n)
        return 0;
    uint64_t sum = drop(n->left) * 31 + strlen(n->text);
    sum = sum * 31 + drop(n->right);
    free(n);
    return sum;
}
static void *thread(void *arg) {
    struct node *root = NULL;
    uint64_t x = (uintptr_t)arg;
    for (int i = 0; i < 20000; i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        root = insert(root, x >> 20);
    }
    uint64_t *sum = malloc(sizeof(*sum));
    if (!sum)
        abort();
    *sum = drop(root);
    return sum;
}
int main(int argc, char **argv) {
    uint64_t sum = 0;
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, thread, (void *)(i + 1)))
            return 1;
    for (int i = 0; i < 4; i++) {
        void *got;
        pthread_join(threads[i], &got);
        sum = sum * 7 + *(uint64_t *)got;
        free(got);
    }
C
    for ((i = 0; i < count; i++)); do
        echo "    sum += work_$i(sum, argv[0] + (sum > 1 ? strlen(argv[0]) : 0), argc * 20);"
    done
    cat <<'C'
    printf("%llu\n", (unsigned long long)sum);
    FILE *maps = argc > 1 ? fopen("/proc/self/maps", "r") : NULL;
    for (int c; maps && (c = getc(maps)) != EOF;)
        putc(c, stderr);
    return (int)(sum % 50);
}
C
} >big.c

# -pipe would leave no time between them; each is a process of its own either way.
canary gcc cc1 as collect2 ld -- bash -c 'echo "int main(void) { return 0; }" | gcc -O1 -o tmp/tiny -x c -'
for flags in -O0 '-O2 -g' -O3 '-Os -fPIC -pipe'; do
    # shellcheck disable=SC2086 # several flags
    gcc $flags -c -frandom-seed=1 -o big.o big.c
    echo "$flags $(sha256sum <big.o)"
    gcc -o big big.o
    status ./big
done
./big maps 2>tmp/maps || true
mapped_text program tmp/maps
gcc -O2 -S -fverbose-asm -frandom-seed=1 -o - big.c | sha256sum
gcc -E -dD big.c | sha256sum

# LTO runs the compiler as a plugin's child, and the linker opens the plugin.
head -c 200 /dev/null >empty.c
gcc -flto -O1 -c -frandom-seed=2 -o lto.o big.c
canary lto1 -- gcc -flto=2 -O1 -frandom-seed=2 -o lto lto.o
status ./lto
strip -s -o stripped lto
objdump -d stripped | sed 1,3d | sha256sum
ar rcsD libbig.a big.o lto.o
nm libbig.a | sha256sum
readelf -aW big.o | sha256sum

cat >wrong.c <<'C'
#include "absent.h"
int f(struct unknown *u) { return u->field + undeclared; }
C
cat >warn.c <<'C'
#include <stdlib.h>
#include <string.h>
int g(int n) { int a[4]; for (int i = 0; i <= 4; i++) a[i] = n; return a[n & 3]; }
char *h(void) { char *p = malloc(3); strcpy(p, "four"); free(p); return p; }
C
status gcc -c wrong.c
sed -i 1d wrong.c
status gcc -c wrong.c
status gcc -O2 -Wall -Wextra -fanalyzer -c warn.c
status gcc -o none empty.c
status gcc -c absent.c
