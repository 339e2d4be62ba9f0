/* A small service to try the library on: it opens sessions, works, closes them, and forgets one in
 * fifty. It knows nothing of memprof, like any program that is started under it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
    char *user;
    char *history;
    struct session *next;
};

static struct session *open_session(unsigned number) {
    struct session *session = malloc(sizeof *session);
    if (!session)
        abort();
    session->user = malloc(24);
    /* Histories differ in length, as people do. */
    size_t length = 200 + number % 37 * 50;
    session->history = calloc(1, length);
    if (!session->user || !session->history)
        abort();
    snprintf(session->user, 24, "user-%u", number);
    memset(session->history, 'x', length - 1);
    session->next = NULL;
    return session;
}

static void close_session(struct session *session) {
    free(session->history);
    free(session->user);
    free(session);
}

int main(void) {
    enum { ROUNDS = 200, AT_ONCE = 500 };
    unsigned number = 0, forgotten = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct session *open = NULL;
        for (int i = 0; i < AT_ONCE; i++) {
            struct session *session = open_session(number++);
            session->next = open;
            open = session;
        }
        while (open) {
            struct session *session = open;
            open = session->next;
            if (session->user[strlen(session->user) - 1] == '7' && ++forgotten % 5 == 0)
                continue; /* the bug: nobody has it any more */
            close_session(session);
        }
    }
    printf("sessions: %u opened, %u of them forgotten\n", number, forgotten / 5);
    fflush(stdout);
    return 0;
}
