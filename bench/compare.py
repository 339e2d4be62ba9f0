#!/usr/bin/env python3
"""Runs the workloads under memprof and its peers, in turn, and says how they compare.

    bench/compare.py                      the workloads, 10 rounds: about 20 minutes
    bench/compare.py --set real           other people's programs
    bench/compare.py --threads            what 64 threads get done against 2
    bench/compare.py --quick --only RE    a first look
    bench/compare.py --from FILE.csv      the tables and bars of an earlier run, or its chart

`./dev bench` builds, and runs this among other parts. README.md says what the figures mean."""
import argparse
import re
import sys

import allocators as allocating
import bars
import chart
import report
import runs
import stats

THREADS = (2, 64)
CROWD = 'many_threads'


def arguments():
    parser = argparse.ArgumentParser(description='Compares allocators over the bench\'s workloads.')
    parser.add_argument('--set', choices=('workloads', 'real', 'all'), default='workloads')
    parser.add_argument('--rounds', type=int, help='10, or 3 with --quick')
    parser.add_argument('--rest-rounds', type=int,
                        help='rounds in which each run rests 1 s at its end, and tells its RSS: 3')
    parser.add_argument('--scale', type=float, help='the amount of work: 1, or 0.25 with --quick')
    parser.add_argument('--quick', action='store_true', help='too little for a verdict')
    parser.add_argument('--only', metavar='RE', help='the workloads that match')
    parser.add_argument('--peer', action='append', default=[], metavar='NAME=PATH',
                        help='another allocator, a .so')
    parser.add_argument('--allocators', metavar='RE', help='the allocators that match')
    parser.add_argument('--threads', action='store_true', help='%s with 2 and 64 threads' % CROWD)
    parser.add_argument('--seed', type=int, default=1, help='of the order of runs')
    parser.add_argument('--csv', metavar='FILE', help='write every run there')
    parser.add_argument('--svg', metavar='FILE', help='draw a chart there')
    parser.add_argument('--from', dest='record', metavar='FILE', help='read a CSV, run nothing')
    parser.add_argument('--judge', action='store_true', help='exit with 1 unless each bar is met')
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 10)
    options.scale = options.scale or (0.25 if options.quick else 1.0)
    if options.rest_rounds is None:
        options.rest_rounds = 0 if options.quick else min(3, options.rounds)
    if options.rounds < 1 or not 0 <= options.rest_rounds <= options.rounds or options.scale <= 0:
        parser.error('--rounds, --rest-rounds, --scale: no sense in these')
    return options


def matching(pattern, things):
    return [t for t in things if pattern is None or re.search(pattern, t.name)]


def programs_of(options):
    if options.threads:
        crowd = next(p for p in runs.workloads() if p.name == CROWD)
        return [runs.Program('%s:%d' % (CROWD, n), crowd.command + ['--threads', str(n)])
                for n in THREADS]
    found = []
    if options.set in ('workloads', 'all'):
        found += runs.workloads()
    if options.set in ('real', 'all'):
        found += runs.real_programs()
    found = matching(options.only, found)
    if not found:
        raise allocating.Trouble('no workload matches')
    return found


def measure(options):
    programs = programs_of(options)
    allocators = matching(options.allocators, allocating.chosen(options.peer))
    if bars.OURS not in [a.name for a in allocators]:
        raise allocating.Trouble('--allocators must match %s, which is compared' % bars.OURS)
    head = list(allocating.facts(allocators, ' '.join(sys.argv[1:]) or 'none'))
    head.append(('rounds', '%d, %d with rest, scale %g' % (options.rounds, options.rest_rounds,
                                                         options.scale)))
    records = runs.Records(options.csv, head)
    shown = None
    try:
        for number, program, allocator, rest in runs.schedule(
                programs, allocators, options.rounds, options.rest_rounds, options.seed):
            if sys.stderr.isatty() and shown != (number, program.name):
                shown = number, program.name
                print('\rround %d of %d: %-30s' % (number + 1, options.rounds, program.name), end='',
                      file=sys.stderr, flush=True)
            records.add(number, program.name, allocator.name, rest,
                        runs.run_once(program, allocator, options.scale, rest))
    except KeyboardInterrupt:
        print('interrupted: what follows is of the runs so far', file=sys.stderr)
    finally:
        records.close()
    if shown:
        print('\r' + ' ' * 60 + '\r', end='', file=sys.stderr)
    return records


def names_in(rows, column, order):
    """Each name once, in the order of the lists, those unknown to them last."""
    found = list(dict.fromkeys(row[column] for row in rows))
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def thread_lines(rows, allocators):
    """The throughput of the crowd against that of two, by allocator, and the bar on ours."""
    wall, operations = runs.figures(rows, 'wall_ms'), runs.figures(rows, 'ops')
    yield 'throughput of %s: operations per ms of wall time, and 64 threads against 2' % CROWD
    for allocator in allocators:
        throughput = {}
        for n in THREADS:
            at = ('%s:%d' % (CROWD, n), allocator)
            throughput[n] = {r: operations[at][r] / ms for r, ms in wall.get(at, {}).items()
                             if r in operations.get(at, {})}
        both = [throughput[64][r] / throughput[2][r] for r in throughput[64] if r in throughput[2]]
        if both:
            yield '%-12s' % allocator + ''.join(
                '%12.0f' % stats.median(throughput[n].values()) for n in THREADS) + \
                report.cell(stats.interval_of_median(both))
        if allocator == bars.OURS:
            bar = bars.threads_bar(throughput, CROWD)
    yield ''
    yield bar


def say(thing, verdicts):
    if isinstance(thing, bars.Bar):
        verdicts.append(thing.met())
        thing = thing.line()
    print(thing)


def main():
    options = arguments()
    records = runs.read_records(options.record) if options.record else measure(options)
    for key, value in records.head:
        print('# %s: %s' % (key, value))
    rows = records.rows
    allocators = names_in(rows, 'allocator', [bars.OURS, bars.BASELINE] + list(bars.DEBIAN))
    workloads = names_in(rows, 'workload', list(runs.WORKLOADS) + list(runs.REAL))
    verdicts = []
    for line in runs.failures(rows):
        say(line, verdicts)
    if not rows or bars.OURS not in allocators:
        raise allocating.Trouble('there is no run of %s' % bars.OURS)
    if workloads[0].startswith(CROWD + ':'):
        for thing in thread_lines(rows, allocators):
            say(thing, verdicts)
        return int(options.judge and not all(verdicts))
    figures = {field: runs.figures(rows, field) for field, *_ in report.FIGURES}
    label = 'real programs: ' if set(workloads) <= set(runs.REAL) else ''
    failed = sorted({row['workload'] for row in rows if row['failed'] and row['allocator'] == bars.OURS})
    comparison = report.Comparison(figures, allocators, workloads, label, failed)
    for line in comparison.tables():
        say(line, verdicts)
    for bar in comparison.bars():
        say(bar, verdicts)
    if options.svg:
        with open(options.svg, 'w', encoding='utf-8') as file:
            file.write(chart.draw(comparison, dict(records.head)))
    return int(options.judge and not all(verdicts))


if __name__ == '__main__':
    allocating.run(main)
