#!/usr/bin/env python3
"""How much memory is remote: on a node other than that of the thread that allocated it. Each allocator
in turn, in virtual machines with several NUMA nodes; the kernel is asked where the pages are.

    bench/numa.py [--peer NAME=PATH]... [--quick] [--csv FILE]

The cases are those of tests/numa/placed.c: `exchange`, a producer on one node and a consumer on another,
each with blocks of its own; `crowd`, threads that move and free each other's blocks; `migrated`, the pages
that are new to a thread after it has come to another node. What is counted are pages, so nothing here
depends on how fast the machine is."""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile

import allocators as allocating
import bars
import runs

CASES = ('exchange', 'crowd', 'migrated')
MACHINES = (('2 nodes', '2:512M 2:512M'), ('4 nodes', '2:384M 2:384M 2:384M 2:384M'))
ROUNDS = 5
PATIENCE = 1500  # seconds for a machine
COLUMNS = ('machine', 'round', 'allocator', 'case', 'what', 'pages', 'remote')
LINE = re.compile(r'share (\w+): (.*): ([\d.]+) % of (\d+) pages on node \d+')


def script(allocators, rounds):
    """For busybox's sh. A round has every allocator, one right after the other."""
    lines = ['export SHARES=1']
    for number in range(rounds):
        for i in range(len(allocators)):
            allocator = allocators[(i + number) % len(allocators)]
            library = '/' + os.path.basename(allocator.path) if allocator.path else ''
            lines.append('echo "run %d %s"' % (number, allocator.name))
            options = allocator.variables.get('MEMPROF_OPTIONS', '')
            lines += ['MEMPROF_OPTIONS=%s placed %s "%s"' % (options, case, library)
                      for case in CASES]
    return '\n'.join(lines) + '\n'


def run_machine(kernel, nodes, allocators, rounds, scratch):
    """(round, allocator, case, what, pages, remote) for each answer."""
    path = os.path.join(scratch, 'script')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(script(allocators, rounds))
    files = [os.path.join(scratch, 'placed')] + [a.path for a in allocators if a.path]
    done = subprocess.run([os.path.join(allocating.TREE, 'tests/numa/machine'), kernel, nodes,
                           str(PATIENCE), path] + files, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise allocating.Trouble('the machine: ' + done.stderr.strip()[-500:])
    number = name = None
    for line in done.stdout.splitlines():
        words = line.split()
        if words[:1] == ['run']:
            number, name = int(words[1]), words[2]
            continue
        found = LINE.match(line)
        if found:
            case, what, share, pages = found.groups()
            pages = int(pages)
            yield number, name, case, what, pages, round(pages * (100 - float(share)) / 100)
        elif line.startswith('not ok'):
            raise allocating.Trouble('%s: %s' % (name, line))


def remote_share(rows, machine, name, case):
    chosen = [row for row in rows if (row[0], row[2], row[3]) == (machine, name, case)]
    pages = sum(row[5] for row in chosen)
    return 100 * sum(row[6] for row in chosen) / pages if pages else None


def table(rows, allocators):
    print('remote pages, %% of all (baseline: %s)' % bars.BASELINE)
    print('  %-22s' % '' + ''.join('%12s' % a.name for a in allocators))
    lost = collections.Counter()
    for machine, _ in MACHINES:
        for case in CASES:
            shares = {a.name: remote_share(rows, machine, a.name, case) for a in allocators}
            print('  %-22s' % (machine + ', ' + case) +
                  ''.join('%12s' % ('-' if s is None else '%.2f' % s) for s in shares.values()))
            for name in bars.DEBIAN:
                if shares.get(name) is None or shares[bars.OURS] is None or \
                        shares[bars.OURS] > shares[name]:
                    lost['%s, %s (%s)' % (machine, case, name)] += 1
    print()
    print('bar: the share of remote pages is the lowest of all: %s' % (
        'NOT met (%s)' % '; '.join(sorted(lost)) if lost else 'met'))


def main():
    parser = argparse.ArgumentParser(description='Pages on other nodes than their threads.')
    parser.add_argument('--peer', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--csv', metavar='FILE')
    options = parser.parse_args()
    allocators = allocating.chosen(options.peer, off=False)
    kernel = subprocess.run([os.path.join(allocating.TREE, 'tests/numa/kernel'),
                             os.path.join(allocating.BUILD, 'tests/numa/kernel')],
                            capture_output=True, text=True, check=False)
    if kernel.returncode != 0:
        raise allocating.Trouble('no kernel to be had: ' + kernel.stderr.strip()[-200:])
    rows = []
    with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
        subprocess.run(['gcc', '-O2', '-D_GNU_SOURCE', '-pthread', '-o',
                        os.path.join(scratch, 'placed'),
                        os.path.join(allocating.TREE, 'tests/numa/placed.c'),
                        os.path.join(allocating.TREE, 'tests/numa/asker.c')], check=True)
        for machine, nodes in MACHINES:
            rows += [(machine,) + row for row in run_machine(
                kernel.stdout.strip(), nodes, allocators, 1 if options.quick else ROUNDS, scratch)]
    table(rows, allocators)
    if options.csv:
        machine = os.path.basename(kernel.stdout.strip()) + ' under qemu'
        runs.write_csv(options.csv, [*allocating.facts(allocators, ' '.join(sys.argv[1:])),
                                     ('machine', machine)], COLUMNS, rows)


if __name__ == '__main__':
    allocating.run(main)
