#!/usr/bin/env python3
"""What the profiler adds to the start and the end of a process that hardly allocates, by the clock:
/bin/true with rate=auto between two with rate=0, and whether any of them leaves a black box.

    bench/starts.py [--rounds 60]"""
import argparse
import os
import shutil
import statistics
import tempfile
import time

import allocators as allocating

STARTS = 100
LIMIT = 1.02


def seconds(environment):
    began = time.perf_counter()
    for _ in range(STARTS):
        _, status = os.waitpid(os.posix_spawn('/bin/true', ['true'], environment), 0)
        if status != 0:
            raise allocating.Trouble('/bin/true: status %d' % status)
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description='What the profiler adds to a start.')
    parser.add_argument('--rounds', type=int, default=60)
    options = parser.parse_args()
    boxes = tempfile.mkdtemp(prefix='memprof-bench.', dir='/dev/shm')
    try:
        off, on = (allocating.memprof('rate=%s:blackbox=%s' % (rate, boxes)).environment()
                   for rate in ('0', 'auto'))
        ratios = []
        for _ in range(options.rounds):
            before, with_profiler, after = seconds(off), seconds(on), seconds(off)
            ratios.append(2 * with_profiler / (before + after))
        left = len(os.listdir(boxes))
    finally:
        shutil.rmtree(boxes)
    ratio = statistics.median(ratios)
    print('bar: start of /bin/true with the profiler over rate=0, by the clock: %.4f, required at '
          'most %.2f: %s' % (ratio, LIMIT, 'met' if ratio <= LIMIT else 'NOT met'))
    print('bar: files left behind by %d of them: %d, required at most 0: %s' % (
        options.rounds * STARTS, left, 'NOT met' if left else 'met'))


if __name__ == '__main__':
    allocating.run(main)
