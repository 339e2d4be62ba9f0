#!/usr/bin/env python3
"""Holds dumps against what the programs that wrote them said: record.h has the lines.

    check.py expect UNWINDER RATE FILE     the lines expect and module of a program's output
    check.py whole DUMP...                 each can be read and its figures agree with each other
    check.py field DUMP NAME               one of PROCESS's fields
"""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['MEMPROF_SRC'], 'tests', 'profile'))
from heapfile import Dump  # noqa: E402

FLAGS = {'whole': (0, 3), 'cut': (1, 3), 'broken': (2, 3), 'any': (0, 0)}
ADDRESS = (1 << 48) - 1
dumps = {}


def dump_of(path):
    if path not in dumps:
        dumps[path] = Dump(path)
    return dumps[path]


def name_of(dump, record):
    return os.path.basename(dump.text(record['path']))


def state_of(record):
    return 'gone' if record['flags'] & 1 else 'loaded'


def show(dump, frames):
    def one(frame):
        module = frame >> 48 & 0x7fff
        name = '?'
        if module:
            record = dump.modules[module - 1]
            name = '%s/%s' % (name_of(dump, record), state_of(record))
        return '%s%#x@%s' % ('!' if frame >> 63 else '', frame & ADDRESS, name)
    return ' '.join(one(frame) for frame in frames[:12])


def matches_one(dump, item, frame):
    item, _, name = item.partition('@')
    address, module, exact = frame & ADDRESS, frame >> 48 & 0x7fff, frame >> 63
    if name:
        name, _, state = name.partition('/')
        record = dump.modules[module - 1] if module else None
        if not record or name_of(dump, record) != name or \
                state not in ('', state_of(record)) or \
                not record['start'] < address <= record['end']:
            return False
    if item == '?':
        return True
    if item[0] == '=':
        return address == int(item[1:], 16) and not exact
    if item[0] == '!':
        return address == int(item[1:], 16) and exact
    low, _, high = item.partition('-')
    return int(low, 16) < address <= int(high, 16) and not exact


def unfold(items):
    for item in items:
        one, _, times = item.rpartition('*')
        yield from [one] * int(times) if one else [item]


def wrong_with(dump, stack, flags, items):
    value, mask = FLAGS[flags]
    frames = dump.stack_frames(stack)
    if stack['flags'] & mask != value:
        return 'flags %d, not %s: %d frames %s' % (stack['flags'], flags, len(frames),
                                                   show(dump, frames))
    items = list(unfold(items))
    rest = items[-1:] == ['*']
    if rest:
        items.pop()
    if len(frames) < len(items) or (len(frames) > len(items) and not rest):
        return '%d frames, not %d: %s' % (len(frames), len(items), show(dump, frames))
    for i, (item, frame) in enumerate(zip(items, frames)):
        if not matches_one(dump, item, frame):
            return 'frame %d is not %s: %s' % (i, item, show(dump, frames))
    return None


def expect(line, rate):
    path, name, _, size, count, flags, items = line
    dump = dump_of(path)
    samples = [s for s in dump.samples if s['size'] == int(size)]
    if rate == '1' and len(samples) != int(count):
        return '%d samples of %s bytes, not %s' % (len(samples), size, count)
    if not samples:
        return 'no sample of %s bytes' % size
    for number in sorted({s['stack'] for s in samples}):
        problem = wrong_with(dump, dump.stacks[number], flags, items.split())
        if problem:
            return problem
    return None


def module(line):
    path, name, wanted, state, count = line
    dump = dump_of(path)
    states = [state_of(record) for record in dump.modules if name_of(dump, record) == wanted]
    if states.count(state) != int(count):
        return '%s is there as %s' % (wanted, ', '.join(states) or 'nothing')
    return None


def check_program(unwinder, rate, path):
    failed = False
    with open(path, errors='replace') as file:
        lines = file.read().splitlines()
    for line in lines:
        kind, _, rest = line.partition(' ')
        fields = rest.split('|')
        if kind == 'expect' and unwinder in fields[2].split(','):
            problem = expect(fields, rate)
        elif kind == 'module':
            problem = module(fields)
        else:
            continue
        print('not ok %s: %s' % (fields[1], problem) if problem else 'ok ' + fields[1])
        failed |= problem is not None
    return failed


def whole(path):
    dump = dump_of(path)
    process = dump.process
    sums = [sum(c[field] for c in dump.classes) for field in ('live_bytes', 'live_objects')]
    assert sums == [process['live_bytes'], process['live_objects']], \
        '%s: classes add up to %s, the process has %d and %d' % \
        (path, sums, process['live_bytes'], process['live_objects'])
    frames = 0
    for stack in dump.stacks:
        assert stack['frame'] == frames and 1 <= stack['depth'] <= process['depth'], path
        assert stack['freed_samples'] <= stack['allocated_samples'], path
        frames += stack['depth']
    assert frames == len(dump.frames), path
    assert all(frame >> 48 & 0x7fff <= len(dump.modules) for frame in dump.frames), path
    live = [0] * len(dump.stacks)
    addresses = set()
    for sample in dump.samples:
        live[sample['stack']] += 1
        assert sample['size'] <= sample['coin'] and sample['address'] not in addresses, path
        addresses.add(sample['address'])
    # A block that is on its way into or out of the tables is in one of them already: the two may
    # differ by a block for each thread, and in a child of fork for each that its parent had (storm.c).
    threads = max(process['threads'], 16 if 'child' in path else 0)
    for stack, count in zip(dump.stacks, live):
        off = abs(stack['allocated_samples'] - stack['freed_samples'] - count)
        assert off <= threads, '%s: a stack has %d live samples and a balance of %d' % \
            (path, count, stack['allocated_samples'] - stack['freed_samples'])
    assert dump.maps, path + ': no memory map'


def main():
    if sys.argv[1] == 'expect':
        sys.exit(check_program(*sys.argv[2:]))
    if sys.argv[1] == 'whole':
        for path in sys.argv[2:]:
            try:
                whole(path)
            except Exception as error:  # whatever is wrong, it is the file that is
                sys.exit('%s: %r' % (path, error))
            dumps.clear()
    elif sys.argv[1] == 'field':
        dump = dump_of(sys.argv[2])
        value = dump.process[sys.argv[3]]
        print(dump.text(value) if sys.argv[3] in ('exe', 'command', 'host', 'library') else value)


main()
