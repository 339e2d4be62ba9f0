/* The program changes its memory policy: libnuma's set_mempolicy, by which numa_bind and its
 * relatives do so, too. Ours so that the policy counts for the heap as well, whose memory is bound
 * to nodes otherwise. Who makes the system call by himself is not noticed. */
#include <errno.h>

#include "platform/numa.h"
#include "platform/sys.h"
#include "preload/preload.h"

MP_EXPORT long set_mempolicy(int mode, const unsigned long *nodes, unsigned long bits);

long set_mempolicy(int mode, const unsigned long *nodes, unsigned long bits) {
    int result = mp_sys_host_set_mempolicy(mode, nodes, bits);
    if (result < 0) {
        errno = -result;
        return -1;
    }
    mp_numa_note_policy(mode);
    return 0;
}
