#!/usr/bin/env python3
"""Debian's python3 at what its programs do: parse, index, sort and write out records. By itself it keeps
small objects in an allocator of its own and asks for 256 KiB to 1 MiB at a time; --malloc takes that
away (PYTHONMALLOC=malloc), so that each object is a malloc."""
import os
import subprocess
import sys

import common

PYTHON = '/usr/bin/python3'
WORK = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'python_work.py')


def main():
    options = common.arguments('--malloc')
    env = common.environment(PYTHON)
    env.update(PYTHONHASHSEED='0', PYTHONDONTWRITEBYTECODE='1')
    if options.malloc:
        env['PYTHONMALLOC'] = 'malloc'
    watch = common.Stopwatch()
    process = subprocess.Popen([PYTHON, '-S', WORK, '%g' % options.scale, str(int(options.rest))], env=env,
                               stdout=subprocess.PIPE, text=True)
    said = process.stdout.read().split()
    usage = common.wait(process)
    if process.returncode != 0 or len(said) != 4:
        sys.exit('python3 ended with %d' % process.returncode)
    peak, held, freed, operations = map(int, said)
    common.print_line(common.cpu_ms(usage), watch.ms() - 1000 * options.rest, peak, held, freed,
                      operations)


main()
