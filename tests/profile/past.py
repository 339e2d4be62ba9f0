"""Holds the three dumps of past.c against what the program does. Usage: past.py MEMPROF STEP TOLERANCE
STEP: what a thread settles at a time; TOLERANCE: of everything, for rates above 1, as a share."""
import json
import math
import subprocess
import sys

memprof, step, tolerance = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
exact = tolerance == 0


def show(path, *options):
    said = subprocess.run([memprof, 'show', '--by', 'function', '--format', 'json', *options, path],
                          capture_output=True, text=True, check=True).stdout
    return {site['frames'][0]['function']: site for site in json.loads(said)['sites']}


def case(name, problem):
    print('ok ' + name if not problem else 'not ok %s: %s' % (name, problem))


def about(what, have, want, slack=0):
    slack += tolerance * want
    return '' if abs(have - want) <= slack else '%s: %s, and it should be %s (within %s)' % (
        what, have, want, slack)


def sites(found, wanted, slack=0):
    for name, size in wanted.items():
        problem = about(name, found[name]['bytes'] if name in found else 0, size, slack)
        if problem:
            return problem
    return ''


# One thread: the height is right to within a step and a 256th.
case('what was live at the peak', sites(show('first.heap', '--peak'), {
    'hold_much': 2000000, 'hold_on': 500000, 'come_late': 0}, step + 2500000 // 256))
case('what is live afterwards', sites(show('first.heap', '--live'), {
    'hold_much': 0, 'hold_on': 500000, 'come_late': 1000000}))
# Four threads: to within a step for each, and those that free do so after all have what they want.
case('a peak that threads come to together', sites(show('second.heap', '--peak'), {
    'hold_in_thread': 8000000, 'hold_on': 500000, 'come_late': 1000000, 'hold_much': 0},
    5 * step + 9500000 // 256))

lived = show('third.heap', '--lifetimes')


def median_ns(site):
    below, count = 0, 0
    for entry in site['lifetimes']:
        count += entry['objects']
        if 2 * count >= site['objects']:
            return entry['below_ns']
    return below


def between(site, low, high):
    half = median_ns(site)
    return '' if low <= half <= high else 'half of them lived below %d ns' % half


case('blocks that are freed at once', about('freed', lived['use_briefly']['objects'], 300) or
     between(lived['use_briefly'], 0, 1 << 24))
case('blocks that live 300 ms', about('freed', lived['take_for_a_while']['objects'], 100) or
     between(lived['take_for_a_while'], 1 << 29, 1 << 32))
given = lived['make_for_others']
case('half of them freed by another thread', about('freed', given['objects'], 300) or
     about('by others', given['freed_by_others'], 150, 0 if exact else 300 * tolerance))
case('nothing else freed by others', '' if lived['use_briefly']['freed_by_others'] == 0 and
     lived['take_for_a_while']['freed_by_others'] == 0 else 'something is')
grown = lived['grow']
case('blocks that were resized', about('resized', grown['resized'], grown['objects'], 1) or
     (about('freed', grown['objects'], 30) if exact else ''))
case('steps are in order, and add up', next((
    name for name, site in lived.items()
    if [e['below_ns'] for e in site['lifetimes']] != sorted(e['below_ns'] for e in site['lifetimes'])
    or not math.isclose(sum(e['objects'] for e in site['lifetimes']), site['objects'],
                        abs_tol=len(site['lifetimes']), rel_tol=1e-6)), ''))
freed = {name: site['bytes'] for name, site in lived.items()}
allocated, live = show('third.heap', '--allocated'), show('third.heap', '--live')
case('allocated is live and freed together', next((
    '%s: %s, %s, %s' % (name, site['bytes'], live.get(name, {}).get('bytes', 0), freed.get(name, 0))
    for name, site in allocated.items()
    if abs(site['bytes'] - live.get(name, {}).get('bytes', 0) - freed.get(name, 0)) > 3), ''))
