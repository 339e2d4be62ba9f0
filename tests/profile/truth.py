"""Holds what the sampler says against what truth.c knows, over many seeds: are estimates right on
average, are intervals as wide as they claim, and does the byte countdown say the same? Prints the
cases of test-truth; lines that begin with # are figures.

    truth.py PROGRAM SCRATCH MEMPROF SEEDS NAME=LIBRARY..."""
import json
import math
import os
import subprocess
import sys

import heapfile
import sites as siting

SETS = {'small': '8k', 'busy': 'auto', 'large': '1m', 'huge': '32m'}
Z = 1.959963984540054  # 95 % of a normal distribution
LEAST = 30             # samples expected at a site for it to count
FIELDS = ('live_objects', 'live_bytes', 'allocated_objects', 'allocated_bytes')

failed = False


def case(name, good, reason):
    global failed
    print('ok ' + name if good else 'not ok %s: %s' % (name, reason))
    failed |= not good


class Pile:
    """The samples of one site in one run. By Horvitz and Thompson: a sample with the chance p stands
    for w = 1/p, and adds w^2 - w to the variance of their number."""

    def __init__(self):
        self.samples = 0
        self.value = [0.0, 0.0]  # objects, bytes
        self.variance = [0.0, 0.0]
        self.seen = [0.0, 0.0]
        self.allocated = [0.0, 0.0]

    def add(self, weight, size):
        self.samples += 1
        for i, unit in enumerate((1, size)):
            self.value[i] += weight * unit
            self.variance[i] += (weight * weight - weight) * unit * unit
            self.seen[i] += unit

    def interval(self, i):
        """As if it were a Poisson count of value^2 / variance: Wilson's score interval for that,
        scaled back. There are at least those that were seen."""
        value, variance = self.value[i], self.variance[i]
        if variance <= 0:
            return value, value
        count = value * value / variance
        scale = variance / value
        centre = count + Z * Z / 2
        reach = Z * math.sqrt(count + Z * Z / 4)
        return max((centre - reach) * scale, self.seen[i]), (centre + reach) * scale


def by_class(dump):
    """The live samples by the class whose blocks they are of, with what the census counts of it: a
    list of (class, samples, objects, bytes). Blocks larger than the classes go are one, 0."""
    sized = {c['size']: c for c in dump.classes if c['kind'] == 0}
    found = {size: (size, [], c['live_objects'], c['live_bytes']) for size, c in sized.items()}
    larger = [c for c in dump.classes if c['kind'] != 0]
    found[0] = (0, [], sum(c['live_objects'] for c in larger),
                sum(c['live_bytes'] for c in larger))
    for sample in dump.samples:
        large = sample['flags'] & 1 or sample['coin'] not in sized
        found[0 if large else sample['coin']][1].append(sample)
    return list(found.values())


def unsampled(dump, exact):
    """What each site has in classes of which this dump has no sample at all, by a dump of every block:
    objects and bytes."""
    missed = {}
    without = {size for size, samples, _, _ in by_class(dump) if not samples}
    for name, classes in exact.items():
        missed[name] = [sum(classes[size][i] for size in without & classes.keys())
                        for i in range(2)]
    return missed


def exact_by_class(program, library, chosen, path):
    """What each site has in each class: {site: {class: [objects, bytes]}}."""
    sites = siting.parse(siting.run(library, 'rate=1', program, chosen, path))
    dump, names = siting.load(path, sites)
    found = {name: {} for name in sites}
    for size, samples, _, _ in by_class(dump):
        for sample in samples:
            name = names[sample['stack']]
            if name:
                pair = found[name].setdefault(size, [0, 0])
                pair[0] += 1
                pair[1] += sample['size']
    for name, site in sites.items():
        assert sum(pair[1] for pair in found[name].values()) == site.live_bytes, 'rate=1 is exact'
    return found


def calibrate(dump, site_of):
    """What each site has of what is counted: what was seen of it, and of what was not its share of each
    class's weights beyond that. As a ratio, whose
    variance is that of the weights of what is the site's, less its share, and of what is others'. With
    a sample more than there is, like the mean one and nobody's: one sample is no certainty.
    Returns the piles, and the bytes that are in them, rounded up, and in classes without a sample."""
    piles, rounded, without = {}, 0.0, 0.0
    for sized, samples, objects, size in by_class(dump):
        if not samples:
            without += size
            continue
        # weight, what the class is counted by, and size
        items = [(heapfile.weight(s), 1 if sized else s['coin'], s['size'], site_of(s))
                 for s in samples]
        seen = sum(x for _, x, _, _ in items)
        whole = sum((w - 1) * x for w, x, _, _ in items)
        factor = max((objects if sized else size) - seen, 0) / whole if whole > 0 else 0
        rounded += size
        one_more = 1 + 1 / len(items)
        extra = one_more * sum((w * w - w) * x * x for w, x, _, _ in items)
        mine = {}
        for item in items:
            mine.setdefault(item[3], []).append(item)
        for site, own in mine.items():
            pile = piles.setdefault(site, Pile())
            pile.samples += len(own)
            for i in range(2):
                of = [(w, x, y if i else 1) for w, x, y, _ in own]
                unseen = sum((w - 1) * y for w, _, y in of)
                share = unseen / (whole * one_more) if whole > 0 else 0
                mine_seen = sum(y for _, _, y in of)
                pile.value[i] += mine_seen + factor * unseen
                pile.variance[i] += max(0, factor * factor * (
                    sum((w * w - w) * (y * y - 2 * share * x * y) for w, x, y in of) +
                    share * share * extra))
                pile.seen[i] += mine_seen
    return piles, rounded, without


def pile_up(dump, names, sites, calibrated):
    piles = {name: Pile() for name in sites}
    if calibrated:
        found, _, _ = calibrate(dump, lambda sample: names[sample['stack']])
        piles.update((name, found[name]) for name in sites if name in found)
        for stack, name in zip(dump.stacks, names):
            if name:
                piles[name].allocated[0] += stack['allocated_objects']
                piles[name].allocated[1] += stack['allocated_bytes']
        return piles
    for sample in dump.samples:
        name = names[sample['stack']]
        if name:
            piles[name].add(heapfile.weight(sample), sample['size'])
    for stack, name in zip(dump.stacks, names):
        if name:
            piles[name].allocated[0] += stack['allocated_objects']
            piles[name].allocated[1] += stack['allocated_bytes']
    return piles


def run_once(program, library, chosen, seed, path):
    options = 'rate=%s:seed=%d' % (SETS[chosen], seed)
    sites = siting.parse(siting.run(library, options, program, chosen, path))
    return siting.load(path, sites) + (sites,)


def check_repeats(label, program, library, path):
    """Small blocks only: whether a large one grows in its place, or is moved and drawn for anew,
    may depend on what the clock has given back around it."""
    drawn = []
    for _ in range(2):
        dump, names, _ = run_once(program, library, 'small', 1, path)
        drawn.append(sorted((names[sample['stack']], sample['size'], sample['serial'])
                            for sample in dump.samples if names[sample['stack']]))
    case('%s: a seed gives the same samples in each run' % label, drawn[0] and drawn[0] == drawn[1],
         '%d samples, then %d others' % (len(drawn[0]), len(drawn[1])))


def check_pace(label, program, library, path):
    """What is allocated in a rush is sampled more coarsely, each sample by its own rate."""
    dump, names, _ = run_once(program, library, 'busy', 1, path)
    rates = sorted({sample['rate'] for sample, name in
                    ((s, names[s['stack']]) for s in dump.samples) if name})
    fine = 512 * 1024
    case('%s: a rush makes rate=auto coarser, up to eight times' % label,
         rates[:2] == [fine, 2 * fine] and set(rates) <= {fine << i for i in range(4)},
         'rates: %s' % rates)


def check_tool(program, library, memprof, path):
    """The estimates and intervals below are this file's own; memprof must print the same, or what
    holds of them does not hold of it. To a byte: it prints whole ones."""
    for chosen in SETS:
        dump, _, _ = run_once(program, library, chosen, 1, path)
        piles, rounded, without = calibrate(dump, lambda sample: sample['stack'])
        ours = sorted((pile.value[1], *pile.interval(1)) for pile in piles.values())
        shown = json.loads(subprocess.run(
            [memprof, 'show', '--by', 'stack', '--top', '0', '--format', 'json', path],
            capture_output=True, check=True, timeout=60).stdout)
        theirs = sorted((site['bytes'], site['bytes_low'], site['bytes_high'])
                        for site in shown['sites'])
        wrong = [(a, b) for a, b in zip(ours, theirs) if max(abs(x - y) for x, y in zip(a, b)) > 1]
        case('memprof show has these estimates and intervals of %s' % chosen,
             ours and len(ours) == len(theirs) and not wrong,
             '%d stacks, %d shown, %s' % (len(ours), len(theirs), wrong[:1]))
        besides = shown['besides']
        live = dump.process['live_bytes']
        whole = sum(site['bytes'] for site in shown['sites']) + besides['rounding_bytes'] + \
            besides['unsampled_bytes']
        case('what memprof show gives to sites adds up to what is counted of %s' % chosen,
             abs(whole - live) <= len(ours) + 2 and abs(rounded + without - live) < 1 and
             sum(c['live_bytes'] for c in dump.classes) == live,
             '%d of %d bytes, %s' % (whole, live, besides))


def mean_and_error(values):
    mean = sum(values) / len(values)
    square = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(square / len(values))


class Record:
    """One site over all seeds: each estimate as a share of the truth."""

    def __init__(self, name, truth):
        self.name = name
        self.truth = [truth.live_objects, truth.live_bytes, truth.allocated_objects,
                      truth.allocated_bytes]
        self.counts = truth.counts()
        self.samples = 0
        self.ratios = [[] for _ in FIELDS]
        self.covered = [0, 0]

    def add(self, pile, missed):
        """What is in classes without a sample is nobody's, and memprof names it as that: the mean is
        to be right of all others."""
        self.samples += pile.samples
        values = [value + more for value, more in zip(pile.value, missed)] + pile.allocated
        for i, value in enumerate(values):
            self.ratios[i].append(value / self.truth[i])
        for i in range(2):
            low, high = pile.interval(i)
            self.covered[i] += low <= self.truth[i] <= high


def collect(program, library, seeds, path):
    """By the samples alone, and as they are brought to the census."""
    records = ({}, {})
    for chosen in SETS:
        exact = exact_by_class(program, library, chosen, path)
        for seed in range(1, seeds + 1):
            dump, names, sites = run_once(program, library, chosen, seed, path)
            missed = unsampled(dump, exact)
            for calibrated in range(2):
                for name, pile in pile_up(dump, names, sites, calibrated).items():
                    record = records[calibrated].setdefault(name, Record(name, sites[name]))
                    assert record.counts == sites[name].counts(), 'the truth differs by run'
                    record.add(pile, missed[name] if calibrated else (0, 0))
    return [list(found.values()) for found in records]


def percent(mean, error):
    return '%+.2f %% +- %.2f %%' % (100 * (mean - 1), 100 * error)


def pooled(records, field):
    """The mean of all sites' shares in each run, over the runs."""
    return mean_and_error([sum(runs) / len(runs)
                           for runs in zip(*(record.ratios[field] for record in records))])


def judge(label, records, seeds):
    few = [r.name for r in records if r.samples < LEAST * seeds]
    case('%s: each site has at least %d samples on average' % (label, LEAST), not few,
         'too few at ' + ', '.join(few))
    for r in records:
        print('# %s: %-12s %7.1f samples, covered %5.1f %% %5.1f %%, mean error %s' % (
            label, r.name, r.samples / seeds, 100 * r.covered[0] / seeds, 100 * r.covered[1] / seeds,
            ', '.join(percent(*mean_and_error(ratios)) for ratios in r.ratios)))
    for i, field in enumerate(FIELDS):
        mean, error = pooled(records, i)
        what = field.replace('_', ' ')
        print('# %s: %s over %d sites and %d seeds: %s' % (label, what, len(records), seeds,
                                                          percent(mean, error)))
        case('%s: the mean estimate of %s is within 1 %%' % (label, what), abs(mean - 1) <= 0.01,
             percent(mean, error))
        off = []
        for r in records:
            mean, error = mean_and_error(r.ratios[i])
            if abs(mean - 1) > 4 * error:
                off.append('%s by %s' % (r.name, percent(mean, error)))
        case('%s: the mean estimate of %s is right at each site' % (label, what), not off,
             '; '.join(off))
    for i in range(2):
        share = 100 * sum(r.covered[i] for r in records) / (seeds * len(records))
        what = FIELDS[i].replace('_', ' ')
        print('# %s: 95 %% intervals of %s cover in %.2f %% of %d' % (label, what, share,
                                                                     seeds * len(records)))
        case('%s: 95 %% intervals of %s cover in 92 to 98 %%' % (label, what), 92 <= share <= 98,
             '%.2f %%' % share)


def compare(one, other):
    for i, field in enumerate(FIELDS):
        a, a_error = pooled(one, i)
        b, b_error = pooled(other, i)
        apart, joint = abs(a - b), math.hypot(a_error, b_error)
        what = field.replace('_', ' ')
        print('# counts of blocks and of bytes are %.3f %% +- %.3f %% apart in %s' % (
            100 * apart, 100 * joint, what))
        case('counting blocks and counting bytes agree on %s' % what, apart < 3 * joint,
             '%.3f %% apart, %.1f standard errors' % (100 * apart, apart / joint))


def main():
    program, scratch, memprof, seeds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    path = scratch + '/truth.heap'
    found = []
    for argument in sys.argv[5:]:
        label, library = argument.split('=', 1)
        check_repeats(label, program, library, path)
        if not found:
            check_pace(label, program, library, path)
        if not found and os.path.exists(memprof):
            check_tool(program, library, memprof, path)
        records, calibrated = collect(program, library, seeds, path)
        judge(label, records, seeds)
        judge(label + ', calibrated', calibrated, seeds)
        found.append(records)
    if len(found) == 2:
        compare(*found)
    return failed


sys.exit(main())
