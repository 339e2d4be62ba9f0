#!/usr/bin/env python3
"""gcc -O2 on a generated file of C: many functions with loops, calls and switches. CPU time is that of
the driver, the compiler and the assembler; the peak is the largest of theirs. (A child's high-water
mark starts at its parent's, here some 10 MiB; the compiler's is far above.)"""
import os
import random
import shutil
import subprocess
import sys
import tempfile

import common

FUNCTIONS = 42  # at scale 1


def expression(rng, depth):
    if depth == 0:
        return rng.choice(('a', 'b', 'c', 't[i & 15]', 's.x', 's.y', str(rng.randint(1, 99))))
    kind = rng.randint(0, 5)
    left, right = expression(rng, depth - 1), expression(rng, depth - 1)
    if kind == 0:
        return '(%s > %s ? %s : %s)' % (left, right, left, expression(rng, depth - 1))
    return '(%s %s %s)' % (left, '+ - * ^ |'.split()[kind - 1], right)


def function(rng, number):
    name = 'work%d' % number
    lines = ['static int %s(int a, int b, int c) {' % name,
             '    struct pair s = {a, b};', '    int t[16] = {c}, i;',
             '    for (i = 0; i < %d; i++) {' % rng.randint(3, 40)]
    for _ in range(rng.randint(2, 5)):
        lines.append('        t[(i + %d) & 15] += %s;' % (rng.randint(0, 15), expression(rng, 3)))
    lines.append('        switch (t[i & 15] & 7) {')
    for case in range(5):
        lines.append('        case %d: %s = %s; break;' % (case, rng.choice(('a', 'b', 'c', 's.x')),
                                                         expression(rng, 2)))
    lines += ['        default: s.y ^= t[%d]; }' % rng.randint(0, 15), '    }']
    if number:
        lines.append('    if (a > b) c += work%d(b, c, s.x);' % rng.randint(0, number - 1))
    return lines + ['    return a + b + c + s.x + s.y + t[%d];' % rng.randint(0, 15), '}', '']


def source(count):
    rng = random.Random(1)
    lines = ['struct pair { int x, y; };', '']
    for number in range(count):
        lines += function(rng, number)
    lines += ['int all(int a) {', '    int sum = 0;']
    lines += ['    sum += work%d(a, sum, %d);' % (n, n) for n in range(count)]
    return '\n'.join(lines + ['    return sum;', '}', ''])


def main():
    options = common.arguments()
    count = max(5, int(FUNCTIONS * options.scale))
    gcc = shutil.which('gcc')
    folder = tempfile.mkdtemp(prefix='memprof-gcc.')
    try:
        path = os.path.join(folder, 'generated.c')
        with open(path, 'w', encoding='ascii') as file:
            file.write(source(count))
        watch = common.Stopwatch()
        process = subprocess.Popen([gcc, '-O2', '-g', '-c', path, '-o', path + '.o'],
                                   env=common.environment(gcc))
        usage = common.wait(process)
        wall = watch.ms()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if process.returncode != 0:
        sys.exit('gcc ended with %d' % process.returncode)
    common.print_line(common.cpu_ms(usage), wall, usage.ru_maxrss, usage.ru_maxrss, 0, count)


main()
