#!/usr/bin/env python3
"""redis-server, loaded by redis-benchmark over a socket: keys of strings, counters, lists, sets, hashes
and sorted sets come and are overwritten; then FLUSHALL drops them all."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import common

REQUESTS = 40000  # of each command, at scale 1
KEYS = 20000
LOADS = (('set', 48), ('set', 700), ('get', 48), ('incr', 8), ('rpush', 90), ('lpop', 90), ('sadd', 20),
         ('hset', 120), ('zadd', 20))


def reachable(socket, server):
    for _ in range(500):
        if os.path.exists(socket):
            return
        if server.poll() is not None:
            sys.exit('redis-server ended with %d' % server.returncode)
        time.sleep(0.01)
    sys.exit('redis-server does not answer')


def ask(socket, *words):
    subprocess.run(['redis-cli', '-s', socket, *words], check=True, stdout=subprocess.DEVNULL,
                   timeout=60)


def load(socket, command, size, requests):
    subprocess.run(['redis-benchmark', '-s', socket, '-q', '-c', '20', '-P', '8', '-t', command,
                    '-n', str(requests), '-r', str(KEYS), '-d', str(size)],
                   check=True, stdout=subprocess.DEVNULL, timeout=200)


def main():
    options = common.arguments()
    requests = max(100, int(REQUESTS * options.scale))
    folder = tempfile.mkdtemp(prefix='memprof-redis.')
    socket = os.path.join(folder, 'socket')
    program = shutil.which('redis-server')
    server = subprocess.Popen(
        [program, '--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no',
         '--daemonize', 'no', '--dir', folder],
        env=common.environment(program), stdout=subprocess.DEVNULL)
    try:
        reachable(socket, server)
        watch = common.Stopwatch()
        for command, size in LOADS:
            load(socket, command, size, requests)
        wall = watch.ms()
        held, peak = common.status_kib(server.pid, 'Rss'), common.status_kib(server.pid, 'VmHWM')
        ask(socket, 'FLUSHALL', 'SYNC')
        freed = 0
        if options.rest:
            time.sleep(1)
            freed = common.status_kib(server.pid, 'Rss')
        server.terminate()
        usage = common.wait(server)
    finally:
        if server.returncode is None:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    if server.returncode != 0:
        sys.exit('redis-server ended with %d' % server.returncode)
    common.print_line(common.cpu_ms(usage), wall, peak, held, freed, requests * len(LOADS))


main()
