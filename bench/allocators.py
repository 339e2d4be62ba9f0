"""The allocators that are compared, how a program is started under one, and what a record of results
must say of the machine and the versions. Shared by all parts of the bench."""
import os
import platform
import subprocess
import sys
import time

import bars

BENCH = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(BENCH)
BUILD = os.path.abspath(os.environ.get('MEMPROF_BUILD') or os.path.join(TREE, 'build'))
LIBRARY = os.environ.get('MEMPROF_LIB') or os.path.join(BUILD, 'src', 'libmemprof.so')

# Debian's packages of the peers; jemalloc is the baseline.
PEERS = (('jemalloc', 'libjemalloc.so.2', 'libjemalloc2'),
         ('mimalloc', 'libmimalloc.so.2.0', 'libmimalloc2.0'),
         ('tcmalloc', 'libtcmalloc_minimal.so.4', 'libtcmalloc-minimal4'))
# What would change an allocator behind our back.
STEERING = ('LD_', 'MALLOC_', 'MIMALLOC_', 'TCMALLOC_', 'MEMPROF_', 'GLIBC_TUNABLES', '_RJEM')


class Trouble(Exception):
    """What ends a part of the bench, in words for a person."""


class Allocator:
    """name as in the tables; path '' is the program's own, glibc's. variables: its options."""

    def __init__(self, name, path='', variables=None):
        self.name, self.path, self.variables = name, path, dict(variables or {})

    def environment(self, preload='LD_PRELOAD'):
        """preload: the variable that carries the library. A script that starts the measured program
        itself takes it in another one, so that the script is not measured."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(STEERING)}
        kept.update(self.variables, LC_ALL='C')
        if self.path:
            kept[preload] = self.path
        return kept

    def check(self):
        """That the library gets in: the loader says little of one that does not."""
        if self.path:
            maps = subprocess.run(['/bin/cat', '/proc/self/maps'], env=self.environment(),
                                  capture_output=True, text=True, check=True).stdout
            if os.path.realpath(self.path) not in maps:
                raise Trouble('%s: %s was not loaded' % (self.name, self.path))


def multiarch():
    said = subprocess.run(['gcc', '-print-multiarch'], capture_output=True, text=True, check=False)
    return said.stdout.strip() or platform.machine() + '-linux-gnu'


def debian_path(library):
    return os.path.join('/usr/lib', multiarch(), library)


def memprof(options='rate=auto', name=bars.OURS):
    return Allocator(name, LIBRARY, {'MEMPROF_OPTIONS': options})


def chosen(extra=(), off=True):
    """Ours, ours without the profiler, each peer that is installed, and those named by --peer."""
    if not os.path.exists(LIBRARY):
        raise Trouble('%s is missing: ./dev build' % LIBRARY)
    found = [memprof()]
    if off:
        found.append(memprof('rate=0', bars.OFF))
    for name, library, package in PEERS:
        path = debian_path(library)
        if os.path.exists(path):
            found.append(Allocator(name, path))
        else:
            print('bench: without %s: install %s' % (name, package), file=sys.stderr)
    found.append(Allocator('glibc'))
    for text in extra:
        name, _, path = text.partition('=')
        if not name or not path or name in [a.name for a in found]:
            raise Trouble('--peer %s: NAME=PATH, and a name that is not taken' % text)
        if not os.path.exists(path):
            raise Trouble('--peer %s: there is no %s' % (name, path))
        found.append(Allocator(name, os.path.abspath(path)))
    for allocator in found:
        allocator.check()
    return found


# ---- the head of a record -------------------------------------------------------------------------

def first(path, start, otherwise='unknown'):
    try:
        with open(path, encoding='utf-8') as lines:
            for line in lines:
                if line.startswith(start):
                    return line.split(':', 1)[-1].strip()
    except OSError:
        pass
    return otherwise


def package_version(package):
    said = subprocess.run(['dpkg-query', '-W', '-f', '${Version}', package], capture_output=True,
                          text=True, check=False) if os.path.exists('/usr/bin/dpkg-query') else None
    return said.stdout if said and said.returncode == 0 else 'unknown'


def commit():
    said = subprocess.run(['git', '-C', TREE, 'describe', '--always', '--dirty', '--abbrev=12'],
                          capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 else 'unknown'


def facts(allocators, options):
    """[(key, value)] for the head of a CSV file."""
    packages = {name: package for name, _, package in PEERS}
    memory = first('/proc/meminfo', 'MemTotal')
    yield 'date', time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())
    yield 'memprof', commit()
    yield 'kernel', platform.release()
    yield 'cpu', '%s, %d online' % (first('/proc/cpuinfo', 'model name'), os.cpu_count())
    yield 'memory', memory
    yield 'huge pages', first('/sys/kernel/mm/transparent_hugepage/enabled', '')
    yield 'glibc', platform.libc_ver()[1]
    for allocator in allocators:
        if allocator.name in packages:
            yield allocator.name, '%s %s' % (packages[allocator.name],
                                             package_version(packages[allocator.name]))
        elif allocator.path and allocator.path != LIBRARY:
            yield allocator.name, os.path.basename(allocator.path)
    yield 'options', options


def run(main):
    """The program: it ends with main's status, or says what is in the way and ends with 2."""
    try:
        sys.exit(main())
    except Trouble as trouble:
        print('bench/%s: %s' % (os.path.basename(sys.argv[0]), trouble), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os._exit(1)
