/* How the memprof command asks a running process for a dump: see src/control/request.h. Between
 * the library and the command alone, and to change with both. */
#ifndef MEMPROF_REQUEST_H
#define MEMPROF_REQUEST_H

#define MEMPROF_REQUEST_FOLDER "/dev/shm/memprof-" /* and the user's number */

enum {
    MEMPROF_REQUEST_SIGNAL = 62,    /* unless the option `signal` says otherwise */
    MEMPROF_REQUEST_VALUE = 0x6d70, /* what sigqueue sends along */
};

#endif
