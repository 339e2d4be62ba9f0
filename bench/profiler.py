#!/usr/bin/env python3
"""What the profiler costs, and whether it says the same as another one.

    bench/profiler.py [--rounds 5] [--csv FOLDER] [--quick]

  - instructions of whole workloads with the profiler on (rate=auto) against off, by callgrind. The
    clock's word on the same is a column of compare.py.
  - time and peak RSS against jemalloc with its profiler active, at one mean rate (512 KiB), and with
    every allocation recorded (rate=1, lg_prof_sample:0)
  - the shares of sites.c's sites, as both profilers estimate them at 64 KiB, each with its interval"""
import argparse
import json
import math
import os
import re
import subprocess
import tempfile

import allocators as allocating
import bars
import counts
import report
import runs

COUNTED_SCALE = 1.0
EVERY_SCALE = 0.01   # jemalloc that records everything takes 400 times as long, and gigabytes
SITE_RUNS = 5
Z = 1.959963984540054
JEMALLOC_CONF = 'prof:true,prof_active:true,lg_prof_sample:%d'


def jemalloc(lg_rate):
    return allocating.Allocator(bars.BASELINE, allocating.debian_path('libjemalloc.so.2'),
                                {'MALLOC_CONF': JEMALLOC_CONF % lg_rate})


def check_jemalloc():
    """A jemalloc that was built without its profiler says so, and runs on without."""
    there = jemalloc(19)
    there.check()
    said = subprocess.run(['/bin/true'], env=there.environment(), capture_output=True, text=True,
                          check=True).stderr
    if said:
        raise allocating.Trouble('jemalloc has no profiler: ' + said.strip())


# ---- on against off --------------------------------------------------------------------------------

def on_against_off(programs, scratch):
    """{workload: instructions on / off}"""
    found = {}
    pair = (allocating.memprof(), allocating.memprof('rate=0', bars.OFF))
    for name, (on, off) in counts.whole_programs(programs, pair, scratch, COUNTED_SCALE):
        found[name] = on / off
        print('%-24s %14d %14d %9.4f' % (name, on, off, on / off), flush=True)
    return found


# ---- against jemalloc's profiler -------------------------------------------------------------------

def duel(programs, ours, theirs, rounds, scale, path, title):
    """{figure: Ratios}; prints the tables."""
    head = list(allocating.facts([ours, theirs], '%s against %s, scale %g' % (
        ours.variables['MEMPROF_OPTIONS'], theirs.variables['MALLOC_CONF'], scale)))
    records = runs.Records(path, head)
    try:
        for number, program, allocator, rest in runs.schedule(programs, [ours, theirs], rounds, 0):
            records.add(number, program.name, allocator.name, rest,
                        runs.run_once(program, allocator, scale, rest))
    finally:
        records.close()
    for line in runs.failures(records.rows):
        print(line)
    names = [p.name for p in programs]
    figures = {field: runs.figures(records.rows, field) for field, *_ in report.FIGURES}
    comparison = report.Comparison(figures, [bars.OURS, bars.BASELINE], names, title)
    for line in comparison.tables():
        print(line)
    return {field: comparison.ratios[field] for field in ('cpu_ms', 'peak_kib')}


# ---- the shares of sites ---------------------------------------------------------------------------

def interval(value, count):
    """Wilson's score interval of a Poisson count, scaled to the value that it stands for."""
    reach = Z * math.sqrt(count + Z * Z / 4)
    return tuple(value * (count + Z * Z / 2 + sign * reach) / count for sign in (-1, 1))


def shares(estimates):
    """{site: (share, low, high)} of all bytes. The total is an estimate too: a share errs by its
    site's error and, the other way round, by that of all others together."""
    total = sum(value for value, _, _ in estimates.values())
    found = {}
    for site, (value, low, high) in estimates.items():
        share = value / total
        others = [e for name, e in estimates.items() if name != site]

        def reach(own, rest):
            return math.hypot((1 - share) * own, share * math.sqrt(sum(r * r for r in rest))) / total
        found[site] = (share, share - reach(value - low, [h - v for v, _, h in others]),
                       share + reach(high - value, [v - least for v, least, _ in others]))
    return found


def symbols(program):
    """[(first address, past the last, name)] of the sites; the program is not relocated."""
    said = subprocess.run(['nm', '-S', program], capture_output=True, text=True, check=True).stdout
    return [(int(at, 16), int(at, 16) + int(size, 16), name) for at, size, name in
            re.findall(r'^([0-9a-f]+) ([0-9a-f]+) [Tt] (site_\w+)$', said, re.M)]


def read_jemalloc(path, program):
    """{site: (bytes, low, high)} of a heap_v2 file. It has the samples' number and bytes by stack; of
    a site with blocks of the mean size s the sampler saw the share 1 - exp(-s / rate)."""
    places = symbols(program)
    with open(path, encoding='utf-8', errors='replace') as file:
        text = file.read()
    rate = int(re.match(r'heap_v2/(\d+)', text).group(1))
    piles = {}
    for stack, objects, size in re.findall(r'^@((?: 0x[0-9a-f]+)+)\n\s+t\*: (\d+): (\d+)', text, re.M):
        addresses = [int(word, 16) - 1 for word in stack.split()]  # a return address is past its call
        for name in (n for a in addresses for low, high, n in places if low <= a < high):
            seen = piles.setdefault(name, [0, 0])
            seen[0] += int(objects)
            seen[1] += int(size)
            break
    found = {}
    for name, (objects, size) in piles.items():
        if objects:
            chance = 1 - math.exp(-size / objects / rate)
            value = size / chance
            found[name] = (value,) + interval(value, objects / (1 - chance))
    return found


def read_memprof(path):
    memprof = os.path.join(allocating.BUILD, 'tools', 'memprof')
    said = subprocess.run([memprof, 'show', '--by', 'function', '--top', '0', '--format', 'json', path],
                          capture_output=True, text=True, check=True).stdout
    found = {}
    for site in json.loads(said)['sites']:
        name = site['frames'][0]['function'] or ''
        if name.startswith('site_') and site['bytes'] > 0:
            found[name] = site['bytes'], site['bytes_low'], site['bytes_high']
    return found


def run_sites(program, allocator, path):
    """{site: live bytes}, the truth."""
    done = subprocess.run([program, path], env=allocator.environment(), capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise allocating.Trouble('sites under %s: %s' % (allocator.name, done.stderr.strip()))
    return {line.split()[0]: int(line.split()[2]) for line in done.stdout.splitlines()}


def compare_sites(scratch):
    """[(ours, theirs)], shares of each run."""
    program = counts.compile_program(
        os.path.join(allocating.BENCH, 'sites.c'), scratch,
        ('-O1', '-no-pie', '-fno-omit-frame-pointer', '-fno-optimize-sibling-calls'))
    found = []
    print('shares of bytes at a mean of 64 KiB between samples, with 95 % intervals: of the truth, of '
          'memprof, of jemalloc')
    for seed in range(1, SITE_RUNS + 1):
        path = os.path.join(scratch, 'sites.%d' % seed)
        truth = run_sites(program, allocating.memprof('rate=64k:seed=%d' % seed), path + '.m')
        run_sites(program, jemalloc(16), path + '.j')
        ours, theirs = shares(read_memprof(path + '.m')), shares(read_jemalloc(path + '.j', program))
        found.append((ours, theirs))
        if seed == 1:
            total = sum(truth.values())
            for site, size in truth.items():
                print('  %-14s %5.1f %%' % (site, 100 * size / total) + ''.join(
                    '%8.1f %% (%4.1f-%4.1f)' % tuple(100 * x for x in of[site]) if site in of
                    else '%22s' % '-' for of in (ours, theirs)))
    print()
    return found


def main():
    parser = argparse.ArgumentParser(description='What the profiler costs.')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--quick', action='store_true', help='3 rounds of a tenth of the work')
    parser.add_argument('--only', metavar='RE', help='the workloads that match')
    parser.add_argument('--csv', metavar='FOLDER', help='write profiler-*.csv there')
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0
    rounds = 3 if options.quick else options.rounds
    allocating.memprof().check()
    check_jemalloc()
    programs = [p for p in runs.workloads() if not options.only or re.search(options.only, p.name)]

    def path(name):
        return os.path.join(options.csv, 'profiler-%s.csv' % name) if options.csv else None

    with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
        print('instructions at scale %g: rate=auto, rate=0, ratio' % COUNTED_SCALE)
        counted = on_against_off(programs, scratch)
        print()
        sampled = duel(programs, allocating.memprof('rate=512k'), jemalloc(19), rounds, scale,
                       path('sampled'), 'both profilers at 512 KiB: ')
        counted_programs = [p for p in programs if p.name in counts.COUNTED]
        every = duel(counted_programs, allocating.memprof('rate=1'), jemalloc(0), 3, EVERY_SCALE,
                     path('every'), 'both profilers at every allocation: ')
        sites = compare_sites(scratch)
    if options.csv:
        runs.write_csv(path('counts'), allocating.facts([], 'callgrind, rate=auto against rate=0'),
                       ('workload', 'on_by_off'),
                       ((w, '%.6f' % ratio) for w, ratio in counted.items()))
    for bar in bars.profiler_bars(counted, sampled, every):
        print(bar.line())
    print(bars.sites_bar(sites).line())


if __name__ == '__main__':
    allocating.run(main)
