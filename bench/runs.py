"""Starts the measured programs, one at a time and in turn, and keeps what they print, as CSV.

A program is run as `NAME [--scale X] [--rest]`, does a fixed amount of work, and prints one line:
`cpu_ms=F wall_ms=F peak_kib=N held_kib=N freed_kib=N ops=N`. Anything else, or another status than
0, is a failed run: kept with its reason, without figures."""
import csv
import os
import random
import re
import signal
import subprocess
import sys
import time

import allocators as allocating

FIELDS = ('cpu_ms', 'wall_ms', 'peak_kib', 'held_kib', 'freed_kib', 'ops')
COLUMNS = ('round', 'at_s', 'workload', 'allocator', 'rest') + FIELDS + ('failed',)
LINE = re.compile(r'^' + ' '.join(r'%s=([0-9.]+)' % field for field in FIELDS) + r'$')
PATIENCE = 300  # seconds, of a run

# Written before the allocator was tuned against it, and not changed since: see README.md. A program
# that is missing, or one that is not listed, ends the bench.
WORKLOADS = (
    'pairs', 'lifo', 'fifo', 'random', 'random_mt', 'producer_consumer', 'sessions', 'thread_churn',
    'false_sharing_active', 'false_sharing_passive', 'realloc_growth', 'realloc_huge', 'large_churn',
    'calloc_heavy', 'trees', 'compiler', 'strings', 'fragmentation', 'idle', 'aligned', 'kvstore',
    'batch', 'startup', 'cxx_containers', 'json', 'matrix', 'many_threads')
NO_WORKLOAD = ('latency',)  # a program of another part
REAL = {'redis': 'redis-server', 'python': '/usr/bin/python3', 'python_malloc': '/usr/bin/python3',
        'gcc': 'gcc', 'sqlite': 'sqlite3'}


class Program:
    """name as in the tables; command without its options; preload: see Allocator.environment."""

    def __init__(self, name, command, preload='LD_PRELOAD'):
        self.name, self.command, self.preload = name, command, preload


def workload_folder():
    return os.path.join(allocating.BUILD, 'bench', 'workloads')


def workloads():
    folder = workload_folder()
    there = {name for name in (os.listdir(folder) if os.path.isdir(folder) else ())
             if os.path.isfile(os.path.join(folder, name)) and
             os.access(os.path.join(folder, name), os.X_OK)} - set(NO_WORKLOAD)
    for word, names in (('not built', set(WORKLOADS) - there), ('not listed', there - set(WORKLOADS))):
        if names:
            raise allocating.Trouble('%s: %s: %s' % (folder, word, ' '.join(sorted(names))))
    return [Program(name, [os.path.join(folder, name)]) for name in WORKLOADS]


def real_programs():
    """Those whose program is installed."""
    found = []
    for name, needed in REAL.items():
        if any(os.access(os.path.join(folder, needed), os.X_OK)
               for folder in os.environ.get('PATH', '').split(':') + ['/']):
            script = name.split('_')[0] + '.py'
            command = [sys.executable, os.path.join(allocating.BENCH, 'real', script)]
            if name == 'python_malloc':
                command.append('--malloc')
            found.append(Program(name, command, 'BENCH_PRELOAD'))
        else:
            print('bench: without %s: %s is not installed' % (name, needed), file=sys.stderr)
    return found


def run_once(program, allocator, scale=1.0, rest=False, patience=PATIENCE):
    """{field: number}, or {'failed': reason}."""
    command = program.command + ['--scale', '%g' % scale]
    if rest:
        command.append('--rest')
    # A group of its own: what it has started, such as a server, goes down with it.
    with subprocess.Popen(command, env=allocator.environment(program.preload), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as process:
        try:
            said, complained = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return {'failed': 'still running after %g s' % patience}
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        last = (complained.strip().splitlines() or [''])[-1]
        return {'failed': 'status %d: %s' % (process.returncode, last[:200])}
    match = LINE.match(said.rstrip('\n'))
    if not match:
        return {'failed': 'printed %r' % said[:200]}
    return dict(zip(FIELDS, map(float, match.groups())))


def rests(rounds, wanted):
    """The rounds that rest at the end of each run: `wanted` of them, evenly spread."""
    return {r for r in range(rounds) if (r + 1) * wanted // rounds > r * wanted // rounds}


def schedule(programs, allocators, rounds, rest_rounds, seed=1):
    """Yields (round, program, allocator, rest): each round has every program in a fresh order, and
    under each program every allocator, in a fresh order and one right after the other, so that the
    runs that are compared lie within seconds of each other."""
    rng = random.Random(seed)
    resting = rests(rounds, rest_rounds)
    for number in range(rounds):
        order = list(programs)
        rng.shuffle(order)
        for program in order:
            turn = list(allocators)
            rng.shuffle(turn)
            for allocator in turn:
                yield number, program, allocator, number in resting


class Records:
    """All runs: in memory, and line by line in a file, so that nothing is lost to an interrupt."""

    def __init__(self, path=None, head=()):
        self.rows = []
        self.head = list(head)
        self.file = None
        self.start = time.monotonic()
        if path:
            self.file = open(path, 'w', encoding='utf-8', newline='')
            write_head(self.file, self.head)
            self.writer = csv.DictWriter(self.file, COLUMNS, restval='', lineterminator='\n')
            self.writer.writeheader()

    def add(self, number, name, allocator, rest, result):
        row = dict(round=number, at_s='%.1f' % (time.monotonic() - self.start), workload=name,
                   allocator=allocator, rest=int(rest), failed=result.get('failed', ''))
        row.update({field: '%g' % result[field] if field.endswith('ms') else '%d' % result[field]
                    for field in FIELDS if field in result})
        self.rows.append(row)
        if self.file:
            self.writer.writerow(row)
            self.file.flush()

    def close(self):
        if self.file:
            self.file.close()


def write_head(file, head):
    for key, value in head:
        file.write('# %s: %s\n' % (key, ' '.join(str(value).split())))


def write_csv(path, head, columns, rows):
    with open(path, 'w', encoding='utf-8', newline='') as file:
        write_head(file, head)
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        writer.writerows(rows)


def read_csv(path):
    """(head, rows) of a file that the bench has written."""
    head, lines = [], []
    with open(path, encoding='utf-8', newline='') as file:
        for line in file:
            if line.startswith('# '):
                head.append(tuple(line[2:].rstrip('\n').split(': ', 1)))
            else:
                lines.append(line)
    return head, list(csv.DictReader(lines))


def read_records(path):
    records = Records()
    records.head, records.rows = read_csv(path)
    if records.rows and set(COLUMNS) - set(records.rows[0]):
        raise allocating.Trouble('%s: no record of compare.py' % path)
    return records


def figures(rows, field):
    """{(workload, allocator): {round: figure}}, failed runs left out, and 0 where that means none."""
    found = {}
    for row in rows:
        if not row['failed'] and float(row[field]) > 0:
            found.setdefault((row['workload'], row['allocator']), {})[int(row['round'])] = \
                float(row[field])
    return found


def failures(rows):
    """One line per workload and allocator that failed at least once."""
    seen = {}
    for row in rows:
        if row['failed']:
            seen.setdefault((row['workload'], row['allocator']), []).append(row['failed'])
    return ['failed: %s under %s, %d times: %s' % (w, a, len(reasons), reasons[0])
            for (w, a), reasons in sorted(seen.items())]
