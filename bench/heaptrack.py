#!/usr/bin/env python3
"""Every allocation recorded, beside heaptrack: how much slower a program gets, and what memory it takes.

    bench/heaptrack.py [--rounds 5] [--csv FILE] [--quick]

Both sides are counted whole: wall time from the start of the command until the record is written and
all its processes have ended, CPU time of all of them, and the peak of what all of them hold together
(proportional set sizes, looked at every 20 ms, and what is in shared memory). The plain program is
glibc's malloc. Ours is rate=1 and a dump at the exit; heaptrack's is its own command, which
interprets what the program's library sends it and compresses that."""
import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import allocators as allocating
import bars
import runs

PROGRAMS = (('a million live blocks', ('live', '1000000')),
            ('16 threads', ('threads', '16', '100000')))
QUICK = (('a tenth of a million live blocks', ('live', '100000')),
         ('4 threads', ('threads', '4', '10000')))
LOOK_S = 0.02
COLUMNS = ('program', 'round', 'tool', 'wall_s', 'cpu_s', 'peak_kib', 'record_kib')


def held_kib(group):
    """What the processes of a session hold together."""
    total = 0
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % pid, encoding='ascii', errors='replace') as file:
                if int(file.read().rsplit(')', 1)[1].split()[3]) != group:
                    continue
            with open('/proc/%s/smaps_rollup' % pid, encoding='ascii') as file:
                for line in file:
                    if line.startswith('Pss:'):
                        total += int(line.split()[1])
        except (OSError, IndexError):
            continue  # it has ended meanwhile
    return total


def run_once(command, environment, record):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, held_kib(process.pid))
        time.sleep(LOOK_S)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise allocating.Trouble('%s: status %d' % (' '.join(command), process.returncode))
    cpu = sum(after[i] - before[i] for i in (0, 1))
    written = sum(os.path.getsize(os.path.join(record, name)) for name in os.listdir(record))
    return wall, cpu, peak, written // 1024


def tools(scratch):
    """[(name, the command before the program, environment)]"""
    plain = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'MEMPROF_OPTIONS')}
    ours = allocating.memprof('rate=1:dump_exit=1:dump=' + os.path.join(scratch, 'record/ours.heap'))
    return (('glibc', [], plain),
            (bars.OURS, [], ours.environment()),
            ('heaptrack', ['heaptrack', '-o', os.path.join(scratch, 'record/theirs')], plain))


def table(title, rows):
    """Prints one program's medians; returns what a Bar needs: {figure: ratio}."""
    medians = {name: [statistics.median(row[i] for row in rows if row[2] == name)
                      for i in range(3, 7)] for name in dict.fromkeys(row[2] for row in rows)}
    base = medians['glibc']
    print('\n%s\n%-12s %9s %9s %12s %12s %12s' % (title, '', 'wall s', 'CPU s', 'times plain',
                                                 'peak MiB', 'record MiB'))
    for name, (wall, cpu, peak, record) in medians.items():
        print('%-12s %9.2f %9.2f %12.1f %12.1f %12.1f' % (name, wall, cpu, wall / base[0],
                                                          peak / 1024, record / 1024))
    ours, theirs = medians[bars.OURS], medians['heaptrack']
    return {'slowdown': ((theirs[0] - base[0]) / (ours[0] - base[0])),
            'cpu': ((theirs[1] - base[1]) / (ours[1] - base[1])),
            'memory': ours[2] / theirs[2]}


def main():
    parser = argparse.ArgumentParser(description='Beside heaptrack.')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--csv', metavar='FILE')
    options = parser.parse_args()
    if not shutil.which('heaptrack'):
        raise allocating.Trouble('heaptrack is not installed')
    rows, found = [], []
    with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
        program, record = os.path.join(scratch, 'tracked'), os.path.join(scratch, 'record')
        subprocess.run(['gcc', '-O2', '-g', '-fno-builtin', '-pthread', '-o', program,
                        os.path.join(allocating.TREE, 'bench/tracked.c')], check=True)
        for title, words in QUICK if options.quick else PROGRAMS:
            mine = []
            for number in range(1 if options.quick else options.rounds):
                for name, command, environment in tools(scratch):
                    shutil.rmtree(record, ignore_errors=True)
                    os.mkdir(record)
                    mine.append((title, number, name) + run_once(
                        command + [program, *words], environment, record))
            rows += mine
            found.append((title, table(title, mine)))
    print()
    for title, ratios in found:
        print("bar: heaptrack's slowdown over ours, %s: %.2f (CPU time: %.2f), required at least 2: %s" % (
            title, ratios['slowdown'], ratios['cpu'],
            'met' if ratios['slowdown'] >= 2 else 'NOT met'))
        print("bar: peak memory against heaptrack's, %s: %.3f, required at most 1: %s" % (
            title, ratios['memory'], 'met' if ratios['memory'] <= 1 else 'NOT met'))
    if options.csv:
        runs.write_csv(options.csv, [*allocating.facts([], ' '.join(sys.argv[1:])),
                                     ('heaptrack', allocating.package_version('heaptrack'))],
                       COLUMNS, rows)


if __name__ == '__main__':
    allocating.run(main)
