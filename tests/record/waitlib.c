/* Opened by loader.c; its constructor runs while the loader's lock is held. */
extern void loader_hook(void);

__attribute__((constructor)) static void start(void) {
    loader_hook();
}
