#!/usr/bin/env python3
"""What a search for leaks costs: how long threads stand still, how fast the copy goes through the heap,
and the same of LeakSanitizer.

    bench/leaks.py [--checks 20] [--csv FILE] [--quick]

The heap is a GiB of blocks of 64 bytes that point to each other, with 64 threads: see leaks.c. The
pause is as the helper measures it, from the first thread's stop until all go on. LeakSanitizer stops all
threads for as long as it searches: that is the time of its check."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import allocators as allocating
import runs

SHAPES = ('graph', 'list')
COLUMNS = ('tool', 'shape', 'mib', 'threads', 'pause_us', 'scan_us', 'reachable')
PAUSE_MS, PAUSE_MS_PER_GIB, SPEED_GIB_S, TIMES = 5, 30, 0.5, 10


def build(scratch, name, *command):
    program = os.path.join(scratch, name)
    subprocess.run([*command, '-O2', '-g', '-fno-builtin', '-pthread',
                    '-I' + os.path.join(allocating.TREE, 'include'), '-o', program,
                    os.path.join(allocating.TREE, 'bench/leaks.c')], check=True)
    return program


def run(program, environment, shape, mib, threads, checks):
    result = subprocess.run([program, shape, str(mib), str(threads), str(checks)], env=environment,
                            stdout=subprocess.PIPE, check=True, text=True)
    return [tuple(map(int, line.split())) for line in result.stdout.splitlines()]


def verdict(name, value, required, least):
    met = value >= required if least else value <= required
    print('bar: %s: %.3g, required at %s %.3g: %s' % (
        name, value, 'least' if least else 'most', required, 'met' if met else 'NOT met'))


def main():
    parser = argparse.ArgumentParser(description='What a search for leaks costs.')
    parser.add_argument('--checks', type=int, default=20)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--csv', metavar='FILE')
    options = parser.parse_args()
    mib, checks = (64, 3) if options.quick else (1024, options.checks)
    plain = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'MEMPROF_OPTIONS')}
    rows, medians = [], {}
    with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
        runs_of = [('memprof', build(scratch, 'leaks', 'gcc'), allocating.memprof('').environment())]
        if shutil.which('clang'):
            runs_of.append(('LeakSanitizer', build(scratch, 'lsan', 'clang', '-fsanitize=leak'), plain))
        print('%-14s %-6s %12s %12s %10s   %d MiB, 64 threads, medians' % (
            '', '', 'pause ms', 'search ms', 'GiB/s', mib))
        for name, program, environment in runs_of:
            for shape in SHAPES:
                times = checks if name == 'memprof' else 2
                found = run(program, environment, shape, mib, 64, times)
                rows += [(name, shape, mib, 64, *row) for row in found]
                pause, scan = (statistics.median(row[i] for row in found) for i in (0, 1))
                medians[name, shape] = pause, scan
                print('%-14s %-6s %12.1f %12.0f %10.2f' % (name, shape, pause / 1000, scan / 1000,
                                                          mib / 1024 / (scan / 1e6)))
    pause, scan = medians['memprof', 'graph']
    print()
    verdict('pause, in ms', pause / 1000, PAUSE_MS + PAUSE_MS_PER_GIB * mib / 1024, False)
    verdict('search of a random graph, in GiB/s', mib / 1024 / (scan / 1e6), SPEED_GIB_S, True)
    if ('LeakSanitizer', 'graph') in medians:
        verdict("LeakSanitizer's stop over our pause",
                medians['LeakSanitizer', 'graph'][0] / pause, TIMES, True)
    if options.csv:
        runs.write_csv(options.csv, allocating.facts([], ' '.join(sys.argv[1:])), COLUMNS, rows)


if __name__ == '__main__':
    allocating.run(main)
