"""The cases of test-statistics: figures.py SCRATCH."""
import math
import os
import random
import sys
import xml.dom.minidom

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bench'))

# What is under test is found by the line above.
import bars  # noqa: E402
import chart  # noqa: E402
import latency  # noqa: E402
import profiler  # noqa: E402
import report  # noqa: E402
import runs  # noqa: E402
import stats  # noqa: E402

PEERS = list(bars.DEBIAN)
NAMES = [bars.OURS, bars.OFF] + PEERS
WORKLOADS = ['w%d' % i for i in range(8)] + ['realloc_huge']
failed = False


def case(name, good, reason=''):
    global failed
    print('ok ' + name if good else 'not ok %s: %s' % (name, reason or 'it is not so'))
    failed |= not good


def near(a, b, within=1e-9):
    return abs(a - b) <= within


# ---- figures ---------------------------------------------------------------------------------------

def check_arithmetic():
    case('a median is the middle, or between the two middles',
         stats.median([3, 1, 2]) == 2 and stats.median([4, 1, 3, 2]) == 2.5)
    case('a quantile lies between its neighbours',
         near(stats.quantile([0, 10], 0.25), 2.5) and stats.quantile([7], 0.9) == 7)
    case('a geometric mean of 2 and 8 is 4', near(stats.geometric_mean([2, 8]), 4))
    h = stats.Histogram({10.0: 998, 500.0: 1, 900.0: 1})
    found = [h.percentile(share) for share in (0.5, 0.99, 0.998, 0.999, 1.0)]
    case('percentiles of 1,000 calls are those of the sorted calls', found == [10, 10, 10, 500, 900],
         str(found))
    pooled = stats.pooled_percentile([stats.Histogram({1.0: 990}), stats.Histogram({9.0: 10})], 0.99)
    over = stats.pooled_percentile([stats.Histogram({1.0: 990}), stats.Histogram({9.0: 11})], 0.99)
    case('histograms are pooled by their counts', (pooled, over) == (1, 9), '%s %s' % (pooled, over))


def figures_of(factors, rounds=10, noise=0.0, slow=0.0, seed=3, workloads=WORKLOADS):
    """Times by workload, allocator and round. factors: {allocator: factor}, or of (workload,
    allocator); noise: of single runs; slow: of whole rounds of a workload, as when the machine's
    speed changes."""
    rng = random.Random(seed)
    found = {}
    for w in workloads:
        for r in range(rounds):
            pace = math.exp(rng.gauss(0, slow))
            for a in NAMES:
                factor = factors.get((w, a), factors.get(a, 1.0))
                found.setdefault((w, a), {})[r] = 100 * factor * pace * math.exp(rng.gauss(0, noise))
    return found


def ratios_of(factors, peers=None, resamples=200, **more):
    return stats.Ratios(figures_of(factors, **more), bars.OURS, peers or PEERS + [bars.OFF], WORKLOADS,
                        resamples=resamples)


def check_ratios():
    exact = ratios_of({bars.OURS: 0.8, 'glibc': 1.6})
    case('a ratio is ours by theirs', near(exact.medians['w0']['glibc'], 0.5))
    case('a geometric mean of equal ratios is that ratio', near(exact.mean('jemalloc').value, 0.8))
    paced = ratios_of({bars.OURS: 0.8}, slow=0.5)
    case('a machine that changes its speed between rounds changes no ratio',
         near(paced.mean('jemalloc').low, 0.8) and near(paced.mean('jemalloc').high, 0.8))
    mixed = ratios_of({bars.OURS: 1.0, 'mimalloc': 0.9, ('w3', bars.OURS): 1.5})
    case('the best peer is the one that ours does worst against', mixed.best_peer(PEERS) == 'mimalloc')
    where, worst = mixed.worst(PEERS)
    case('the worst workload is found, against its own best peer',
         where == 'w3' and near(worst.value, 1.5 / 0.9), '%s %s' % (where, worst))
    noisy = ratios_of({bars.OURS: 0.9}, noise=0.2).mean('glibc')
    calm = ratios_of({bars.OURS: 0.9}, noise=0.02).mean('glibc')
    case('more noise makes a wider interval', noisy.high - noisy.low > 5 * (calm.high - calm.low),
         '%s %s' % (noisy, calm))
    again = ratios_of({bars.OURS: 0.9}, noise=0.2).mean('glibc')
    case('a seed gives the same interval in each run', str(noisy) == str(again))
    covered = 0
    for seed in range(100):
        mean = ratios_of({bars.OURS: 0.9}, noise=0.1, seed=seed, peers=['glibc']).mean('glibc')
        covered += mean.low <= 0.9 <= mean.high
    case('95 % intervals of a geometric mean cover it in 88 to 100 of 100', 88 <= covered, str(covered))


def check_missing():
    figures = figures_of({bars.OURS: 0.5})
    figures['w2', bars.OURS] = {0: 50.0}
    ratios = stats.Ratios(figures, bars.OURS, PEERS, WORKLOADS, resamples=50)
    case('a workload with too few runs has no ratio, and is named', ('w2', 'glibc') in ratios.missing
         and 'glibc' not in ratios.medians['w2'])
    case('a bar over a workload without a ratio is not met',
         not any(bar.met() for bar in bars.cpu_bars(ratios)))
    fewer = stats.Ratios(figures_of({bars.OURS: 0.5}), bars.OURS, PEERS[:3], WORKLOADS, resamples=50)
    best = next(bars.cpu_bars(fewer))
    case('the bar against the best peer is not met while a peer is missing',
         not best.met() and 'without glibc' in best.line(), best.line())


# ---- bars ------------------------------------------------------------------------------------------

def both_ways(name, make, good, bad):
    """A bar on figures that pass it, and on others that do not: make(figure) -> Bar."""
    passes, fails = make(good), make(bad)
    case('%s: met at %s, not at %s' % (name, good, bad),
         passes.met() and not fails.met() and ': met' in passes.line() and 'NOT met' in fails.line(),
         '%s / %s' % (passes.line(), fails.line()))


def cpu_bar(number, **more):
    def make(factor):
        return list(bars.cpu_bars(ratios_of({bars.OURS: factor}, **more)))[number]
    return make


def check_time_bars():
    both_ways('CPU time against the best peer', cpu_bar(0), 0.99, 1.01)
    both_ways('CPU time against jemalloc', cpu_bar(1), 0.84, 0.86)
    both_ways('the worst workload', lambda f: list(bars.cpu_bars(
        ratios_of({bars.OURS: 0.5, ('w1', bars.OURS): f})))[2], 1.24, 1.26)
    uncertain = cpu_bar(0, noise=0.3)(0.99)
    case('CPU time against the best peer is judged by the upper bound',
         uncertain.estimate.low < 1 < uncertain.estimate.high and not uncertain.met(), uncertain.line())
    goal = cpu_bar(0)
    case('a goal is reached or not apart from the requirement',
         'goal 0.9: reached' in goal(0.89).line() and 'goal 0.9: not reached' in goal(0.95).line())
    one = ratios_of({bars.OURS: 0.9, 'glibc': 0.8})
    case('one peer that is better is enough for a bar not to be met',
         not next(bars.cpu_bars(one)).met() and one.best_peer(PEERS) == 'glibc')
    both_ways('realloc of a huge buffer', lambda f: bars.realloc_bar(
        ratios_of({('realloc_huge', bars.OURS): f})), 1.09, 1.11)
    case('the realloc bar is not met without its workload',
         not bars.realloc_bar(stats.Ratios({}, bars.OURS, PEERS, ['w0'], resamples=5)).met())
    both_ways('profiler on against off, by the clock', lambda f: bars.clock_bar(
        ratios_of({bars.OURS: f})), 1.01, 1.03)


def check_memory_bars():
    both_ways('peak RSS', lambda f: bars.peak_bar(ratios_of({bars.OURS: f})), 1.04, 1.06)
    both_ways('RSS after all is freed', lambda f: bars.freed_bar(ratios_of({bars.OURS: f})), 1.09, 1.11)
    peaks = {(w, a): {0: kib} for w, kib in (('small', 20 << 10), ('large', (20 << 10) + 1))
             for a in NAMES}
    large = bars.large_workloads(peaks, ['small', 'large'], NAMES)
    case('only workloads above 20 MiB count for the peak', large == ['large'], str(large))
    empty = bars.peak_bar(stats.Ratios({}, bars.OURS, PEERS, [], resamples=5))
    case('a bar over nothing is not met', not empty.met() and 'not measured' in empty.line())


def check_other_bars():
    both_ways('64 threads against 2', lambda f: bars.threads_bar(
        {2: dict.fromkeys(range(5), 100.0), 64: dict.fromkeys(range(5), 100.0 * f)}, 'w'), 0.91, 0.89)
    counted = {'mimalloc': 50, 'jemalloc': 67, 'tcmalloc': 66, 'glibc': 129}
    both_ways('instructions of a pair', lambda n: next(bars.pair_bars(
        {p: dict(counted, memprof=n) for p in ('lone', 'among', 'lifo')})), 32, 33)
    uneven = {'lone': dict(counted, memprof=20), 'among': dict(counted, memprof=33),
              'lifo': dict(counted, memprof=20)}
    case('the bar on a pair is judged by its highest pattern', not next(bars.pair_bars(uneven)).met())
    both_ways('instructions of a pair against each peer', lambda n: list(bars.pair_bars(
        {p: dict(counted, memprof=n) for p in ('lone', 'among', 'lifo')}))[3], 49, 50)
    case('the bar on a pair is not met when a pattern was not counted', not next(bars.pair_bars(
        {p: dict(counted, memprof=20) for p in ('lone', 'among')})).met())
    both_ways('a block freed by another thread', lambda n: bars.remote_bar(dict(counted, memprof=n)),
              49, 50)
    faults = {'jemalloc': 178, 'mimalloc': 68, 'tcmalloc': 1060}
    both_ways('instructions of /bin/true', lambda n: next(bars.start_bars(
        dict(jemalloc=200, mimalloc=100, tcmalloc=300, memprof=n), dict(faults, memprof=1))), 105, 106)
    both_ways('page faults of /bin/true', lambda n: list(bars.start_bars(
        dict(jemalloc=200, mimalloc=100, tcmalloc=300, memprof=9), dict(faults, memprof=n)))[1], 68, 69)

    def tail(ns, base):
        return {r: stats.Histogram({50.0: 9000, base: 980, ns: 20}) for r in range(5)}
    others = {p: tail(1000.0 + 100 * i, 60.0) for i, p in enumerate(PEERS)}
    both_ways('p99.9 of single calls', lambda ns: bars.latency_bar('m', 'malloc', tail(ns, 60.0), others),
              1240.0, 1260.0)
    case('the latency bar is not met without ours', not bars.latency_bar('m', 'free', None, others).met())
    both_ways('profiler on against off, by instructions', lambda f: next(bars.profiler_bars(
        {'a': f, 'b': f}, {}, {})), 1.004, 1.006)
    for number, (what, good, bad) in enumerate((
            ('time, one rate', 0.99, 1.01), ('RSS, one rate', 0.99, 1.01),
            ('time, every allocation', 0.19, 0.21), ('RSS, every allocation', 0.19, 0.21))):
        def make(factor, number=number):
            both = {f: ratios_of({bars.OURS: factor}, ['jemalloc']) for f in ('cpu_ms', 'peak_kib')}
            return list(bars.profiler_bars({'a': 1.0}, both, both))[number + 1]
        both_ways("against jemalloc's profiler: " + what, make, good, bad)


def check_sites():
    ours = {'a': (0.4, 0.35, 0.45), 'b': (0.6, 0.55, 0.65)}
    apart = {'a': (0.5, 0.46, 0.54), 'b': (0.5, 0.46, 0.56)}
    case('shares whose intervals meet are the same', bars.sites_bar([(ours, ours)]).met())
    case('shares whose intervals do not meet are not', not bars.sites_bar([(ours, apart)]).met())
    case('a site that one profiler does not see is not the same',
         not bars.sites_bar([(ours, {'a': ours['a']})]).met())
    case('no site at all is no agreement', not bars.sites_bar([]).met())
    low, high = profiler.interval(1000.0, 100)
    case('100 samples are known to within about a fifth', 800 < low < 1000 < high < 1250,
         '%s %s' % (low, high))
    known = profiler.shares({'a': (100.0, 100.0, 100.0), 'b': (100.0, 80.0, 120.0)})
    case('the share of a site that is known exactly errs by the others\' errors',
         near(known['a'][0], 0.5) and near(known['a'][1], 0.45) and near(known['a'][2], 0.55),
         str(known))


# ---- runs and what is made of them -----------------------------------------------------------------

def check_runs(scratch):
    programs = [runs.Program(w, []) for w in WORKLOADS]
    allocators = [runs.Program(a, []) for a in NAMES]
    order = list(runs.schedule(programs, allocators, 10, 3))
    each = {(r, p.name, a.name) for r, p, a, _ in order}
    case('each round has each workload once under each allocator',
         len(order) == len(each) == 10 * len(WORKLOADS) * len(NAMES))
    beside = all(len({p.name for _, p, _, _ in order[i:i + len(NAMES)]}) == 1
                 for i in range(0, len(order), len(NAMES)))
    case('the runs that are compared follow one another', beside)
    turns = {tuple(a.name for _, _, a, _ in order[i:i + len(NAMES)])
             for i in range(0, len(order), len(NAMES))}
    case('their order changes', len(turns) > 20, '%d orders' % len(turns))
    case('3 of 10 rounds rest', len({r for r, _, _, rest in order if rest}) == 3)

    path = os.path.join(scratch, 'runs.csv')
    records = runs.Records(path, [('date', 'a day'), ('cpu', 'a: b')])
    good = dict(zip(runs.FIELDS, (10.5, 11, 2048, 2000, 0, 7)))
    records.add(0, 'w0', bars.OURS, False, good)
    records.add(0, 'w0', 'glibc', False, {'failed': 'status 1: a, "b"'})
    records.close()
    back = runs.read_records(path)
    figures = runs.figures(back.rows, 'cpu_ms')
    case('a record is read back as it was written', back.rows == [
        {k: str(v) for k, v in row.items()} | {f: row.get(f, '') for f in runs.FIELDS}
        for row in records.rows] and back.head == [('date', 'a day'), ('cpu', 'a: b')])
    case('a failed run has no figure, and is told', figures == {('w0', bars.OURS): {0: 10.5}} and
         runs.failures(back.rows) == ['failed: w0 under glibc, 1 times: status 1: a, "b"'], str(figures))

    class Own:
        name = 'own'

        @staticmethod
        def environment(preload):
            return dict(os.environ)

    def result(shell):
        return runs.run_once(runs.Program('x', ['/bin/sh', '-c', shell]), Own, patience=0.5)
    line = 'cpu_ms=1.5 wall_ms=2 peak_kib=3 held_kib=4 freed_kib=0 ops=5'
    case('a program\'s line is read', result('echo ' + line).get('cpu_ms') == 1.5)
    case('a line with a word too few or too many is a failed run',
         'failed' in result('echo cpu_ms=1') and 'failed' in result('echo %s more' % line))
    case('a program that ends with another status than 0 is a failed run',
         'failed' in result('echo %s; exit 3' % line))
    case('a program that hangs is a failed run, and takes down what it has started',
         'still running' in result('echo %s; sleep 60 & wait' % line).get('failed', ''))


def check_latency(scratch):
    found = latency.parse('overhead 20\nmalloc 50 3\nmalloc 60 1\nfree 70 2\n')
    case('a histogram is read by call, the clock apart', found['malloc'].counts == {50: 3, 60: 1} and
         found['free'].total() == 2 and found['overhead'].percentile(0.5) == 20)


def check_report():
    figures = {field: figures_of({bars.OURS: 0.8}, noise=0.05) for field, *_ in report.FIGURES}
    for kib in ('peak_kib', 'freed_kib'):
        figures[kib] = {at: {r: v * 1000 for r, v in rounds.items()} for at, rounds in figures[kib].items()}
    good = report.Comparison(figures, NAMES, WORKLOADS, resamples=100)
    text = '\n'.join(good.tables())
    case('each table has each workload and names the baseline',
         all(text.count('\n' + w + ' ') == 4 for w in WORKLOADS) and text.count('/ jemalloc') == 4)
    case('the bars of a comparison can all be met', [bar.met() for bar in good.bars()] == [True] * 7,
         '\n    '.join(bar.line() for bar in good.bars()))
    broken = report.Comparison(figures, NAMES, WORKLOADS, failed=['w1'], resamples=100)
    case('not one of them is when a run of ours failed', not any(bar.met() for bar in broken.bars()))
    picture = chart.draw(good, {'date': 'a day & more'})
    try:
        marks = xml.dom.minidom.parseString(picture).getElementsByTagName('text')
        said = {m.firstChild.data for m in marks if m.firstChild}
    except Exception as error:  # whatever is wrong with it
        said = {str(error)}
    case('the chart is well-formed and names each workload', set(WORKLOADS) <= said, str(said)[:200])
    case('a ratio beyond the scale is drawn at its end', near(chart.at(0.001), 0) and
         near(chart.at(50), chart.PANEL))


def check_list():
    tree = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bench')
    sources = {name.rsplit('.', 1)[0] for name in os.listdir(os.path.join(tree, 'workloads'))
               if name.endswith(('.c', '.cc'))} - set(runs.NO_WORKLOAD)
    case('the list of workloads is what bench/workloads has', sources == set(runs.WORKLOADS),
         ' '.join(sorted(sources ^ set(runs.WORKLOADS))))
    with open(os.path.join(tree, 'README.md'), encoding='utf-8') as file:
        page = file.read()
    absent = [w for w in list(runs.WORKLOADS) + list(runs.REAL) if '| `%s` |' % w not in page]
    case('bench/README.md says what each workload is', not absent, ' '.join(absent))


def main():
    check_arithmetic()
    check_ratios()
    check_missing()
    check_time_bars()
    check_memory_bars()
    check_other_bars()
    check_sites()
    check_runs(sys.argv[1])
    check_latency(sys.argv[1])
    check_report()
    check_list()
    return failed


sys.exit(main())
