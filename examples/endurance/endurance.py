#!/usr/bin/env python3
"""An endurance test with memprof: a clean and a leaky service side by side, under load.

Both are started under memprof and kept busy. Every few seconds `memprof leaks --json` says what no
pointer leads to any more; `memprof watch --json` polls each all the while and says in the end whether
its heap grows for good. Live bytes go to live.csv, and as a plot to live.svg. The exit status is 1 if
a service leaks or grows, and the last line names it: a test that fails, and says which.

    examples/endurance/endurance.py --seconds 3600 --every 30

Only Python's own library is used."""

import argparse
import csv
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
COLOURS = {'clean': '#2a78b8', 'leaky': '#c8402c'}


def arguments():
    build = os.environ.get('MEMPROF_BUILD', os.path.join(HERE, '..', '..', 'build'))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=60, help='how long: 60')
    parser.add_argument('--every', type=float, default=5, help='seconds between looks for leaks: 5')
    parser.add_argument('--rate', type=float, default=500, help='requests a second to each: 500')
    parser.add_argument('--min-bytes', default='16k', help='leaks below this are let pass: 16k')
    parser.add_argument('--out', default='endurance.out', help='folder for the results')
    parser.add_argument('--memprof', default=os.path.join(build, 'tools', 'memprof'))
    parser.add_argument('--service', default=os.path.join(build, 'examples', 'endurance', 'service'))
    return parser.parse_args()


class Service:
    """One service, its load, and what is known of it."""

    def __init__(self, name, options, args):
        self.name, self.args = name, args
        self.path = os.path.join(args.out, name + '.sock')
        self.leaked = self.leaks = None  # bytes; the last answer
        self.ended = threading.Event()
        # Not through `memprof run`'s own output: this is the service's.
        command = [args.memprof, 'run', '--rate', '16k', '--', args.service, self.path] + options
        self.process = subprocess.Popen(command)
        for _ in range(200):
            if os.path.exists(self.path):
                break
            if self.process.poll() is not None:
                sys.exit(f'{name}: the service did not start')
            time.sleep(0.05)
        self.pid = self.process.pid  # memprof run has become the service
        self.load = threading.Thread(target=self.drive, daemon=True)
        self.load.start()
        self.watcher = subprocess.Popen(
            [args.memprof, 'watch', '--json', '--every', f'{max(args.seconds / 60, 0.2):.3f}s',
             '--for', f'{args.seconds:.3f}s', str(self.pid)], stdout=subprocess.PIPE, text=True)

    def drive(self):
        """Requests, evenly in time, until the end."""
        dice, number, began = random.Random(self.name), 0, time.monotonic()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(self.path)
            answers = line.makefile('rb')
            while not self.ended.is_set():
                key = dice.randrange(2000)
                value = 'x' * dice.randrange(500, 4000)
                text = f'SET key{key} {value}\n' if dice.random() < 0.5 else f'GET key{key}\n'
                line.sendall(text.encode())
                answers.readline()
                number += 1
                time.sleep(max(0, began + number / self.args.rate - time.monotonic()))

    def look(self):
        """Asks for leaks; False: no answer."""
        asked = subprocess.run([self.args.memprof, 'leaks', '--json', '--min-bytes',
                                self.args.min_bytes, str(self.pid)], stdout=subprocess.PIPE, text=True)
        if asked.returncode == 2:
            return False
        self.leaks = json.loads(asked.stdout)
        self.leaks['found'] = asked.returncode == 1
        exact = self.leaks['exact']
        self.leaked = exact['leaked_bytes'] + exact['indirect_bytes']
        return True

    def end(self):
        """What watch has said; then the service ends."""
        said, _ = self.watcher.communicate()
        self.watched = json.loads(said) if said else None
        self.grows = self.watcher.returncode == 1
        self.ended.set()
        self.load.join(5)
        self.process.terminate()
        self.process.wait(10)

    def blame(self):
        """The function of this program that lost most."""
        stacks = [leak['frames'] for leak in self.leaks['leaks'] if leak['frames']] if self.leaks else []
        if not stacks:
            return 'a stack that is not known'
        own = [f for f in stacks[0] if (f['module'] or '').endswith('/service') and f['function']]
        chosen = own[0] if own else stacks[0][0]
        place = f" ({os.path.basename(chosen['file'])}:{chosen['line']})" if chosen.get('file') else ''
        return f"{chosen['function']}{place}"


def write_csv(path, services):
    with open(path, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['service', 'time', 'live_bytes', 'rss_bytes'])
        for service in services:
            for point in service.watched['points']:
                table.writerow([service.name, f"{point['time']:.3f}", point['live_bytes'], point['rss_bytes']])


def write_svg(path, services):
    """Live bytes over time, a line for each service."""
    width, height, left, bottom = 720, 360, 80, 40
    series = {s.name: [(p['time'] - s.watched['time'], p['live_bytes'] / 2**20) for p in s.watched['points']]
              for s in services}
    most_x = max(x for points in series.values() for x, _ in points) or 1
    most_y = 1.1 * max(y for points in series.values() for _, y in points) or 1

    def place(x, y):
        return (f'{left + x / most_x * (width - left - 90):.1f},'
                f'{height - bottom - y / most_y * (height - bottom - 20):.1f}')

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>']
    for i in range(5):
        x, y = place(0, most_y * i / 4).split(',')
        parts.append(f'<line x1="{left}" x2="{width - 90}" y1="{y}" y2="{y}" stroke="#ddd"/>'
                     f'<text x="{left - 8}" y="{y}" dy="4" text-anchor="end">{most_y * i / 4:.1f} MiB</text>')
        x, y = place(most_x * i / 4, 0).split(',')
        parts.append(f'<text x="{x}" y="{height - 18}" text-anchor="middle">{most_x * i / 4:.0f} s</text>')
    for name, points in series.items():
        line = ' '.join(place(x, y) for x, y in points)
        x, y = place(*points[-1]).split(',')
        parts.append(f'<polyline fill="none" stroke="{COLOURS[name]}" stroke-width="2" points="{line}"/>'
                     f'<text x="{x}" y="{y}" dx="8" dy="4" fill="{COLOURS[name]}">{name}</text>')
    with open(path, 'w') as file:
        file.write('\n'.join(parts) + '</svg>\n')


def rounds(services, args):
    began = time.monotonic()
    number = 1
    while number * args.every < args.seconds:
        time.sleep(max(0, began + number * args.every - time.monotonic()))
        for service in services:
            word = f'{service.leaked:,} bytes lost' if service.look() else 'no answer'
            print(f'{time.monotonic() - began:8.1f} s  {service.name}: {word}', flush=True)
        number += 1


def report(services):
    """The names of those that fail."""
    failed = []
    for service in services:
        slope = service.watched['slope_bytes_per_hour']
        print(f"{service.name}: {service.watched['verdict']}, "
              f"{'?' if slope is None else f'{slope / 2**20:+.1f}'} MiB an hour; "
              f"{'?' if service.leaked is None else f'{service.leaked:,}'} bytes lost")
        if service.grows or (service.leaks and service.leaks['found']):
            failed.append(service)
    return failed


def main():
    args = arguments()
    os.makedirs(args.out, exist_ok=True)
    services = []
    try:
        services.append(Service('clean', [], args))
        services.append(Service('leaky', ['--leak'], args))
        rounds(services, args)
    finally:
        for service in services:
            service.end()
    if not all(service.watched for service in services):
        print('memprof watch gave no answer', file=sys.stderr)
        return 2
    write_csv(os.path.join(args.out, 'live.csv'), services)
    write_svg(os.path.join(args.out, 'live.svg'), services)
    failed = report(services)
    for service in failed:
        print(f'FAILED: {service.name}, by {service.blame()}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
