/*
 * Libraries that come and go in a running program.
 *
 *     loading CASE FOLDER     FOLDER holds libplugin.so and libopener.so
 *
 *     loops      opened and closed again and again, while other threads allocate
 *     together   by several threads at once, with threads being made meanwhile
 *     deepbind   opened with RTLD_DEEPBIND: its malloc and free are then the C library's, unless
 *                something is done about it, and blocks cross all the same
 *     runpath    dlopen of a bare name finds it by the calling library's RUNPATH
 *     errors     what dlopen refuses, and what dlerror says of it
 *     namespace  dlmopen: a second C library with a heap of its own, which is no matter of ours
 *                but must go on working beside
 */
#include "probe.h"

#include <pthread.h>
#include <stdatomic.h>

static char plugin_path[4096], opener_path[4096];

struct plugin {
    void *handle;
    void (*free)(void *);
    void *(*malloc)(size_t);
    void *(*realloc)(void *, size_t);
    char *(*copy)(const char *);
    char *(*line)(void);
    int (*constructed)(void);
};

static void *symbol(void *handle, const char *name) {
    void *address = dlsym(handle, name);
    probe_check(address != NULL, "dlsym %s: %s", name, dlerror());
    return address;
}

static struct plugin look_up(void *handle) {
    probe_check(handle != NULL, "dlopen: %s", dlerror());
    struct plugin plugin = {.handle = handle};
    *(void **)&plugin.free = symbol(handle, "plugin_free");
    *(void **)&plugin.malloc = symbol(handle, "plugin_malloc");
    *(void **)&plugin.realloc = symbol(handle, "plugin_realloc");
    *(void **)&plugin.copy = symbol(handle, "plugin_copy");
    *(void **)&plugin.line = symbol(handle, "plugin_line");
    *(void **)&plugin.constructed = symbol(handle, "plugin_constructed");
    probe_check(plugin.constructed(), "what the constructor made is wrong");
    return plugin;
}

/* Every way a block can cross. */
static void cross(const struct plugin *plugin) {
    for (size_t size = 1; size < 6 * PROBE_MIB; size = size * 2 + 3) {
        unsigned char *block = malloc(size);
        probe_check(block != NULL, "malloc");
        memset(block, 3, size);
        block = plugin->realloc(block, size * 2);
        probe_check(block != NULL && block[0] == 3 && block[size - 1] == 3,
                    "a block lost its contents on the way");
        plugin->free(block);
        block = plugin->malloc(size);
        probe_check(block != NULL, "the plugin's malloc");
        memset(block, 4, size);
        block = realloc(block, size + 100);
        probe_check(block != NULL && block[size - 1] == 4, "a block lost its contents back");
        free(block);
    }
    char *copy = plugin->copy("a text");
    probe_check(copy != NULL && strcmp(copy, "a text") == 0, "strdup in the plugin");
    free(copy);
    plugin->free(strdup("another"));
    free(plugin->line());
}

static atomic_bool stop;

static void *allocate_on(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    while (!atomic_load(&stop))
        probe_exercise(seed++, "while libraries come and go");
    return NULL;
}

static void *nothing(void *argument) {
    return argument;
}

static void *open_and_close(void *argument) {
    for (int i = 0; i < 60; i++) {
        struct plugin plugin = look_up(dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL));
        free(plugin.copy("one"));
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) == 0)
            pthread_join(thread, NULL);
        dlclose(plugin.handle);
    }
    return argument;
}

static void loops(void) {
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        probe_check(pthread_create(&threads[i], NULL, allocate_on, (void *)i) == 0,
                    "pthread_create");
    for (int i = 0; i < 200; i++) {
        struct plugin plugin = look_up(
            dlopen(plugin_path, (i % 2 ? RTLD_NOW : RTLD_LAZY) | (i % 3 ? 0 : RTLD_GLOBAL)));
        char *kept = plugin.copy("outlives its maker");
        if (i % 20 == 0)
            cross(&plugin);
        dlclose(plugin.handle);
        probe_check(strcmp(kept, "outlives its maker") == 0, "a closed library's block changed");
        free(kept);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void together(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        probe_check(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void deepbind(void) {
    for (int i = 0; i < 3; i++) {
        struct plugin plugin = look_up(dlopen(plugin_path, RTLD_NOW | RTLD_DEEPBIND));
        cross(&plugin);
        dlclose(plugin.handle);
    }
}

static void runpath(void) {
    void *opener = dlopen(opener_path, RTLD_NOW);
    probe_check(opener != NULL, "dlopen: %s", dlerror());
    void *(*open_from)(const char *, int);
    *(void **)&open_from = symbol(opener, "open_from_library");
    const int flags[] = {RTLD_NOW, RTLD_LAZY | RTLD_DEEPBIND};
    for (int i = 0; i < 2; i++) {
        void *handle = open_from("libplugin.so", flags[i]);
        probe_check(handle != NULL, "the caller's RUNPATH is not searched: %s", dlerror());
        struct plugin plugin = look_up(handle);
        cross(&plugin);
        dlclose(handle);
    }
    dlclose(opener);
}

static void errors(void) {
    static const char *const names[] = {"/nonexistent/library.so", "no-such-library.so",
                                        "/etc/passwd"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        dlerror();
        probe_check(dlopen(names[i], RTLD_NOW | (i % 2 ? RTLD_DEEPBIND : 0)) == NULL,
                    "dlopen of %s", names[i]);
        char *error = dlerror();
        probe_check(error != NULL && strstr(error, names[i]) != NULL, "dlerror says '%s' of %s",
                    error == NULL ? "" : error, names[i]);
        probe_check(dlerror() == NULL, "dlerror says it twice");
    }
    probe_check(dlopen(plugin_path, 0) == NULL, "dlopen without a mode");
    probe_check(strstr(dlerror(), "mode") != NULL, "dlerror of a wrong mode");
    probe_check(dlopen(plugin_path, RTLD_NOW | RTLD_NOLOAD) == NULL, "RTLD_NOLOAD loads");
    void *handle = dlopen(NULL, RTLD_NOW);
    probe_check(handle != NULL && dlsym(handle, "malloc") != NULL, "dlopen of the program itself");
    dlclose(handle);
}

static void namespaces(void) {
    for (int i = 0; i < 5; i++) {
        void *handle = dlmopen(LM_ID_NEWLM, plugin_path, RTLD_NOW);
        if (handle == NULL)
            probe_skip("dlmopen: %s", dlerror());
        struct plugin plugin = look_up(handle);
        for (size_t size = 1; size < 2 * PROBE_MIB; size = size * 3 + 1) {
            void *theirs = plugin.malloc(size);
            struct probe_block *ours = probe_block_new(size);
            probe_check(theirs != NULL && ours != NULL, "malloc");
            theirs = plugin.realloc(theirs, size * 2);
            memset(theirs, 1, size * 2);
            plugin.free(theirs);
            probe_block_free(ours);
        }
        dlclose(handle);
    }
}

int main(int argc, char **argv) {
    probe_begin(60);
    if (argc < 3)
        probe_fail("usage: loading CASE FOLDER");
    snprintf(plugin_path, sizeof(plugin_path), "%s/libplugin.so", argv[2]);
    snprintf(opener_path, sizeof(opener_path), "%s/libopener.so", argv[2]);
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"loops", loops},     {"together", together}, {"deepbind", deepbind},
                 {"runpath", runpath}, {"errors", errors},     {"namespace", namespaces}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            probe_exercise(1, "at the end");
            return 0;
        }
    probe_fail("no case %s", argv[1]);
}
