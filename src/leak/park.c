#include "leak/park.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "platform/arch.h"
#include "platform/say.h"
#include "platform/sys.h"

#define PARK_MS     200u  /* for a thread to take the signal */
#define TURN_MS     2000u /* for one that only waits for its turn */
#define PASSES_MOST 64u   /* over the list of threads */
#define ENDED       (-1)  /* in the place of a signal */
#define UNASKED     (-2)
#define TURN_US     50u /* between looks at how many have come */
#define LOOK_TURNS  40u /* ... and at those that have not */

/* The words are futexes. Who comes late finds another round, or none, and goes on. */
static struct {
    _Atomic(uint32_t) round; /* 0 between rounds: threads are to go on */
    _Atomic(uint32_t) parked;
    _Atomic(uint32_t) inside; /* threads that look at `stopped` */
    struct mp_stopped *stopped;
    uint32_t rounds;
    int signal;
    struct mp_sys_action before; /* what the program does at it */
    long process;                /* whose round it is: a child inherits all this */
} park;

/* ---- in the handlers ---- */

static void note_registers(struct mp_stopped_thread *thread, const ucontext_t *context) {
#if defined(__x86_64__)
    const greg_t *words = context->uc_mcontext.gregs;
    uint32_t count = sizeof context->uc_mcontext.gregs / sizeof *words;
    const void *vectors = context->uc_mcontext.fpregs; /* NULL: it has not used any */
    size_t size = vectors ? sizeof *context->uc_mcontext.fpregs : 0;
    thread->sp = (uint64_t)words[REG_RSP];
#elif defined(__aarch64__)
    const unsigned long long *words = context->uc_mcontext.regs;
    uint32_t count = sizeof context->uc_mcontext.regs / sizeof *words;
    const void *vectors = context->uc_mcontext.__reserved;
    size_t size = sizeof context->uc_mcontext.__reserved;
    thread->sp = context->uc_mcontext.sp;
#endif
    memcpy(thread->registers, words, count * sizeof *words);
    thread->tp = mp_arch_thread_pointer();
    thread->register_count =
        count + mp_trace_pick(vectors, size, thread->registers + count, MP_TRACE_VECTORS);
}

/* With signals blocked: a handler of the program's, or libc's that cancels a thread, would leave us
 * in the midst. */
static void on_signal(int number, siginfo_t *info, void *context) {
    uint64_t mask;
    (void)number;
    (void)info; /* who else sends it has the thread wait as well, which does nothing either */
    if (park.process != mp_sys_getpid())
        return;
    mp_sys_block_all(&mask);
    atomic_fetch_add(&park.inside, 1);
    uint32_t round = atomic_load(&park.round);
    struct mp_stopped_thread *thread =
        round ? mp_threads_find(park.stopped, mp_sys_gettid()) : NULL;
    if (thread && !thread->stopped) {
        note_registers(thread, context);
        thread->stopped = true;
        atomic_fetch_add(&park.parked, 1);
        while (atomic_load(&park.round) == round)
            mp_sys_futex_wait(&park.round, round);
    }
    if (atomic_fetch_sub(&park.inside, 1) == 1)
        mp_sys_futex_wake(&park.inside, 1);
    mp_sys_unblock(&mask);
}

/* ---- in the caller ---- */

/* One that waits for signals (sigwait) would be given ours as if it were the program's. */
static bool waits_for_signals(long id) {
    char path[64], text[16];
    struct mp_text name;
    mp_text_init(&name, path, sizeof path);
    mp_text_add(&name, "/proc/self/task/%lu/syscall", (uint64_t)id);
    long fd = mp_sys_open(path, O_RDONLY | O_CLOEXEC, 0);
    long n = fd < 0 ? 0 : mp_sys_read((int)fd, text, sizeof text - 1);
    if (fd >= 0)
        mp_sys_close((int)fd);
    text[n > 0 ? n : 0] = '\0';
    long call = 0;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++)
        call = call * 10 + (*at - '0');
    return call == SYS_rt_sigtimedwait;
}

static int send(long id, void *unused) {
    struct mp_stopped *stopped = park.stopped;
    (void)unused;
    if (mp_threads_find(stopped, id))
        return 0;
    if (stopped->count == stopped->room)
        return -ENOBUFS;
    stopped->threads[stopped->count] = (struct mp_stopped_thread){.id = id};
    if (id == mp_sys_gettid()) { /* it has its registers on its stack */
        stopped->threads[stopped->count].sp = mp_arch_stack_pointer();
        stopped->threads[stopped->count].tp = mp_arch_thread_pointer();
        stopped->threads[stopped->count].register_count = 1;
    }
    atomic_signal_fence(memory_order_seq_cst);
    atomic_thread_fence(memory_order_release); /* the handler looks for its thread */
    stopped->count++;
    if (id == mp_sys_gettid())
        return 0;
    if (waits_for_signals(id)) {
        stopped->threads[stopped->count - 1].signal = UNASKED;
        return 0;
    }
    int error = mp_sys_signal_thread(id, park.signal, 0);
    if (error) {
        stopped->count--;
        return error == -ESRCH ? 0 : error; /* has ended meanwhile */
    }
    return 1;
}

/* Has it ended? Then it is no thread any more. Else: may it still come? */
static bool may_come(struct mp_stopped_thread *thread, uint64_t waited_ms) {
    struct mp_thread_status status;
    if (!mp_threads_status(mp_sys_getpid(), thread->id, &status) || status.state == 'Z') {
        thread->signal = ENDED; /* it stays known: a first thread is listed on */
        return false;
    }
    if (status.blocked >> (park.signal - 1) & 1)
        return false;
    return waited_ms <= (status.state == 'D' ? PARK_MS : TURN_MS);
}

static bool one_may_come(struct mp_stopped *stopped, uint64_t waited_ms) {
    bool any = false;
    for (uint32_t i = 0; i < stopped->count; i++) {
        struct mp_stopped_thread *thread = &stopped->threads[i];
        if (thread->signal == 0 && !thread->stopped && thread->id != mp_sys_gettid())
            any |= may_come(thread, waited_ms);
    }
    return any;
}

/* Looking at those that do not come takes more than the coming. */
static void wait_for_all(struct mp_stopped *stopped, uint64_t began_ms) {
    for (unsigned turn = 1;; turn++) {
        if (atomic_load(&park.parked) + 1 >= stopped->count)
            return;
        if (turn % LOOK_TURNS == 0 && !one_may_come(stopped, mp_sys_now_ms() - began_ms))
            return;
        mp_trace_sleep_us(TURN_US);
    }
}

static void drop_ended(struct mp_stopped *stopped) {
    for (uint32_t i = 0; i < stopped->count;) {
        struct mp_stopped_thread *thread = &stopped->threads[i];
        if (thread->signal == ENDED) {
            *thread = stopped->threads[--stopped->count];
            continue;
        }
        stopped->missed += !thread->stopped && thread->id != mp_sys_gettid();
        i++;
    }
}

static int park_threads(struct mp_stopped *stopped) {
    uint64_t began_ms = mp_sys_now_ms();
    int fresh = 1;
    for (unsigned pass = 0; fresh > 0; pass++) {
        if (pass == PASSES_MOST)
            return -EAGAIN;
        fresh = mp_threads_each(mp_sys_getpid(), send, NULL);
        if (fresh >= 0)
            wait_for_all(stopped, began_ms);
    }
    return fresh;
}

/* Of those that do nothing by default, one that the first thread, and so most probably the others,
 * does not block: it may wait for those that it does. */
static bool borrow_signal(void) {
    static const int signals[] = {SIGURG, SIGWINCH};
    struct mp_thread_status first = {0};
    mp_threads_status(park.process, park.process, &first);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
        park.signal = signals[i];
        if (!(first.blocked >> (park.signal - 1) & 1 && park.process != mp_sys_gettid()) &&
            mp_sys_borrow_signal(park.signal, on_signal, &park.before))
            return true;
    }
    park.signal = 0;
    return false;
}

void mp_park_forget(void) {
    memset(&park, 0, sizeof park);
}

int mp_park_all(struct mp_stopped *stopped, long (*work)(struct mp_stopped *stopped, void *context),
                void *context, long *worked) {
    if (!mp_threads_begin(stopped, mp_sys_getpid())) {
        mp_threads_end(stopped);
        return -ENOMEM;
    }
    uint64_t began_ns = mp_sys_precise_ns();
    park.stopped = stopped;
    park.process = mp_sys_getpid();
    atomic_store(&park.parked, 0);
    if (++park.rounds == 0)
        park.rounds = 1;
    atomic_store(&park.round, park.rounds);
    int error = borrow_signal() ? park_threads(stopped) : -ENOTSUP;
    if (!error) {
        drop_ended(stopped);
        *worked = work(stopped, context);
    }
    if (park.signal) /* while all wait: none of them sets a handler meanwhile */
        mp_sys_return_signal(park.signal, on_signal, &park.before);
    atomic_store(&park.round, 0);
    mp_sys_futex_wake(&park.round, INT32_MAX);
    *stopped->pause_ns = mp_sys_precise_ns() - began_ns;
    for (uint32_t inside; (inside = atomic_load(&park.inside)) != 0;)
        mp_sys_futex_wait(&park.inside, inside);
    return error;
}
