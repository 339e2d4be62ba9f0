#!/usr/bin/env python3
"""How long single calls take, under load that crosses threads: p50, p99 and p99.9 of malloc and of free.

    bench/latency.py [--rounds 10] [--calls 10000000] [--peer NAME=PATH]... [--csv FILE]

The program (workloads/latency) times every call and prints a histogram, lines `malloc NS COUNT` and
`free NS COUNT`; the clock's own share, which is in each figure, is shown beside them. Runs take turns
as those of compare.py do, and an allocator's histograms are pooled: 10 rounds of 10^7 calls are 10^8."""
import argparse
import csv
import os
import subprocess
import sys

import allocators as allocating
import bars
import runs
import stats

MODES = ('producer_consumer', 'sessions')
CALLS = ('malloc', 'free')
SHARES = (('p50', 0.5), ('p99', 0.99), ('p99.9', 0.999))
CLOCK = 'overhead'
COLUMNS = ('round', 'mode', 'allocator', 'call', 'counts')  # counts: NS:COUNT, with blanks between


def parse(text):
    """{call: Histogram}, the clock's share as one of a single count."""
    found = {call: stats.Histogram() for call in CALLS + (CLOCK,)}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] in CALLS:
            found[words[0]].add(float(words[1]), int(words[2]))
        elif len(words) == 2 and words[0] == CLOCK:
            found[CLOCK].add(float(words[1]), 1)
    return found


def run_once(program, mode, allocator, calls):
    """A run that fails, or counts nothing, ends the part: a percentile of what is left over would
    look like one of all."""
    done = subprocess.run([program, '--mode', mode, '--calls', str(calls)],
                          env=allocator.environment(), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=runs.PATIENCE, check=False)
    found = parse(done.stdout)
    if done.returncode != 0 or not all(h.total() for h in found.values()):
        raise allocating.Trouble('latency --mode %s under %s: status %d, %d and %d calls' % (
            mode, allocator.name, done.returncode, found['malloc'].total(), found['free'].total()))
    return found


def measure(options, path):
    program = os.path.join(runs.workload_folder(), 'latency')
    if not os.access(program, os.X_OK):
        raise allocating.Trouble('%s is not built' % program)
    allocators = allocating.chosen(options.peer)
    head = list(allocating.facts(allocators, ' '.join(sys.argv[1:]) or 'none'))
    modes = [runs.Program(mode, [program]) for mode in MODES]
    found = {}  # (mode, call, allocator) -> {round: Histogram}
    file = open(path, 'w', encoding='utf-8', newline='') if path else None
    try:
        if file:
            runs.write_head(file, head)
            csv.writer(file, lineterminator='\n').writerow(COLUMNS)
        for number, mode, allocator, _ in runs.schedule(modes, allocators, options.rounds, 0):
            for call, histogram in run_once(program, mode.name, allocator, options.calls).items():
                found.setdefault((mode.name, call, allocator.name), {})[number] = histogram
                if file:
                    csv.writer(file, lineterminator='\n').writerow(
                        (number, mode.name, allocator.name, call,
                         ' '.join('%g:%d' % pair for pair in sorted(histogram.counts.items()))))
                    file.flush()
    finally:
        if file:
            file.close()
    return head, found


def read(path):
    head, rows = runs.read_csv(path)
    found = {}
    for row in rows:
        rounds = found.setdefault((row['mode'], row['call'], row['allocator']), {})
        pairs = (pair.split(':') for pair in row['counts'].split())
        rounds[int(row['round'])] = stats.Histogram({float(ns): int(count) for ns, count in pairs})
    return head, found


def names(found):
    there = list(dict.fromkeys(allocator for _, _, allocator in found))
    order = [bars.OURS, bars.OFF] + list(bars.DEBIAN)
    return sorted(there, key=lambda name: order.index(name) if name in order else len(order))


def table(found):
    clocks = [rounds for (_, call, _), rounds in found.items() if call == CLOCK]
    yield 'of each figure %.0f ns are the clock\'s own' % stats.pooled_percentile(
        [h for rounds in clocks for h in rounds.values()], 0.5)
    for mode in MODES:
        for call in CALLS:
            yield 'latency of %s under %s, ns (baseline: %s)' % (call, mode, bars.BASELINE)
            yield ' ' * 12 + ''.join(label.rjust(10) for label, _ in SHARES) + 'calls'.rjust(14)
            for name in names(found):
                rounds = found.get((mode, call, name))
                if rounds:
                    histograms = list(rounds.values())
                    yield name.ljust(12) + ''.join(
                        '%10.0f' % stats.pooled_percentile(histograms, share) for _, share in SHARES) + \
                        '%14d' % sum(h.total() for h in histograms)
            yield ''


def verdicts(found):
    for mode in MODES:
        for call in CALLS:
            peers = {name: found[mode, call, name] for name in names(found)
                     if name not in (bars.OURS, bars.OFF) and (mode, call, name) in found}
            yield bars.latency_bar(mode, call, found.get((mode, call, bars.OURS)), peers)


def main():
    parser = argparse.ArgumentParser(description='Percentiles of single calls.')
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--calls', type=int, default=10000000, help='timed in each run')
    parser.add_argument('--peer', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--csv', metavar='FILE', help='write every histogram there')
    parser.add_argument('--from', dest='record', metavar='FILE', help='read a CSV, run nothing')
    options = parser.parse_args()
    head, found = read(options.record) if options.record else measure(options, options.csv)
    for key, value in head:
        print('# %s: %s' % (key, value))
    for line in table(found):
        print(line)
    for bar in verdicts(found):
        print(bar.line())
    return 0


if __name__ == '__main__':
    allocating.run(main)
