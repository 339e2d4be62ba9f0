#!/usr/bin/env python3
"""What can be counted instead of timed, and repeats on any machine: instructions by callgrind, and page
faults by getrusage.

    bench/counts.py instructions|start [--peer NAME=PATH]... [--csv FILE]
    bench/counts.py programs --peer NAME=PATH [--scale 0.2]

  instructions   of a malloc and its free (fastpath.c). Inside the two functions only: the caller's
                 loop and the PLT are left out. For blocks that another thread frees, also the whole
                 process's, thread creation and all, so that a hand-over counts wherever it is made.
                 The difference of two run lengths is taken: start-up falls out.
  start          of /bin/true, from its first instruction to its last, and its page faults
  programs       of whole workloads, ours against each peer that is named: another build of ours, mostly"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import allocators as allocating
import bars
import runs
import stats

PATTERNS = ('lone', 'among', 'lifo', 'remote', 'mixed')
SHORT, LONG = 100000, 300000
STARTS = 21
COLUMNS = ('part', 'what', 'allocator', 'count')


def callgrind(command, allocator, scratch, toggles=(), variables=None):
    """Instructions of one run, by the library's code or, without toggles, by all of the process."""
    out = os.path.join(scratch, 'callgrind.out')
    env = allocator.environment()
    env.update(variables or {})
    done = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=' + out] +
                          ['--toggle-collect=' + name for name in toggles] + command,
                          env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise allocating.Trouble('%s under callgrind and %s: %s' % (
            os.path.basename(command[0]), allocator.name, done.stderr.strip()[-300:]))
    with open(out, encoding='utf-8', errors='replace') as lines:
        totals = re.findall(r'^(?:summary|totals): (\d+)', lines.read(), re.M)
    if not totals or int(totals[-1]) == 0:
        raise allocating.Trouble('callgrind counted nothing under ' + allocator.name)
    return int(totals[-1])


def seeded(allocator):
    """Ours with a fixed seed: counts must repeat."""
    options = allocator.variables.get('MEMPROF_OPTIONS')
    return {'MEMPROF_OPTIONS': options + ':seed=1'} if options else {}


def pairs(program, pattern, allocator, scratch, toggles):
    short, long = (callgrind([program, pattern, str(length)], allocator, scratch, toggles,
                             seeded(allocator)) for length in (SHORT, LONG))
    return (long - short) / (LONG - SHORT)


def compile_program(source, scratch, flags=()):
    program = os.path.join(scratch, os.path.splitext(os.path.basename(source))[0])
    subprocess.run(['gcc', '-O2', '-g', '-fno-builtin', '-pthread', *flags, source, '-o', program],
                   check=True)
    return program


# Of one thread, so that the count does not hang on how threads met.
COUNTED = ('pairs', 'lifo', 'fifo', 'random', 'realloc_growth', 'calloc_heavy', 'trees', 'compiler',
           'strings', 'fragmentation', 'aligned', 'kvstore', 'batch', 'cxx_containers', 'json', 'matrix')


def whole_programs(programs, allocators, scratch, scale):
    """(workload, [instructions under each]). Under callgrind all is 50 times slower, and so is the
    clock: what goes by it comes as often as ever."""
    clock = compile_program(os.path.join(allocating.BENCH, 'slow-clock.c'), scratch,
                            ('-shared', '-fPIC'))
    for program in programs:
        if program.name in COUNTED:
            command = program.command + ['--scale', '%g' % scale]
            yield program.name, [callgrind(command, a, scratch, (), dict(
                seeded(a), LD_PRELOAD=clock + ':' + a.path)) for a in allocators]


def part_programs(allocators, scratch, scale):
    """Every build with our options: others take no notice."""
    print(' ' * 20 + ''.join(a.name.rjust(14) for a in allocators))
    ratios = [[] for _ in allocators]
    for name, found in whole_programs(runs.workloads(), allocators, scratch, scale):
        print(name.ljust(20) + ''.join(('%d' % c).rjust(14) for c in found) +
              ''.join('%9.4f' % (found[0] / c) for c in found[1:]), flush=True)
        for i, count in enumerate(found):
            ratios[i].append(found[0] / count)
    for i, allocator in enumerate(allocators[1:], 1):
        print('geometric mean against %s: %.4f' % (allocator.name, stats.geometric_mean(ratios[i])))


def table(title, rows, allocators, form):
    print(title)
    print(' ' * 20 + ''.join(a.name.rjust(13) for a in allocators))
    for what, counts in rows:
        print(what.ljust(20) + ''.join((form % counts[a.name]).rjust(13) for a in allocators))


def part_instructions(allocators, scratch):
    program = compile_program(os.path.join(allocating.BENCH, 'fastpath.c'), scratch)
    inside = {pattern: {a.name: pairs(program, pattern, a, scratch, ('malloc', 'free'))
                        for a in allocators} for pattern in PATTERNS}
    whole = {a.name: pairs(program, 'remote', a, scratch, ()) for a in allocators}
    table('instructions of a malloc and its free, 64 bytes (baseline: jemalloc)',
          list(inside.items()) + [('remote, all in all', whole)], allocators, '%.1f')
    for pattern, counts in list(inside.items()) + [('remote, all in all', whole)]:
        for name, count in counts.items():
            yield pattern, name, '%.2f' % count
    print()
    for bar in bars.pair_bars(inside):
        print(bar.line())
    print(bars.remote_bar(whole).line())


def faults(allocator):
    """Minor page faults of /bin/true, the median of some starts."""
    counts = []
    for _ in range(STARTS):
        pid = os.posix_spawn('/bin/true', ['true'], allocator.environment())
        _, status, usage = os.wait4(pid, 0)
        if status != 0:
            raise allocating.Trouble('/bin/true ended with %d under %s' % (status, allocator.name))
        counts.append(usage.ru_minflt)
    return stats.median(counts)


def part_start(allocators, scratch):
    counts = {a.name: callgrind(['/bin/true'], a, scratch, (), seeded(a)) for a in allocators}
    pages = {a.name: faults(a) for a in allocators}
    table('/bin/true: from start to end (baseline: jemalloc)',
          [('instructions', counts), ('page faults', pages)], allocators, '%.0f')
    for what, figures in (('instructions', counts), ('page faults', pages)):
        for name, count in figures.items():
            yield what, name, '%.0f' % count
    print()
    for bar in bars.start_bars(counts, pages):
        print(bar.line())


def main():
    parser = argparse.ArgumentParser(description='Counts that repeat on any machine.')
    parser.add_argument('part', choices=('instructions', 'start', 'programs'))
    parser.add_argument('--peer', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--csv', metavar='FILE')
    parser.add_argument('--scale', type=float, default=0.2, help='of the workloads')
    options = parser.parse_args()
    allocators = allocating.chosen(options.peer)
    if options.part == 'programs':
        named = [text.partition('=')[0] for text in options.peer]
        if not named:
            parser.error('programs: against what? --peer NAME=PATH')
        with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
            part_programs([allocating.memprof('rate=auto:seed=1')] + [
                allocating.Allocator(a.name, a.path, {'MEMPROF_OPTIONS': 'rate=auto:seed=1'})
                for a in allocators if a.name in named], scratch, options.scale)
        return
    part = {'instructions': part_instructions, 'start': part_start}[options.part]
    with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
        rows = list(part(allocators, scratch))
    if options.csv:
        runs.write_csv(options.csv, allocating.facts(allocators, ' '.join(sys.argv[1:])), COLUMNS,
                       ((options.part,) + row for row in rows))


if __name__ == '__main__':
    allocating.run(main)
