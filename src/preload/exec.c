/* execve and its relatives: another program takes this one's place, and with it whatever signals
 * are on their way. The one by which requests come would be the end of a program that does not
 * catch it: so it is ignored from here on, which lasts, until that program catches it as this one
 * did, or the call fails. Who makes the system call by other means is not noticed. The children of
 * posix_spawn have no handlers: the command does not send them any. */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "control/request.h"
#include "platform/arch.h"
#include "platform/elf.h"
#include "preload/preload.h"

typedef int by_path(const char *path, char *const argv[], char *const envp[]);
typedef int by_file(int fd, char *const argv[], char *const envp[]);
typedef int by_folder(int fd, const char *path, char *const argv[], char *const envp[], int flags);

MP_EXPORT by_path execve, execvpe;
MP_EXPORT by_file fexecve;
MP_EXPORT by_folder execveat;
MP_EXPORT int execv(const char *path, char *const argv[]);
MP_EXPORT int execvp(const char *file, char *const argv[]);
MP_EXPORT int execl(const char *path, const char *argument, ...);
MP_EXPORT int execlp(const char *file, const char *argument, ...);
MP_EXPORT int execle(const char *path, const char *argument, ...);

/* The definitions after ours. */
union next {
    const void *object;
    by_path *path;
    by_file *file;
    by_folder *folder;
};

static _Atomic(const void *) next_execve, next_execvpe, next_fexecve, next_execveat;

static int is_missing(void) {
    errno = ENOSYS;
    return -1;
}

static MP_COLD union next find(_Atomic(const void *) *known, const char *name) {
    if (!*known)
        *known = mp_elf_find_next(name);
    return (union next){*known};
}

/* In a child of vfork all this is in its parent's memory. None of ours calls another by its name,
 * which may be a third library's. */
static int replace(_Atomic(const void *) *known, const char *name, const char *path,
                   char *const argv[], char *const envp[]) {
    union next next = find(known, name);
    if (!next.object)
        return is_missing();
    bool left = mp_request_leave();
    int result = next.path(path, argv, envp);
    mp_request_stay(left);
    return result;
}

int execve(const char *path, char *const argv[], char *const envp[]) {
    return replace(&next_execve, "execve", path, argv, envp);
}

int execvpe(const char *file, char *const argv[], char *const envp[]) {
    return replace(&next_execvpe, "execvpe", file, argv, envp);
}

int execv(const char *path, char *const argv[]) {
    return replace(&next_execve, "execve", path, argv, environ);
}

int execvp(const char *file, char *const argv[]) {
    return replace(&next_execvpe, "execvpe", file, argv, environ);
}

int fexecve(int fd, char *const argv[], char *const envp[]) {
    union next next = find(&next_fexecve, "fexecve");
    if (!next.object)
        return is_missing();
    bool left = mp_request_leave();
    int result = next.file(fd, argv, envp);
    mp_request_stay(left);
    return result;
}

int execveat(int folder, const char *path, char *const argv[], char *const envp[], int flags) {
    union next next = find(&next_execveat, "execveat");
    if (!next.object)
        return is_missing();
    bool left = mp_request_leave();
    int result = next.folder(folder, path, argv, envp, flags);
    mp_request_stay(left);
    return result;
}

/* ---- arguments one by one ---- */

/* With the first, and the NULL behind them. */
static size_t count_arguments(const char *first, va_list rest) {
    size_t count = 1;
    for (const char *at = first; at; count++)
        at = va_arg(rest, const char *);
    return count;
}

/* `rest` is behind the NULL then. */
static void list_arguments(char **list, const char *first, va_list *rest) {
    union {
        const char *given;
        char *listed;
    } argument = {first};
    while ((*list++ = argument.listed))
        argument.given = va_arg(*rest, const char *);
}

/* On the stack: a child of vfork is to leave nothing behind in the heap. */
#define LIST_ARGUMENTS(list, first, rest)                                                          \
    do {                                                                                           \
        va_list counted;                                                                           \
        va_start(rest, first);                                                                     \
        va_copy(counted, rest);                                                                    \
        (list) = __builtin_alloca(count_arguments(first, counted) * sizeof *(list));               \
        va_end(counted);                                                                           \
        list_arguments(list, first, &rest);                                                        \
    } while (0)

int execl(const char *path, const char *argument, ...) {
    char **list;
    va_list rest;
    LIST_ARGUMENTS(list, argument, rest);
    va_end(rest);
    return replace(&next_execve, "execve", path, list, environ);
}

int execlp(const char *file, const char *argument, ...) {
    char **list;
    va_list rest;
    LIST_ARGUMENTS(list, argument, rest);
    va_end(rest);
    return replace(&next_execvpe, "execvpe", file, list, environ);
}

int execle(const char *path, const char *argument, ...) {
    char **list;
    va_list rest;
    LIST_ARGUMENTS(list, argument, rest);
    char *const *environment = va_arg(rest, char *const *);
    va_end(rest);
    return replace(&next_execve, "execve", path, list, environment);
}
