"""What the runners of real programs share. Each starts one program under the allocator that is named in
BENCH_PRELOAD (empty: the C library's), gives it a fixed amount of work, and prints the one line that
the workloads print. CPU time is the program's own from its start to its end, the peak its high-water
mark. The runner itself, and what puts load on a server, run as they are.

    NAME.py [--scale X] [--rest]"""
import argparse
import os
import subprocess
import time


def arguments(extra=None):
    parser = argparse.ArgumentParser()
    parser.add_argument('--scale', type=float, default=1.0)
    parser.add_argument('--rest', action='store_true', help='then free all, wait 1 s, and tell the RSS')
    if extra:
        parser.add_argument(extra, action='store_true')
    return parser.parse_args()


def linked_allocator(program):
    """Whether the program is linked with an allocator of its own choice."""
    said = subprocess.run(['ldd', program], capture_output=True, text=True, check=True).stdout
    return any(name in said for name in ('libjemalloc', 'libtcmalloc', 'libmimalloc'))


def c_library():
    said = subprocess.run(['ldd', '/bin/true'], capture_output=True, text=True, check=True).stdout
    return next(line.split()[2] for line in said.splitlines() if 'libc.so' in line)


def environment(program):
    """For the measured program only. One that is linked with an allocator is put on the C library's by
    preloading just that."""
    kept = {k: v for k, v in os.environ.items() if k != 'BENCH_PRELOAD'}
    library = os.environ.get('BENCH_PRELOAD', '')
    if not library and linked_allocator(program):
        library = c_library()
    if library:
        kept['LD_PRELOAD'] = library
    return kept


def status_kib(pid, key):
    """A field of /proc/PID/status, or of smaps_rollup, whose RSS does not lag behind."""
    name = 'smaps_rollup' if key == 'Rss' else 'status'
    with open('/proc/%d/%s' % (pid, name), encoding='ascii') as lines:
        for line in lines:
            if line.startswith(key + ':'):
                return int(line.split()[1])
    return 0


def wait(process):
    """Waits for a child of subprocess and returns what it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def cpu_ms(usage):
    return (usage.ru_utime + usage.ru_stime) * 1000


class Stopwatch:
    def __init__(self):
        self.start = time.monotonic()

    def ms(self):
        return (time.monotonic() - self.start) * 1000


def print_line(cpu, wall, peak, held, freed, operations):
    print('cpu_ms=%.3f wall_ms=%.3f peak_kib=%d held_kib=%d freed_kib=%d ops=%d' % (
        # The kernel's high-water mark may lag behind by some pages per CPU.
        cpu, wall, max(peak, held), held, freed, operations))
