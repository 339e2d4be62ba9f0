"""Holds what a dump says of mapped regions against what mapped.c says that it did. Usage:
mapped.py MEMPROF DUMP SAID"""
import json
import subprocess
import sys

import heapfile

memprof, path, said = sys.argv[1:]
dump = heapfile.Dump(path)


def case(name, problem):
    print('ok ' + name if not problem else 'not ok %s: %s' % (name, problem))


shown = json.loads(subprocess.run(
    [memprof, 'show', '--mapped', '--by', 'stack', '--top', '0', '--format', 'json', path],
    capture_output=True, check=True, timeout=60).stdout)
for line in open(said):
    words = line.split()
    if words[0] == 'refused':
        case('mapping over the heap, and unmapping it, is refused',
             '' if words[1:] == ['1', '1'] else line)
    elif words[0] == 'own':
        case('over a block of its own the program may map', '' if words[1] == '1' else line)
    else:
        name, (kind, mapped, resident, regions) = words[0], map(int, words[1:])
        sites = [s for s in shown['sites'] if s['frames'] and
                 any(f['function'] == name for f in s['frames'][:3])]
        have = [sum(s[key] for s in sites) for key in ('mapped_bytes', 'bytes', 'objects')]
        case('%s: mapped, resident, regions' % name,
             '' if have == [mapped, resident, regions] else
             '%s, and it should be %s' % (have, [mapped, resident, regions]))
        sizes = {r['start']: r for r in dump.regions}
        kinds = {r['kind'] for r in sizes.values()
                 if r['end'] - r['start'] == mapped and r['rss_bytes'] == resident}
        if regions == 1:
            case('%s: its kind' % name, '' if kind in kinds else '%s' % kinds)
starts = [r['start'] for r in dump.regions]
case('regions stand in order and do not overlap',
     '' if all(a['end'] <= b['start'] for a, b in zip(dump.regions, dump.regions[1:])) and starts
     else 'they do not')
within = all(any(m['start'] <= r['start'] and r['end'] <= m['end'] for m in dump.maps)
             for r in dump.regions)
case('each is in one of the kernel\'s mappings', '' if within else 'one is not')
over = [m for m in dump.maps
        if sum(r['rss_bytes'] for r in dump.regions
               if m['start'] <= r['start'] < m['end']) > m['rss_bytes']]
case('no mapping has less resident than its regions', '' if not over else '%s' % over[0])
