"""Holds dumps of programs that count by hand against their counts, with rate=1: every block is
known. Prints the cases of test-exact; lines that begin with # are figures.

    exact.py LIBRARY FOLDER_OF_PROGRAMS SCRATCH DUMPS"""
import os
import sys

import heapfile
import sites as siting

CHURNERS = 8  # threads of `exact churn`: HELD and BETWEEN as there
HELD = 200
BETWEEN = 64
EARLY_MOST = 32  # blocks from before the library's start that live on

failed = False


def case(name, wrong):
    """`wrong`: a list of what is wrong."""
    global failed
    print('not ok %s: %s' % (name, '; '.join(wrong[:4])) if wrong else 'ok ' + name)
    failed |= bool(wrong)


def split(text):
    """The lines behind each `dump PATH`, by path."""
    found, path = {}, None
    for line in text.splitlines():
        if line.startswith('dump '):
            path = line[5:]
            found[path] = ''
        elif path:
            found[path] += line + '\n'
    return found


def differences(dump, names, sites):
    """What the dump says of the sites otherwise than they themselves do."""
    live = {name: [0, 0] for name in sites}
    sums = {name: [0] * 6 for name in sites}
    for sample in dump.samples:
        name = names[sample['stack']]
        if name:
            live[name][0] += 1
            live[name][1] += sample['size']
    for stack, name in zip(dump.stacks, names):
        if name:
            for i, field in enumerate(('allocated_objects', 'allocated_bytes', 'freed_objects',
                                       'freed_bytes', 'allocated_samples', 'freed_samples')):
                sums[name][i] += stack[field]
    for name, site in sites.items():
        if live[name] != [site.live_objects, site.live_bytes]:
            yield '%s: %d blocks of %d bytes are live, not %d of %d' % (
                name, *live[name], site.live_objects, site.live_bytes)
        hand = [*site.counts(), site.allocated_objects, site.freed_objects]
        if sums[name] != hand:
            yield '%s: the sums are %s, not %s' % (name, sums[name], hand)


def live_objects(dump):
    """By the census: each block looked at."""
    return sum(c['live_objects'] for c in dump.classes)


def early(dump):
    return live_objects(dump) - len(dump.samples)


def totals(dump, flight=0):
    """What is wrong within the dump itself, but for `flight` operations under way."""
    process = dump.process
    if live_objects(dump) != process['live_objects']:
        yield 'the classes have %d live blocks, the process %d' % (live_objects(dump),
                                                                  process['live_objects'])
    if process['samples_dropped']:
        yield '%d samples were dropped' % process['samples_dropped']
    allocated = sum(stack['allocated_samples'] for stack in dump.stacks)
    freed = sum(stack['freed_samples'] for stack in dump.stacks)
    if not 0 <= process['samples_taken'] - allocated <= flight:
        yield '%d samples were taken, the stacks have %d' % (process['samples_taken'], allocated)
    if abs(allocated - freed - len(dump.samples)) > flight:
        yield '%d allocated less %d freed are not the %d that live' % (allocated, freed,
                                                                      len(dump.samples))
    if len({sample['serial'] for sample in dump.samples}) != len(dump.samples):
        yield 'two samples have the same number'
    if len({sample['address'] for sample in dump.samples}) != len(dump.samples):
        yield 'two samples have the same address'
    for sample in dump.samples:
        if heapfile.weight(sample) != 1:
            yield 'sample %d has the weight %g' % (sample['serial'], heapfile.weight(sample))


def frees(dump):
    """That FREES divides up what STACKS says was freed."""
    sums = [[0, 0, 0] for _ in dump.stacks]
    for free in dump.frees:
        for i, field in enumerate(('samples', 'objects', 'bytes')):
            sums[free['stack']][i] += free[field]
    for stack, found in zip(dump.stacks, sums):
        said = [stack['freed_samples'], stack['freed_objects'], stack['freed_bytes']]
        if said != found:
            yield '%s freed by STACKS, %s by FREES' % (said, found)


def check_program(label, library, program, *args):
    """All dumps of a program: each as it was counted, and one early count in all of them."""
    wrong_sites, wrong_totals, earlier = [], [], set()
    dumps = objects = bytes_ = 0
    for path, text in split(siting.run(library, 'rate=1', program, *args)).items():
        sites = siting.parse(text)
        dump, names = siting.load(path, sites)
        where = os.path.basename(path) + ': '
        wrong_sites += [where + wrong for wrong in differences(dump, names, sites)]
        wrong_totals += [where + wrong for wrong in totals(dump)]
        wrong_totals += [where + wrong for wrong in frees(dump)]
        earlier.add(early(dump))
        dumps += 1
        objects += sum(site.allocated_objects for site in sites.values())
        bytes_ += sum(site.allocated_bytes for site in sites.values())
    if not objects:
        wrong_sites.append('no site was counted')
    if len(earlier) != 1 or not 0 <= min(earlier) <= EARLY_MOST:
        wrong_totals.append('blocks that are live and no samples: %s' % sorted(earlier))
    print('# %s: %d dumps; %d blocks, %d bytes counted by hand; before the start: %s' % (
        label, dumps, objects, bytes_, sorted(earlier)))
    case('%s: each site has what was counted by hand' % label, wrong_sites)
    case('%s: the census has the live samples and what came before the start' % label,
         wrong_totals)


def check_ledger(label, library, ledger, program, *args):
    """Every block of the process, one by one."""
    both = ledger + ':' + library
    folder = args[-1]
    path = next(iter(split(siting.run(both, 'rate=1', program, *args))))
    dump = heapfile.Dump(path)
    blocks = {}
    with open(folder + '/ledger') as file:
        for line in file:
            at, size, number, module = line.split(maxsplit=3)
            blocks[int(at)] = (int(size), int(number), os.path.basename(module.strip()))
    wrong = []
    sampled = {sample['address']: sample['size'] for sample in dump.samples}
    for at, size in sampled.items():
        if at not in blocks:
            wrong.append('a sample at %#x is no block' % at)
        elif blocks[at][0] != size:
            wrong.append('a sample of %d bytes is a block of %d' % (size, blocks[at][0]))
    early_blocks = [block for at, block in blocks.items() if at not in sampled]
    first = min(blocks[at][1] for at in sampled if at in blocks)
    for size, number, module in early_blocks:
        if number > first:
            wrong.append('a block of %d bytes, the call %d, by %s is no sample, and the call %d is' % (
                size, number, module, first))
    if len(blocks) != live_objects(dump):
        wrong.append('%d blocks are live, the census has %d' % (len(blocks), live_objects(dump)))
    if len(early_blocks) > EARLY_MOST:
        wrong.append('%d blocks came before the start' % len(early_blocks))
    print('# %s: %d live blocks, %d of them from before the start: %s' % (
        label, len(blocks), len(early_blocks),
        ', '.join('%d bytes by %s' % (size, module)
                  for size, number, module in sorted(early_blocks, key=lambda b: b[1])) or 'none'))
    case('%s: every block of the process is a sample, or came before the start' % label, wrong)


def check_churn(library, program, folder, dumps):
    """Dumps at any moment: off by the operations under way, one for each thread."""
    wrong, off_live, off_sums, off_census = [], [], [], []
    hold = CHURNERS * HELD + BETWEEN
    output = siting.run(library, 'rate=1', program, 'churn', folder, str(dumps))
    sites = siting.parse(output)
    lines = [line.split() for line in output.splitlines() if line.startswith('churn ')]
    assert len(lines) == dumps + 1
    for _, path, done, begun in reversed(lines):
        dump, names = siting.load(path, sites)
        where = os.path.basename(path) + ': '
        still = path == lines[-1][1]  # all threads wait
        flight = 0 if still else CHURNERS
        if still:
            before = early(dump)
        live = sum(names[sample['stack']] is not None for sample in dump.samples)
        allocated = sum(s['allocated_objects'] for s, name in zip(dump.stacks, names) if name)
        freed = sum(s['freed_objects'] for s, name in zip(dump.stacks, names) if name)
        off_live.append(live - hold)
        off_sums.append(int(allocated - freed) - live)
        off_census.append(early(dump) - before)
        for name, off in (('blocks are live', off_live), ('blocks by the sums', off_sums),
                          ('blocks by the census', off_census)):
            if abs(off[-1]) > flight:
                wrong.append('%s%s%+d' % (where, name, off[-1]))
        if not int(done) <= freed <= int(begun):
            wrong.append('%s%d freed, and %s were before it, %s after' % (where, freed, done, begun))
        wrong += [where + w for w in totals(dump, flight)]
    print('# churn: %d dumps, %d blocks held; beyond that live: %d to %d; sums: %d to %d; census: '
          '%d to %d; %s operations' % (dumps, hold, min(off_live), max(off_live), min(off_sums),
                                       max(off_sums), min(off_census), max(off_census),
                                       lines[-1][3]))
    case('a dump while %d threads churn is off by an operation of each at most' % CHURNERS, wrong)


def main():
    library, programs, scratch, dumps = sys.argv[1:5]
    folders = {}
    for name in ('calls', 'fork', 'churn', 'cxx', 'ledger', 'ledger-cxx'):
        folders[name] = scratch + '/' + name
        os.mkdir(folders[name])
    exact, cxx, ledger = programs + '/exact', programs + '/exact-cxx', programs + '/ledger.so'
    check_program('every call', library, exact, 'calls', folders['calls'])
    check_program('children of fork', library, exact, 'fork', folders['fork'])
    check_ledger('C', library, ledger, exact, 'calls', folders['ledger'])
    if os.path.exists(cxx):
        check_program('C++', library, cxx, folders['cxx'])
        check_ledger('C++', library, ledger, cxx, folders['ledger-cxx'])
    else:
        print('skip C++: there is no C++ compiler')
    check_churn(library, exact, folders['churn'], int(dumps))
    return failed


sys.exit(main())
