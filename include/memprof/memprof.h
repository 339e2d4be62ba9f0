/* What a program may ask of the memprof that runs under it. All of it is weak: a program that is
 * linked without the library, and run without it, finds null pointers:
 *
 *     if (memprof_dump)
 *         memprof_dump("/tmp/after-warmup.heap");
 */
#ifndef MEMPROF_MEMPROF_H
#define MEMPROF_MEMPROF_H

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MEMPROF_API
#define MEMPROF_API __attribute__((weak))
#endif

/* Writes a dump to `path`; NULL: to where the option `dump` says. Returns when the file is there;
 * meanwhile other threads run on. 0, or -1 with errno set. Not from a signal handler. */
MEMPROF_API int memprof_dump(const char *path);

#ifdef __cplusplus
}
#endif

#endif
