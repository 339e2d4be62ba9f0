#!/usr/bin/env python3
"""What services notice that are searched for leaks every other second: redis under redis-benchmark
and nginx under wrk.

    bench/services.py [--phases 120] [--csv FILE] [--quick]

The load goes on all the time; seconds in which `memprof leaks` asks the service take turns with
seconds in which nobody does, and what the service itself has counted in both is compared: the median
of the ratios of neighbours. 120 phases are two minutes of checks. Neighbouring seconds differ by a
tenth where a machine is shared, and so do neighbouring five seconds: there are just fewer of these.
What a search costs is over long before its second is. The service has a library beside ours that
counts which calls returned with EINTR, and which signals came (interrupts.c)."""
import argparse
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import allocators as allocating
import runs
import stats

PHASE_S, LEAST_SHARE = 1, 0.97
REDIS_MIB, REDIS_KEYS, REDIS_BYTES = 20, 100000, 100
PAGE = 4000
# Those that signal(7) says are never restarted, of what interrupts.c counts.
NEVER_RESTARTED = {'poll', 'select', 'epoll_wait', 'epoll_pwait', 'nanosleep', 'usleep'}
ENTRY, ENTRIES = struct.Struct('24sQ'), 64
COLUMNS = ('service', 'phase', 'checked', 'seconds', 'requests')
MEMPROF = os.path.join(allocating.BUILD, 'tools', 'memprof')


class Service:
    """A server that runs under memprof in a session of its own, and the load on it."""
    needs = ()

    def __init__(self, folder, interrupts):
        self.folder = folder
        self.counts = os.path.join(folder, 'interrupts')
        with open(self.counts, 'wb') as file:
            file.truncate(ENTRY.size * ENTRIES)
        os.chmod(self.counts, 0o666)
        self.environment = allocating.memprof().environment()
        self.environment['LD_PRELOAD'] += ' ' + interrupts
        self.environment['INTERRUPTS'] = self.counts
        self.server = self.load = None

    def start(self, *command):
        self.server = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL,
                                       start_new_session=True, cwd=self.folder)

    def put_load(self, *command):
        with open(os.path.join(self.folder, 'said'), 'w', encoding='utf-8') as said:
            self.load = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)

    def end_load(self, number):
        """(what it has said, whether it had ended by itself)"""
        ended = self.load.poll() is not None
        self.load.send_signal(number)
        self.load.wait(60)
        with open(os.path.join(self.folder, 'said'), encoding='utf-8', errors='replace') as said:
            return said.read(), ended

    def wait_until(self, ready, what):
        until = time.monotonic() + 20
        while not ready():
            if self.server.poll() is not None or time.monotonic() > until:
                raise allocating.Trouble('%s: %s' % (self.name, what))
            time.sleep(0.02)

    def processes(self):
        """{number: state} of all in the server's session."""
        found = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open('/proc/%s/stat' % pid, encoding='ascii', errors='replace') as file:
                    words = file.read().rsplit(')', 1)[1].split()
            except (OSError, IndexError):
                continue  # it has ended meanwhile
            if int(words[3]) == self.server.pid:
                found[int(pid)] = words[0]
        return found

    def counted(self):
        """{call: how often it was interrupted}, {signal: how often it came}"""
        with open(self.counts, 'rb') as file:
            entries = [(name.rstrip(b'\0').decode(), count)
                       for name, count in ENTRY.iter_unpack(file.read()) if count]
        return [{name: count for name, count in entries if name.startswith('signal ') == is_signal}
                for is_signal in (False, True)]

    def logged_signals(self):
        """Those that it handles and tells of itself."""
        return 0

    def end(self):
        for process in (self.load, self.server):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Redis(Service):
    name, own_processes = 'redis', 1
    needs = ('redis-server', 'redis-benchmark')

    def begin(self):
        self.start(shutil.which('redis-server'), '--port', '0', '--unixsocket', 'socket', '--save', '',
                   '--appendonly', 'no', '--daemonize', 'no')
        self.socket = os.path.join(self.folder, 'socket')
        self.wait_until(lambda: os.path.exists(self.socket), 'it does not answer')
        subprocess.run(self.benchmark('-P', '16', '-t', 'set', '-n', str(10 * REDIS_KEYS)), check=True,
                       stdout=subprocess.DEVNULL, timeout=120)
        held = int(self.info('memory')['used_memory']) / (1 << 20)
        if held < 0.8 * REDIS_MIB:
            raise allocating.Trouble('redis has %.1f MiB of data' % held)
        print('redis holds %.1f MiB' % held)
        self.put_load(*self.benchmark('-t', 'set,get', '-n', '20000', '-l'))
        return self.server.pid

    def benchmark(self, *words):
        return ['redis-benchmark', '-s', self.socket, '-q', '-c', '20', '-r', str(REDIS_KEYS),
                '-d', str(REDIS_BYTES), *words]

    def info(self, section):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(self.socket)
            connection.sendall(b'info %s\r\nquit\r\n' % section.encode())
            said = b''.join(iter(lambda: connection.recv(65536), b'')).decode()
        return dict(line.split(':', 1) for line in said.splitlines() if ':' in line)

    def served(self):
        return int(self.info('stats')['total_commands_processed'])

    def failures(self):
        """Requests that failed, by the server and by the load's own words."""
        counted = self.info('stats')
        said, ended = self.end_load(signal.SIGKILL)
        return (int(counted['total_error_replies']) + int(counted['rejected_connections']) +
                len(re.findall('(?i)error', said)) + ended)


class Nginx(Service):
    name, own_processes = 'nginx', 2
    needs = ('nginx', 'wrk')

    def begin(self):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        os.mkdir(os.path.join(self.folder, 'www'))
        with open(os.path.join(self.folder, 'www', 'page.html'), 'w', encoding='ascii') as file:
            file.write('x' * PAGE)
        with open(os.path.join(self.folder, 'nginx.conf'), 'w', encoding='ascii') as file:
            file.write('''daemon off; worker_processes 1; pid pid; error_log log notice;
events { worker_connections 200; }
http {
    access_log off; root www; gzip on; gzip_min_length 100;
    %s
    server {
        listen 127.0.0.1:%d;
        location = /served { stub_status; }
    }
}
''' % (' '.join('%s_temp_path temporary;' % what for what in (
                'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')), self.port))
        self.start(shutil.which('nginx'), '-p', self.folder, '-c', 'nginx.conf', '-e', 'log')
        self.wait_until(self.answers, 'it does not answer')
        self.put_load('wrk', '-t', '1', '-c', '20', '-d', '1h', '-H', 'Accept-Encoding: gzip',
                      'http://127.0.0.1:%d/page.html' % self.port)
        return max(self.processes())  # the worker

    def ask(self, path):
        with socket.create_connection(('127.0.0.1', self.port), 20) as connection:
            connection.sendall(b'GET %s HTTP/1.0\r\n\r\n' % path)
            return b''.join(iter(lambda: connection.recv(65536), b'')).decode()

    def answers(self):
        try:
            return ' 200 ' in self.ask(b'/page.html')
        except OSError:
            return False

    def served(self):
        return int(re.search(r'requests\s+\d+ \d+ (\d+)', self.ask(b'/served')).group(1))

    def failures(self):
        said, ended = self.end_load(signal.SIGINT)
        if 'Requests/sec' not in said:
            raise allocating.Trouble('wrk says: ' + said)
        failed = re.findall(r'Non-2xx or 3xx responses: (\d+)', said)
        failed += re.findall(r'\d+', ' '.join(re.findall('Socket errors: (.*)', said)))
        return sum(map(int, failed)) + ended

    def logged_signals(self):
        with open(os.path.join(self.folder, 'log'), encoding='utf-8') as file:
            return sum(' signal ' in line for line in file)


class Checks:
    """What the searches have said."""

    def __init__(self, pid):
        self.pid, self.pauses, self.searches, self.worlds = pid, [], [], set()

    def make(self):
        result = subprocess.run([MEMPROF, 'leaks', '--json', str(self.pid)], text=True,
                                capture_output=True, check=False)
        if result.returncode not in (0, 1):
            raise allocating.Trouble('memprof leaks: ' + result.stderr.strip())
        self.worlds.add(re.search('"world": *"([^"]*)"', result.stdout).group(1))
        for figures, name in ((self.pauses, 'pause_us'), (self.searches, 'scan_ms')):
            figures.append(int(re.search('"%s": *([0-9]+)' % name, result.stdout).group(1)))


def measure(service, phases, seconds):
    """(rows, checks)"""
    rows = []
    checks = Checks(service.begin())
    Checks(checks.pid).make()
    time.sleep(seconds)  # to get warm
    before, began = service.served(), time.monotonic()
    for number in range(phases):
        for checked in (False, True) if number % 2 else (True, False):
            if checked:
                checks.make()
            time.sleep(max(0, began + seconds - time.monotonic()))
            served, now = service.served(), time.monotonic()
            rows.append((service.name, number, int(checked), now - began, served - before))
            before, began = served, now
    return rows, checks


def verdict(name, value, required, met):
    print('bar: %s: %s, required %s: %s' % (name, value, required, 'met' if met else 'NOT met'))


def judge(service, rows, checks):
    rate = {(number, checked): requests / took for _, number, checked, took, requests in rows}
    ratios = [rate[number, 1] / rate[number, 0] for number, checked in rate if checked]
    share = stats.interval_of_median(ratios)
    took = sum(row[3] for row in rows if row[2])
    processes = service.processes()
    failed = service.failures()
    interrupted, signals = service.counted()
    print('%s: %.0f requests a second unchecked; %d searches in %.0f s, stopped by %s; medians: '
          'pause %.1f ms, search %.0f ms' % (
              service.name, stats.median([rate[key] for key in rate if not key[1]]),
              len(checks.pauses), took, ', '.join(sorted(checks.worlds)),
              stats.median(checks.pauses) / 1000, stats.median(checks.searches)))
    print('%s: EINTR: %s' % (service.name, ', '.join('%s %d' % item for item in sorted(
        interrupted.items())) or 'none'))
    verdict(service.name + ': throughput checked over unchecked', share,
            'at least %.2f' % LEAST_SHARE, share.value >= LEAST_SHARE)
    for what, count in (
            ('requests that failed', failed),
            ('calls with EINTR that are restarted',
             sum(count for name, count in interrupted.items() if name not in NEVER_RESTARTED)),
            ('zombies and processes left', len(processes) - service.own_processes),
            ('signals that it has received', sum(signals.values()) + service.logged_signals())):
        verdict('%s: %s' % (service.name, what), count, 'at most 0', count == 0)


def main():
    parser = argparse.ArgumentParser(description='Services that are searched for leaks every other second.')
    parser.add_argument('--phases', type=int, default=120)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--csv', metavar='FILE')
    options = parser.parse_args()
    rows, phases = [], 2 if options.quick else options.phases
    with tempfile.TemporaryDirectory(prefix='memprof-bench.') as scratch:
        os.chmod(scratch, 0o755)
        interrupts = os.path.join(scratch, 'interrupts.so')
        subprocess.run(['gcc', '-O2', '-shared', '-fPIC', '-D_GNU_SOURCE', '-o', interrupts,
                        os.path.join(allocating.BENCH, 'interrupts.c'), '-ldl'], check=True)
        for kind in (Redis, Nginx):
            missing = [need for need in kind.needs if not shutil.which(need)]
            if missing:
                print('%s: without it: %s is not installed' % (kind.name, ', '.join(missing)))
                continue
            folder = os.path.join(scratch, kind.name)
            os.mkdir(folder)
            service = kind(folder, interrupts)
            try:
                mine, checks = measure(service, phases, PHASE_S)
                judge(service, mine, checks)
            finally:
                service.end()
            rows += mine
            print()
    if options.csv:
        packages = ('redis-server', 'redis-tools', 'nginx-light', 'wrk')
        runs.write_csv(options.csv, [*allocating.facts([], '--phases %d' % phases),
                                     *((name, allocating.package_version(name)) for name in packages)],
                       COLUMNS, ((*row[:3], '%.3f' % row[3], row[4]) for row in rows))


if __name__ == '__main__':
    allocating.run(main)
