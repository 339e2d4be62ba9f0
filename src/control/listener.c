#include "control/listener.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "control/request.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "profile/mirror.h"
#include "record/box.h"

static void *listen(void *unused) {
    (void)unused;
    uint32_t heard = 0; /* a box begins so */
    mp_sys_name_thread("memprof");
    for (;;) {
        const uint32_t *word = &mp_box_state()->request;
        mp_sys_futex_wait_shared(word, heard);
        heard = __atomic_load_n(word, __ATOMIC_RELAXED);
        mp_request_hear();
    }
    return NULL;
}

/* None of the program's signals is for it; libc's own are, which sigfillset leaves out. */
static int start_thread(void) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, listen, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_detach(thread);
    return error;
}

void mp_listener_start(void) {
    mp_mirror_make();
    if (mp_box_standing() != MP_BOX_OPEN)
        mp_say("control=thread: without a black box nobody can ask; there is no thread");
    else if (start_thread() != 0)
        mp_say("control=thread: the system gives us no thread");
}
