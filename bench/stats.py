"""What the bench's figures are made of: medians, ratios of runs that belong together, geometric means,
percentiles of pooled histograms, and the spread of each by resampling. No run is started here and
nothing is printed; tests/bench holds it against known answers.

The machines that this runs on change speed by half from one minute to the next. So the allocators
take turns at a workload within seconds, and what counts is the ratio of two runs of one round, and
of those the median over the rounds. Intervals are bootstrap percentiles of 95 %: rounds are
drawn anew, with replacement, within each workload; workloads are not drawn (they are not a sample of
anything: they are the list)."""
import bisect
import math
import random

RESAMPLES = 2000
LEAST_ROUNDS = 3  # with fewer a median has no spread worth the name


class Estimate:
    """A figure with its 95 % interval."""

    def __init__(self, value, low, high):
        self.value, self.low, self.high = value, low, high

    def __str__(self):
        return '%.3f [%.3f, %.3f]' % (self.value, self.low, self.high)


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def quantile(ordered, share):
    """Of a sorted list, between its neighbours where the place is between two."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def estimate(value, drawn):
    drawn = sorted(drawn)
    return Estimate(value, quantile(drawn, 0.025), quantile(drawn, 0.975))


def interval_of_median(values, seed=1, resamples=RESAMPLES):
    rng = random.Random(seed)
    return estimate(median(values),
                    (median(rng.choices(values, k=len(values))) for _ in range(resamples)))


class Ratios:
    """Ours against each peer, per workload and round.

    figures: {(workload, allocator): {round: figure}}. A pair of runs counts where both have the
    figure. What has fewer than `least` pairs has no ratio: it is named in `missing` as (workload,
    peer), and no verdict may pass over it in silence."""

    def __init__(self, figures, ours, peers, workloads, seed=1, resamples=RESAMPLES,
                 least=LEAST_ROUNDS):
        self.workloads, self.peers = list(workloads), list(peers)
        self.missing = []
        self.pairs = {}  # workload -> {peer: {round: ratio}}
        for workload in self.workloads:
            mine = figures.get((workload, ours), {})
            self.pairs[workload] = {}
            for peer in self.peers:
                theirs = figures.get((workload, peer), {})
                pairs = {r: mine[r] / theirs[r] for r in sorted(mine)
                         if mine[r] > 0 and theirs.get(r, 0) > 0}
                if len(pairs) >= least:
                    self.pairs[workload][peer] = pairs
                else:
                    self.missing.append((workload, peer))
        self.medians = {w: {p: median(pairs.values()) for p, pairs in of_peer.items()}
                        for w, of_peer in self.pairs.items()}
        self.resampled = list(self.resample(random.Random(seed), resamples))

    def resample(self, rng, resamples):
        """One draw of rounds per workload serves all peers: what a noisy round of ours does to one
        ratio it does to the others too."""
        rounds = {w: sorted(set().union(*of_peer.values())) if of_peer else []
                  for w, of_peer in self.pairs.items()}
        for _ in range(resamples):
            table = {}
            for workload, of_peer in self.pairs.items():
                drawn = rng.choices(rounds[workload], k=len(rounds[workload])) if of_peer else []
                table[workload] = {}
                for peer, pairs in of_peer.items():
                    values = [pairs[r] for r in drawn if r in pairs] or list(pairs.values())
                    table[workload][peer] = median(values)
            yield table

    def estimate(self, statistic):
        """statistic: from {workload: {peer: ratio}} to a number, None where there is none."""
        value = statistic(self.medians)
        if value is None:
            return None
        return estimate(value, (statistic(table) for table in self.resampled))

    def of(self, workload, peer):
        if peer not in self.medians[workload]:
            return None
        return self.estimate(lambda table: table[workload][peer])

    def mean(self, peer):
        return self.estimate(lambda table: mean_against(table, peer))

    def best_peer(self, peers):
        """The peer that ours does worst against, over all workloads."""
        means = {p: mean_against(self.medians, p) for p in peers}
        known = [p for p in peers if means[p] is not None]
        return max(known, key=means.get) if known else None

    def against_best(self, peers):
        """The geometric mean against that peer. Which one it is is drawn anew, too: luck in the
        choice belongs to the interval."""
        def statistic(table):
            means = [mean_against(table, p) for p in peers]
            return max((m for m in means if m is not None), default=None)
        return self.estimate(statistic)

    def worst(self, peers):
        """(workload, estimate): the workload that ours does worst at, each against its best peer."""
        where = worst_of(self.medians, peers)
        if where is None:
            return None, None
        return where[1], self.estimate(lambda table: worst_of(table, peers)[0])


def mean_against(table, peer):
    ratios = [of_peer[peer] for of_peer in table.values() if peer in of_peer]
    return geometric_mean(ratios) if ratios else None


def worst_of(table, peers):
    return max(((of_peer[p], w) for w, of_peer in table.items() for p in peers if p in of_peer),
               default=None)


class Histogram:
    """Counts by value, in buckets that whoever counted has chosen."""

    def __init__(self, counts=None):
        self.counts = dict(counts or {})

    def add(self, value, count):
        self.counts[value] = self.counts.get(value, 0) + count

    def total(self):
        return sum(self.counts.values())

    def percentile(self, share):
        """The least bucket that has this share of all counts at or below it."""
        return pooled_percentile([self], share)


def pooled_percentile(histograms, share):
    pooled = {}
    for histogram in histograms:
        for value, count in histogram.counts.items():
            pooled[value] = pooled.get(value, 0) + count
    values = sorted(pooled)
    sums, total = [], 0
    for value in values:
        total += pooled[value]
        sums.append(total)
    if not total:
        return None
    # Whole calls: 99.9 % of 1,000 calls are 999 of them, whatever a binary fraction makes of it.
    wanted = max(1, math.ceil(round(share * total, 6)))
    return values[bisect.bisect_left(sums, wanted)]


def percentile_ratio(ours, peers, share, seed=1, resamples=400):
    """Ours against the best peer's: (peer, estimate). ours: {round: Histogram}; peers: the same by
    name. A resample draws rounds, and pools each allocator's histograms of those."""
    peers = {name: rounds for name, rounds in peers.items() if rounds}
    if not ours or not peers:
        return None, None

    def ratios(drawn):
        def at(rounds):
            chosen = [rounds[r] for r in drawn if r in rounds] or list(rounds.values())
            return pooled_percentile(chosen, share)
        mine = at(ours)
        return max((mine / at(rounds), name) for name, rounds in peers.items())

    everything = sorted(ours)
    rng = random.Random(seed)
    value, name = ratios(everything)
    drawn = [ratios(rng.choices(everything, k=len(everything)))[0] for _ in range(resamples)]
    return name, estimate(value, drawn)
