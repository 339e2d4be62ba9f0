/* The reader of dumps, fed with anything: whatever the bytes, dump_open gives an error that names
 * the file and a byte in it, or a dump in which every index, text and number can be used without
 * another check. What it accepts is used here in all these ways, so that a sanitizer sees it when a
 * check is missing.
 *
 * A libFuzzer target (tests/fuzz/run), and by replay.c a program that goes through saved inputs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "build_dump.h"
#include "mutate.h"
#include "reader/dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t room) __attribute__((weak));

static void must_hold(int condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "fuzz_reader: does not hold: %s\n", what);
        abort();
    }
}

#define MUST(condition) must_hold((condition) != 0, #condition)

static size_t used; /* so that no read is dropped */

static void use_text(const struct dump *dump, uint32_t text) {
    used += strlen(dump_text(dump, text));
}

static void use(const struct dump *dump) {
    const struct memprof_dump_process *p = dump->process;
    double sum = 0;
    use_text(dump, p->exe);
    use_text(dump, p->command);
    use_text(dump, p->host);
    use_text(dump, p->library);
    for (size_t i = 0; i < dump->module_count; i++) {
        const struct memprof_dump_module *m = &dump->modules[i];
        MUST(m->start < m->end);
        use_text(dump, m->path);
        for (uint32_t b = 0; b < m->build_id_size; b++)
            used += m->build_id[b];
    }
    for (size_t i = 0; i < dump->stack_count; i++) {
        const struct memprof_dump_stack *s = &dump->stacks[i];
        uint64_t frames[256];
        memcpy(frames, dump->frames + s->frame, s->depth * sizeof *frames);
        for (uint32_t f = 0; f < s->depth; f++) {
            const struct memprof_dump_module *m = dump_frame_module(dump, frames[f]);
            MUST((m != NULL) == (MEMPROF_FRAME_MODULE(frames[f]) != 0));
            used += m ? m->path : 0;
        }
        sum += s->allocated_objects + s->allocated_bytes + s->freed_objects + s->freed_bytes;
        MUST(isfinite(sum));
        MUST(fmin(s->allocated_objects, s->allocated_bytes) >= 0);
        MUST(fmin(s->freed_objects, s->freed_bytes) >= 0);
    }
    for (size_t i = 0; i < dump->sample_count; i++) {
        double weight = dump_sample_weight(&dump->samples[i]);
        MUST(isfinite(weight) && weight >= 1);
        used += dump->stacks[dump->samples[i].stack].depth;
    }
    for (size_t i = 0; i < dump->class_count; i++)
        MUST((dump->classes[i].kind == MEMPROF_CLASS_SIZED) == (dump->classes[i].size > 0));
    for (size_t i = 0; i < dump->map_count; i++) {
        MUST(dump->maps[i].start < dump->maps[i].end);
        MUST(dump->maps[i].kind <= MEMPROF_MAP_SPECIAL);
        use_text(dump, dump->maps[i].path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char path[32];
    struct dump *dump;
    struct dump_error error;
    /* A file like any other, and none on a disk. */
    int fd = memfd_create("dump", MFD_CLOEXEC);
    MUST(fd >= 0);
    MUST(write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (dump_open(&dump, path, &error) == 0) {
        use(dump);
        dump_close(dump);
    } else {
        MUST(dump == NULL);
        MUST(error.offset <= size);
        MUST(strncmp(error.text, path, strlen(path)) == 0);
        MUST(strncmp(error.text + strlen(path), ": at byte ", 10) == 0);
        MUST(strchr(error.text, '\n') == NULL);
    }
    close(fd);
    return 0;
}

/* Three in four inputs get right checksums, so that what lies behind them is reached. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed) {
    uint64_t random = seed;
    unsigned changes = 1 + seed % 4;
    if (seed / 4 % 3 == 0)
        size = LLVMFuzzerMutate(bytes, size, room);
    else
        while (changes-- > 0)
            size = mutate_dump(bytes, size, room, &random);
    if (seed / 12 % 4 != 0)
        build_repair(bytes, size);
    return size;
}
