"""Tables of compare.py, as text: one per figure, workloads down, ours against each peer across, with
intervals, the geometric means last; jemalloc, the baseline, leads and also stands in plain units."""
import bars
import stats

# field, title, unit of the plain columns
FIGURES = (('cpu_ms', 'CPU time', 'ms', 1), ('wall_ms', 'wall time', 'ms', 1),
           ('peak_kib', 'peak RSS', 'MiB', 1024),
           ('freed_kib', 'RSS 1 s after all is freed', 'MiB', 1024))
CELL = 18


def cell(estimate):
    if estimate is None:
        return '-'.rjust(CELL)
    return ('%.2f (%.2f-%.2f)' % (estimate.value, estimate.low, estimate.high)).rjust(CELL)


def plain(figures, workload, allocator, unit):
    values = figures.get((workload, allocator))
    return ('%.1f' % (stats.median(values.values()) / unit) if values else '-').rjust(10)


def table(title, unit_name, unit, figures, ratios):
    width = max([len('geometric mean')] + [len(w) for w in ratios.workloads]) + 1
    lines = ['%s: memprof / peer, below 1 is better; medians of rounds (95 %% intervals)' % title,
             ' ' * width + ('%s %s' % (bars.OURS[:7], unit_name)).rjust(10) +
             ('%s %s' % (bars.BASELINE[:8], unit_name)).rjust(13) +
             ''.join(('/ ' + p).rjust(CELL) for p in ratios.peers)]
    for workload in ratios.workloads:
        lines.append(workload.ljust(width) + plain(figures, workload, bars.OURS, unit) +
                     plain(figures, workload, bars.BASELINE, unit).rjust(13) +
                     ''.join(cell(ratios.of(workload, p)) for p in ratios.peers))
    lines.append('geometric mean'.ljust(width) + ' ' * 23 +
                 ''.join(cell(ratios.mean(p)) for p in ratios.peers))
    return lines


class Comparison:
    """All that is said of one record: ratios per figure, then tables and bars."""

    def __init__(self, figures, allocators, workloads, label='', failed=(),
                 resamples=stats.RESAMPLES):
        self.figures, self.label, self.resamples = figures, label, resamples
        self.failed = list(failed)  # the workloads of which a run of ours failed
        self.allocators = list(allocators)
        self.peers = [a for a in self.allocators if a != bars.OURS]
        if bars.OFF in self.peers:  # last: it is no peer
            self.peers = [p for p in self.peers if p != bars.OFF] + [bars.OFF]
        self.workloads = list(workloads)
        self.ratios = {field: self.compare(field, self.measured(field)) for field, *_ in FIGURES}

    def measured(self, field):
        """The workloads that have this figure under any allocator: some have nothing to free."""
        return [w for w in self.workloads
                if any(self.figures[field].get((w, a)) for a in self.allocators)]

    def compare(self, field, workloads):
        return stats.Ratios(self.figures[field], bars.OURS, self.peers, workloads,
                            resamples=self.resamples)

    def tables(self):
        for field, title, unit_name, unit in FIGURES:
            if self.ratios[field].workloads:
                yield from table(self.label + title, unit_name, unit, self.figures[field],
                                 self.ratios[field])
                yield ''

    def bars(self):
        large = bars.large_workloads(self.figures['peak_kib'], self.workloads,
                                     [a for a in self.allocators if a != bars.OFF])
        found = list(bars.cpu_bars(self.ratios['cpu_ms']))
        found.append(bars.peak_bar(self.compare('peak_kib', large)))
        found.append(bars.freed_bar(self.ratios['freed_kib']))
        if not self.label:  # real programs have no such workload
            found.append(bars.realloc_bar(self.ratios['cpu_ms']))
        if bars.OFF in self.peers:
            found.append(bars.clock_bar(self.ratios['cpu_ms']))
        for bar in found:
            bar.name = self.label + bar.name
            if self.failed:
                bar.lack = bars.joined(bar.lack, 'runs of ours failed: ' + ', '.join(self.failed))
        return found
