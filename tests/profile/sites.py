"""What the programs of site.h say of themselves, and what a dump says of their sites."""
import os
import subprocess

import heapfile


class Site:
    def __init__(self, words):
        self.name = words[0]
        self.code, self.code_end, self.allocated_objects, self.allocated_bytes, \
            self.freed_objects, self.freed_bytes = map(int, words[1:])
        self.live_objects = self.allocated_objects - self.freed_objects
        self.live_bytes = self.allocated_bytes - self.freed_bytes

    def counts(self):
        return (self.allocated_objects, self.allocated_bytes, self.freed_objects, self.freed_bytes)


def parse(text):
    """The sites of one program's output, by name."""
    lines = (line.split() for line in text.splitlines() if line.startswith('site '))
    return {words[1]: Site(words[1:]) for words in lines}


def run(library, options, program, *args, wrapper=()):
    """Runs a program under a library; what it printed. What it did wrong is an exception."""
    env = dict(os.environ, MEMPROF_OPTIONS=options)
    preload = ['env', 'LD_PRELOAD=' + library]
    done = subprocess.run([*wrapper, *preload, program, *args], env=env, capture_output=True,
                          text=True, timeout=300)
    if done.returncode != 0 or done.stderr:
        raise RuntimeError('%s %s: status %d: %s' % (os.path.basename(program), ' '.join(args),
                                                     done.returncode, done.stderr.strip()))
    return done.stdout


def name_stacks(dump, sites):
    """For each stack the name of the site that it leads through, or None."""
    ranges = [(site.code, site.code_end, site.name) for site in sites.values()]
    names, known = [], {}
    for stack in dump.stacks:
        name = None
        for frame in dump.stack_frames(stack):
            address = (frame & ((1 << 48) - 1)) - 1
            if address not in known:
                known[address] = next((n for low, high, n in ranges if low <= address < high), None)
            name = known[address]
            if name:
                break
        names.append(name)
    return names


def load(path, sites):
    dump = heapfile.Dump(path)
    return dump, name_stacks(dump, sites)
