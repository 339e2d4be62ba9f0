/*
 * Modules that stacks were recorded in go, others take their place, and come back: each frame is
 * the module's that was there.
 *
 *     modules PLUG-A PLUG-B PLUG-C     what plug.c makes; C is A built anew
 */
#include "record.h"

typedef void *plug_function(size_t size);

struct plug {
    void *handle;
    uintptr_t base;
    plug_function *enter;
    void *allocate;
};

static void *kept[5][R_KEEP];

static void copy_file(const char *from, const char *to) {
    char buffer[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    unlink(to); /* another file, not another content */
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    for (ssize_t n; (n = read(in, buffer, sizeof(buffer))) > 0;)
        CHECK(write(out, buffer, (size_t)n) == n, "%s: %s", to, strerror(errno));
    CHECK(in >= 0 && out >= 0, "%s to %s: %s", from, to, strerror(errno));
    close(in);
    close(out);
}

static bool open_plug(struct plug *plug, const char *path) {
    struct link_map *map;
    plug->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plug->handle || dlinfo(plug->handle, RTLD_DI_LINKMAP, &map) != 0) {
        t_fail("%s", dlerror());
        return false;
    }
    plug->base = map->l_addr;
    *(void **)&plug->enter = dlsym(plug->handle, "plug_enter");
    plug->allocate = dlsym(plug->handle, "plug_allocate");
    return plug->enter && plug->allocate;
}

/* What the dump FILE, which comes later, must say of the row's blocks: asked while the module is
 * there. STATE: what the module is by then. */
static void expect_row(const struct plug *plug, unsigned row, const char *file, const char *module,
                       const char *state, const char *name) {
    r_expect(file, name, "cfi,fp,libunwind", 2200 + row, R_KEEP, "any");
    r_in(plug->allocate);
    r_of(module, state);
    r_in((void *)plug->enter);
    r_of(module, state);
    r_add(" ?@modules");
    r_done("*");
}

static void use(const struct plug *plug, unsigned row) {
    for (int i = 0; i < R_KEEP; i++)
        kept[row][i] = plug->enter(2200 + row);
}

static struct plug one, other, again;
static const char *new_build;

static void in_turn(void) {
    NEED(open_plug(&one, "./plug-a.so"), "the first module");
    use(&one, 0);
    expect_row(&one, 0, "modules-1.heap", "plug-a.so", "loaded", "frames of a module are its own");
    expect_row(&one, 0, "modules-2.heap", "plug-a.so", "gone",
               "frames of a module that is gone are its own");
    printf("module modules-1.heap|a module is there|plug-a.so|loaded|1\n");
    r_dump("modules-1.heap");
    dlclose(one.handle);
    NEED(open_plug(&other, "./plug-b.so"), "the second module");
    use(&other, 1);
    expect_row(&other, 1, "modules-2.heap", "plug-b.so", "loaded",
               "frames of what has its place are not the first's");
    r_dump("modules-2.heap");
    dlclose(other.handle);
    if (other.base != one.base)
        SKIP("the second module is not where the first one was");
    printf("module modules-2.heap|a module that is gone is marked so|plug-a.so|gone|1\n");
    printf("module modules-2.heap|what has its place is not|plug-b.so|loaded|1\n");
}

static void comes_back(void) {
    NEED(open_plug(&again, "./plug-a.so"), "the first module again");
    use(&again, 2);
    expect_row(&again, 2, "modules-3.heap", "plug-a.so", "loaded",
               "frames of a module that came back are its own");
    r_dump("modules-3.heap");
    dlclose(again.handle);
    if (again.base != one.base)
        SKIP("the module is not where it was");
    printf("module modules-3.heap|a module that came back is the same|plug-a.so|loaded|1\n");
    printf("module modules-3.heap|and there is no second|plug-a.so|gone|0\n");
    printf("module modules-3.heap|the other one is gone|plug-b.so|gone|1\n");
}

/* Two builds under one name, called by the same instruction: their stacks differ in nothing but the
 * module. */
static void is_built_anew(void) {
    static const char file[] = "modules-4.heap", name[] = "plug-a.so";
    struct plug builds[2];
    volatile int count = COUNT(builds);
    for (int i = 0; i < count; i++) {
        struct plug *plug = &builds[i];
        if (i == 1)
            copy_file(new_build, "./plug-a.so");
        NEED(open_plug(plug, "./plug-a.so"), "build %d", i);
        use(plug, 3 + (unsigned)i);
        if (i == 0) {
            expect_row(plug, 3, file, name, "gone", "frames of an old build stay with it");
            dlclose(plug->handle);
        }
    }
    expect_row(&builds[1], 4, file, name, "loaded", "frames of a new build are its own");
    r_dump(file);
    dlclose(builds[1].handle);
    if (builds[1].allocate != builds[0].allocate || builds[1].enter != builds[0].enter)
        SKIP("the new build is not where the old one was");
    printf("module %s|the old build is gone|plug-a.so|gone|1\n", file);
    printf("module %s|the new build is there|plug-a.so|loaded|1\n", file);
}

static void many_times(void) {
    bool in_place = true;
    for (int i = 0; i < (t_full ? 2000 : 50); i++) {
        struct plug plug;
        NEED(open_plug(&plug, "./plug-b.so"), "round %d", i);
        for (int k = 0; k < 4; k++)
            free(plug.enter(2250));
        in_place = in_place && plug.base == other.base;
        dlclose(plug.handle);
    }
    r_dump("modules-5.heap");
    if (!in_place)
        SKIP("the module was not always at one place");
    printf("module modules-5.heap|a module that came often is there once|plug-b.so|gone|1\n");
}

int main(int argc, char **argv) {
    /* A sample, with what comes of the first: nothing else is to be mapped between the modules. */
    void *volatile large = malloc((size_t)64 << 20);
    free(large);
    t_init();
    r_watchdog(60);
    if (argc != 4)
        return 2;
    copy_file(argv[1], "./plug-a.so");
    copy_file(argv[2], "./plug-b.so");
    new_build = argv[3];
    RUN("a module goes, and another takes its place", in_turn);
    RUN("a module comes back", comes_back);
    RUN("a module is built anew", is_built_anew);
    RUN("a module comes and goes", many_times);
    return t_done();
}
