"""The bars that the bench holds memprof to, and the verdict on each. A bar is met or it is not;
what could not be measured is not. The numbers here are the requirements and are not tuned.

Where a requirement speaks of the upper bound, the interval's upper end is judged (`strict`), else the
value; the interval is printed either way."""
import stats

OURS, OFF, BASELINE = 'memprof', 'rate=0', 'jemalloc'
DEBIAN = ('jemalloc', 'mimalloc', 'tcmalloc', 'glibc')  # the peers that the bars speak of
LARGE_KIB = 20 << 10


class Bar:
    """name, what was measured (an Estimate, or None), the most it may be, and the goal, if any.
    below: it must be less, not equal. why: words for the line's end."""

    def __init__(self, name, estimate, required, goal=None, strict=False, below=False, why='',
                 lack=''):
        self.name, self.estimate, self.required, self.goal = name, estimate, required, goal
        self.strict, self.below, self.why, self.lack = strict, below, why, lack

    def holds(self, limit):
        if self.estimate is None or self.lack:
            return False
        judged = self.estimate.high if self.strict else self.estimate.value
        return judged < limit if self.below else judged <= limit

    def met(self):
        return self.holds(self.required)

    def line(self):
        measured = str(self.estimate) if self.estimate is not None else 'not measured'
        bound = 'below' if self.below else 'upper bound at most' if self.strict else 'at most'
        text = 'bar: %s: %s, required %s %s: %s' % (
            self.name, measured, bound, number(self.required), 'met' if self.met() else 'NOT met')
        if self.goal is not None:
            text += ', goal %s: %s' % (number(self.goal),
                                       'reached' if self.holds(self.goal) else 'not reached')
        notes = [note for note in (self.why, self.lack) if note]
        return text + ''.join(' (%s)' % note for note in notes)


def number(value):
    return '%g' % value


def exact(value):
    """A count that repeats: its interval is itself."""
    return None if value is None else stats.Estimate(value, value, value)


def ratio_of_medians(ours, others):
    return None if ours is None or not others else ours / min(others)


def lack_of(ratios, peers, workloads=None):
    """What a verdict would pass over: workloads without a ratio."""
    missing = sorted({'%s against %s' % (w, p) for w, p in ratios.missing
                      if p in peers and (workloads is None or w in workloads)})
    if not missing:
        return ''
    return 'missing: ' + ', '.join(missing[:3]) + (' and %d more' % (len(missing) - 3)
                                                    if len(missing) > 3 else '')


def debian(peers):
    return [p for p in DEBIAN if p in peers]


def which(name, more=''):
    return 'which is %s%s' % (name, more) if name else ''


def absent(peers):
    """The best single peer of Debian's is not known while one of them is not there."""
    away = [p for p in DEBIAN if p not in peers]
    return 'without ' + ', '.join(away) if away else ''


def joined(*lacks):
    return '; '.join(lack for lack in lacks if lack)


def cpu_bars(ratios):
    peers = debian(ratios.peers)
    lack = joined(absent(ratios.peers), lack_of(ratios, peers))
    where, worst = ratios.worst(peers)
    best = ratios.best_peer(peers)
    yield Bar('CPU time against the best single peer', ratios.against_best(peers), 1.00, 0.90,
              strict=True, why=which(best), lack=lack)
    yield Bar('CPU time against jemalloc',
              ratios.mean(BASELINE) if BASELINE in ratios.peers else None, 0.85,
              lack=lack_of(ratios, [BASELINE]))
    yield Bar('CPU time of the worst workload against its best peer', worst, 1.25,
              why=which(where), lack=lack)


def peak_bar(ratios):
    """ratios: of peak RSS, over the workloads above LARGE_KIB (see large_workloads)."""
    peers = debian(ratios.peers)
    return Bar('peak RSS against the most frugal peer', ratios.against_best(peers), 1.05, 0.90,
               why=which(ratios.best_peer(peers), ', over %d workloads' % len(ratios.workloads)),
               lack=joined(absent(ratios.peers), lack_of(ratios, peers)))


def large_workloads(peaks, workloads, allocators):
    """Those above 20 MiB, by the median of the allocators' medians: neither one frugal allocator nor
    one spendthrift decides which workloads count."""
    large = []
    for workload in workloads:
        medians = [stats.median(peaks[workload, a].values()) for a in allocators
                   if peaks.get((workload, a))]
        if medians and stats.median(medians) > LARGE_KIB:
            large.append(workload)
    return large


def freed_bar(ratios):
    peers = debian(ratios.peers)
    return Bar('RSS 1 s after all is freed against the most frugal peer',
               ratios.against_best(peers), 1.10,
               why=which(ratios.best_peer(peers), ', over %d workloads' % len(ratios.workloads)),
               lack=joined(absent(ratios.peers), lack_of(ratios, peers)))


def realloc_bar(ratios, workload='realloc_huge'):
    known = workload in ratios.workloads and 'glibc' in ratios.peers
    return Bar('CPU time of %s against glibc' % workload,
               ratios.of(workload, 'glibc') if known else None, 1.10)


def clock_bar(ratios):
    """ratios: of ours with the profiler on against off."""
    return Bar('profiler on against off, CPU time', ratios.mean(OFF), 1.02,
               lack=lack_of(ratios, [OFF]))


def threads_bar(throughput, workload):
    """throughput: {threads: {round: operations per ms}} of ours; at least 0.9, so its inverse at
    most 1 / 0.9: printed as what it is."""
    many, two = throughput.get(64, {}), throughput.get(2, {})
    pairs = [many[r] / two[r] for r in sorted(many) if two.get(r)]
    enough = len(pairs) >= stats.LEAST_ROUNDS
    return AtLeast('throughput of %s, 64 threads against 2' % workload,
                   stats.interval_of_median(pairs) if enough else None, 0.90)


class AtLeast(Bar):
    def holds(self, limit):
        return self.estimate is not None and not self.lack and self.estimate.value >= limit

    def line(self):
        return super().line().replace('required at most', 'required at least')


def latency_bar(mode, call, ours, peers):
    """ours, peers: see stats.percentile_ratio."""
    best, ratio = stats.percentile_ratio(
        ours, {p: rounds for p, rounds in peers.items() if p in DEBIAN}, 0.999)
    return Bar('p99.9 of %s under %s against the best peer' % (call, mode), ratio, 1.25,
               why=which(best), lack=absent(peers))


def pair_bars(counts):
    """counts: {pattern: {allocator: instructions of a pair, inside malloc and free}}."""
    patterns = ('lone', 'among', 'lifo')
    mine = [counts.get(p, {}).get(OURS) for p in patterns]
    known = None not in mine
    yield Bar('instructions of a malloc and its free, 64 bytes', exact(max(mine) if known else None),
              32, why='the highest of lone, among, lifo')
    for pattern in patterns:
        yield below_each('instructions of a pair, %s, against the least of the peers' % pattern,
                         counts.get(pattern, {}))


def remote_bar(counts):
    """counts: {allocator: instructions of the whole process per block that one thread allocates and
    another frees}: batching and hand-over are in it wherever they happen."""
    return below_each('instructions of a pair, freed by another thread, against the least of the peers',
                      counts)


def below_each(name, counts):
    peers = debian(counts)
    ratio = ratio_of_medians(counts.get(OURS), [counts[p] for p in peers])
    return Bar(name, exact(ratio), 1.00, below=True, lack=absent(counts))


def start_bars(instructions, faults):
    """{allocator: count} for /bin/true."""
    peers = [p for p in ('jemalloc', 'mimalloc', 'tcmalloc') if p in instructions]
    lack = '' if len(peers) == 3 else 'a peer is missing'
    yield Bar('instructions of /bin/true against the cheapest peer',
              exact(ratio_of_medians(instructions.get(OURS), [instructions[p] for p in peers])), 1.05,
              lack=lack)
    peers = [p for p in ('jemalloc', 'mimalloc', 'tcmalloc') if p in faults]
    least = min((faults[p] for p in peers), default=None)
    known = least is not None and OURS in faults
    yield Bar('page faults of /bin/true, more than the least of the peers',
              exact(faults[OURS] - least if known else None), 0, lack=lack)


def profiler_bars(callgrind, sampled, exact_rate):
    """callgrind: {workload: on / off}. sampled and exact_rate: {figure: Ratios} of ours against
    jemalloc with its profiler, at one mean rate and with every allocation recorded; figures `cpu_ms`
    and `peak_kib`."""
    ratio = stats.geometric_mean(callgrind.values()) if callgrind else None
    worst = max(callgrind, key=callgrind.get) if callgrind else ''
    yield Bar('profiler on against off, instructions', exact(ratio), 1.005,
              why='worst: %s %.4f' % (worst, callgrind[worst]) if callgrind else '')
    for label, ratios, limit in (('at one rate', sampled, 1.00), ('at every allocation', exact_rate, 0.20)):
        for figure, what in (('cpu_ms', 'CPU time'), ('peak_kib', 'peak RSS')):
            of = ratios.get(figure)
            yield Bar("%s with profiler against jemalloc's, %s" % (what, label),
                      of.mean(BASELINE) if of else None, limit,
                      lack=lack_of(of, [BASELINE]) if of else '')


def sites_bar(found):
    """found: [(ours, theirs)] by run, each {site: (value, low, high)}, shares of the total. Of true
    intervals of 95 % some 1 in 200 pairs do not meet; a site that one does not see at all counts as
    one that does not."""
    apart, pairs = [], 0
    for ours, theirs in found:
        for site in sorted(set(ours) | set(theirs)):
            pairs += 1
            both = site in ours and site in theirs
            if not both or ours[site][1] > theirs[site][2] or theirs[site][1] > ours[site][2]:
                apart.append(site)
    return Bar("share of sites that are not jemalloc's within both intervals",
               exact(len(apart) / pairs) if pairs else None, 0.05,
               why='%d of %d' % (len(apart), pairs) +
               (': ' + ', '.join(sorted(set(apart))) if apart else ''))
