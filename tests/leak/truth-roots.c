/* Where a pointer may be outside of blocks: in variables of all kinds, in registers, and in what
 * libc holds. */
#include "truth.h"

#include <signal.h>
#include <time.h>

BLOCK(keep_block)
BLOCK(lost_block)

/* ---- variables ---- */

static void *volatile global;
static void *volatile far[100000];
static struct {
    char text[16];
    void *volatile pointer;
} initialised = {"not zero", NULL};

MAKES void make_globals(void) {
    static void *volatile in_function[1];
    global = keep_block(40);
    truth_point((void *)in_function, 0, keep_block(48));
    far[COUNT(far) - 1] = keep_block(56);
    far[COUNT(far) / 2] = keep_block(64);
    initialised.pointer = keep_block(72);
}

static void run_globals(void) {
    truth_make(make_globals);
    truth_rest();
}

static __thread void *volatile by_thread;
static __thread void *volatile by_thread_far[1000];

MAKES void make_tls(void) {
    by_thread = keep_block(40);
    by_thread_far[COUNT(by_thread_far) - 1] = keep_block(48);
}

static void *hold_by_tls(void *unused) {
    truth_make(make_tls);
    truth_started();
    truth_block();
    return unused;
}

static void run_tls(void) {
    truth_make(make_tls);
    truth_rest();
}

static void run_tls_of_thread(void) {
    truth_thread(hold_by_tls, NULL);
    truth_await(1);
    truth_rest();
}

/* As no linker has laid it out: the first use makes a thread's copy. */
static void *plug;

__attribute__((noinline)) static void tell_plug(const char *function, void *block) {
    void (*hold)(void *) = (void (*)(void *))dlsym(plug, function);
    if (!hold)
        truth_die(function);
    hold(block);
}

MAKES void make_tls_dynamic(void) {
    tell_plug("plug_hold_by_thread", keep_block(40));
    tell_plug("plug_hold_in_table", keep_block(48));
}

static void *hold_by_tls_dynamic(void *unused) {
    truth_make(make_tls_dynamic);
    truth_started();
    truth_block();
    return unused;
}

static void run_tls_dynamic(void) {
    plug = truth_plug();
    truth_make(make_tls_dynamic);
    for (unsigned i = 0; i < 3; i++)
        truth_thread(hold_by_tls_dynamic, NULL);
    truth_await(3);
    truth_rest();
}

/* The thread is older than the plug-in. */
static sem_t plug_is_there;

static void *hold_by_tls_later(void *unused) {
    while (sem_wait(&plug_is_there) != 0)
        continue;
    return hold_by_tls_dynamic(unused);
}

static void run_tls_later(void) {
    sem_init(&plug_is_there, 0, 0);
    truth_thread(hold_by_tls_later, NULL);
    plug = truth_plug();
    sem_post(&plug_is_there);
    truth_await(1);
    truth_rest();
}

MAKES void make_plugged(void) {
    tell_plug("plug_hold", keep_block(40));
}

static void run_plugged(void) {
    plug = truth_plug();
    truth_make(make_plugged);
    truth_rest();
}

MAKES void make_unplugged(void) {
    plug = truth_plug();
    tell_plug("plug_hold", lost_block(40));
    dlclose(plug);
    plug = NULL;
    truth_scrub();
}

static void run_unplugged(void) {
    truth_make(make_unplugged);
    truth_rest();
}

/* More than libc has room for in a thread's own record. */
#define KEYS 200
static pthread_key_t keys[KEYS];

MAKES void make_keys(void) {
    for (size_t i = 0; i < KEYS; i++)
        pthread_setspecific(keys[i], keep_block(8 + i));
}

static void *hold_by_keys(void *unused) {
    truth_make(make_keys);
    truth_started();
    truth_block();
    return unused;
}

static void run_keys(void) {
    for (size_t i = 0; i < KEYS; i++) {
        if (pthread_key_create(&keys[i], NULL) != 0)
            truth_die("pthread_key_create");
    }
    truth_make(make_keys);
    truth_thread(hold_by_keys, NULL);
    truth_await(1);
    truth_rest();
}

/* ---- arguments ---- */

static char **arguments_of_main(void) {
    extern char **environ; /* behind argv and its end */
    char **at = environ - 2;
    return at;
}

static void run_arguments(void) {
    arguments_of_main()[0] = keep_block(40);
    truth_rest();
}

/* ---- registers ---- */

#if defined(__x86_64__)
#define PRESERVED "rbx"
#define SYSTEM_READ(got, buffer)                                                                   \
    __asm__ volatile("syscall"                                                                     \
                     : "=a"(got), "+r"(held)                                                       \
                     : "0"(0L), "D"((long)truth_never[0]), "S"(buffer), "d"(1L)                    \
                     : "rcx", "r11", "memory")
#elif defined(__aarch64__)
#define PRESERVED "x19"
#define SYSTEM_READ(got, buffer)                                                                   \
    do {                                                                                           \
        register long number __asm__("x8") = 63;                                                   \
        register long first __asm__("x0") = truth_never[0];                                        \
        register char *second __asm__("x1") = buffer;                                              \
        register long third __asm__("x2") = 1;                                                     \
        __asm__ volatile("svc 0"                                                                   \
                         : "+r"(first), "+r"(held)                                                 \
                         : "r"(number), "r"(second), "r"(third)                                    \
                         : "memory");                                                              \
        got = first;                                                                               \
    } while (0)
#endif

/* In one register and nowhere else, by a thread that runs. What is in the register is the pointer,
 * or what is left of it when all bits are turned. */
static void *spin(void *turned) {
    register uintptr_t held __asm__(PRESERVED) =
        turned ? truth_hide(lost_block(40)) : (uintptr_t)keep_block(40);
    __asm__ volatile("" : "+r"(held));
    truth_scrub();
    truth_clear_registers();
    truth_started();
    for (;;)
        __asm__ volatile("" : "+r"(held));
    return NULL;
}

/* And by one that waits in a system call. */
static void *wait_in_call(void *turned) {
    char byte;
    long got;
    register uintptr_t held __asm__(PRESERVED) =
        turned ? truth_hide(lost_block(48)) : (uintptr_t)keep_block(48);
    __asm__ volatile("" : "+r"(held));
    truth_scrub();
    truth_clear_registers();
    truth_started();
    for (;;)
        SYSTEM_READ(got, &byte);
    (void)got;
    return NULL;
}

static void run_register_busy(void) {
    truth_thread(spin, NULL);
    truth_thread(spin, keys);
    truth_await(2);
    truth_rest();
}

static void run_register_blocked(void) {
    truth_thread(wait_in_call, NULL);
    truth_thread(wait_in_call, keys);
    truth_await(2);
    truth_rest();
}

/* ---- what libc holds ---- */

extern char **environ;

MAKES void make_environment(void) {
    char *text = keep_block(40);
    strcpy(text, "TRUTH_PUT=by putenv");
    putenv(text);
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "TRUTH_%d", i);
        setenv(name, "by setenv", 1);
    }
    setenv("TRUTH_3", "another value", 1);
    unsetenv("TRUTH_5");
    char *gone = lost_block(40);
    strcpy(gone, "TRUTH_GONE=by unsetenv");
    putenv(gone);
    unsetenv("TRUTH_GONE");
}

static void run_environment(void) {
    truth_make(make_environment);
    truth_rest();
}

static void at_exit(int status, void *argument) {
    (void)status;
    free(argument);
}

MAKES void make_exit_handlers(void) {
    for (unsigned i = 0; i < 100; i++)
        on_exit(at_exit, keep_block(40));
}

static void run_exit_handlers(void) {
    truth_make(make_exit_handlers);
    truth_rest();
}

static void expire(union sigval value) {
    global = value.sival_ptr;
}

MAKES void make_timer(void) {
    timer_t timer;
    struct itimerspec in = {.it_value = {.tv_sec = 1000}};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD};
    event.sigev_notify_function = expire;
    event.sigev_value.sival_ptr = keep_block(40);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &in, NULL))
        truth_die("timer_create");
}

static void run_timer(void) {
    truth_make(make_timer);
    truth_deaf = 1;
    truth_rest();
}

/* A buffer that only the stream knows. */
MAKES void make_buffer(void) {
    FILE *file = fopen("/dev/null", "w");
    if (!file)
        truth_die("/dev/null");
    setvbuf(file, keep_block(8192), _IOFBF, 8192);
    fputs("text", file);
}

static void run_buffer(void) {
    truth_make(make_buffer);
    truth_rest();
}

static const struct truth_case cases[] = {
    {"globals", "variables hold what they point to", run_globals},
    {"tls", "variables of the first thread hold what they point to", run_tls},
    {"tls-of-thread", "variables of another thread hold what they point to", run_tls_of_thread},
    {"tls-dynamic", "a plug-in's variables of each thread hold what they point to",
     run_tls_dynamic},
    {"tls-later", "a thread older than a plug-in has variables of it that hold what they point to",
     run_tls_later},
    {"plugged", "a plug-in's variables hold what they point to", run_plugged},
    {"unplugged", "what a plug-in held that is closed is leaked", run_unplugged},
    {"keys", "200 keys of a thread hold their values", run_keys},
    {"arguments", "the arguments of main hold what they point to", run_arguments},
    {"register-busy", "a register of a thread that runs holds what it points to",
     run_register_busy},
    {"register-blocked", "a register of a thread that waits holds what it points to",
     run_register_blocked},
    {"environment", "the environment holds what it points to", run_environment},
    {"exit-handlers", "100 exit handlers hold their arguments", run_exit_handlers},
    {"timer", "a timer holds its argument", run_timer},
    {"buffer", "a stream holds its buffer", run_buffer},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
