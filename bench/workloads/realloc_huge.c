/* One huge buffer that grows and is filled as it grows, as a file of unknown length is read: to 64
 * MiB by an eighth each time, to 200 MiB by half, and by doubling, which is how most programs and
 * languages do it. Then it is cut to what was needed, a third, checked, and freed. Blocks beside it
 * keep it from being the last of the heap. */
#include "measure.h"

#define FIRST ((size_t)256 << 10)

static const struct {
    size_t part; /* it grows by size / part */
    long mib;    /* to this */
} growths[] = {{8, 64}, {2, 200}, {1, 200}};

static size_t whole_pages(size_t bytes) {
    return (bytes + BENCH_PAGE - 1) / BENCH_PAGE * BENCH_PAGE;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    long ops = 0;
    for (size_t g = 0; g < sizeof growths / sizeof *growths; g++) {
        size_t most = whole_pages((size_t)bench_scaled(&bench, growths[g].mib << 20));
        size_t size = 0, room = FIRST;
        char *buffer = must(malloc(room));
        struct slot beside[2];
        slot_fill(&beside[0], 100);
        slot_fill(&beside[1], 200 << 10);
        ops += 3;
        for (;;) {
            for (; size < room; size += BENCH_PAGE)
                memset(buffer + size, 'a' + (int)(size / BENCH_PAGE % 26), BENCH_PAGE);
            if (room >= most)
                break;
            room += whole_pages(room / growths[g].part);
            room = room < most ? room : most;
            buffer = must(realloc(buffer, room));
            ops++;
        }
        if (g == 1)
            bench_hold(&bench);
        size = whole_pages(size / 3);
        buffer = must(realloc(buffer, size));
        for (size_t at = 0; at < size; at += BENCH_PAGE) {
            if (buffer[at] != 'a' + (int)(at / BENCH_PAGE % 26))
                bench_die("the buffer lost a page");
        }
        free(buffer);
        ops += 2 + slot_drop(&beside[0]) + slot_drop(&beside[1]);
    }
    return bench_finish(&bench, ops);
}
