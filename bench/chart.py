"""The chart of compare.py's figures, as SVG: ours against each peer on a logarithmic scale, the
geometric means with their intervals on top, each workload below. A peer has a colour and a shape of
its own, so that it prints and does not hang on colour vision; the panel brings its own background,
light or dark as the reader's system is, so that it reads on any page."""
import math
from xml.sax.saxutils import escape

import bars

SHAPES = {'jemalloc': ('#d55e00', 'circle'), 'mimalloc': ('#0072b2', 'square'),
          'tcmalloc': ('#009e73', 'diamond'), 'glibc': ('#8a63b8', 'triangle')}
OTHERS = (('#b8860b', 'cross'), ('#7f7f7f', 'circle'), ('#c04080', 'square'))
PANELS = (('cpu_ms', 'CPU time'), ('peak_kib', 'peak RSS'))
LOW, HIGH = 0.25, 2.0  # the scale; what lies beyond is drawn at its end, with an arrow
TICKS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
NAME_WIDTH, PANEL, GAP, EDGE = 150, 300, 36, 16
ROW, MEAN_ROW = 17, 19

STYLE = """
.back { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .dim { fill: #59636e }
.grid { stroke: #d8dee4 } .one { stroke: #59636e } .stripe { fill: #f6f8fa }
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif }
.head { font-weight: 600; font-size: 14px } .strong { font-weight: 600 } .small { font-size: 11px }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117; stroke: #3d444d } .text { fill: #e6edf3 } .dim { fill: #9198a1 }
.grid { stroke: #262c36 } .one { stroke: #9198a1 } .stripe { fill: #151b23 }
.mark { filter: brightness(1.35) }
}
"""


def at(value):
    """Where a ratio lies in its panel."""
    share = math.log(value / LOW) / math.log(HIGH / LOW)
    return PANEL * min(1.0, max(0.0, share))


def text(x, y, words, classes='text', anchor='start'):
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (
        x, y, classes, anchor, escape(words))


def line(x1, y1, x2, y2, classes='grid', extra=''):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s" %s/>' % (
        x1, y1, x2, y2, classes, extra)


def polygon(points, colour):
    return '<polygon class="mark" points="%s" fill="%s"/>' % (
        ' '.join('%.1f,%.1f' % point for point in points), colour)


def shape(x, y, kind, colour, size=4.0):
    s = size
    if kind == 'circle':
        return '<circle class="mark" cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>' % (x, y, s, colour)
    if kind == 'square':
        return polygon([(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)], colour)
    if kind == 'diamond':
        s *= 1.3
        return polygon([(x, y - s), (x + s, y), (x, y + s), (x - s, y)], colour)
    if kind == 'triangle':
        return polygon([(x, y - 1.2 * s), (x + 1.2 * s, y + s), (x - 1.2 * s, y + s)], colour)
    return ('<path class="mark" d="M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f" stroke="%s" '
            'stroke-width="2.5"/>' % (x - s, y - s, x + s, y + s, x - s, y + s, x + s, y - s, colour))


def mark(left, y, value, peer_shape, size=4.0):
    colour, kind = peer_shape
    x = left + at(value)
    if value < LOW:
        return polygon([(x - 6, y), (x + 3, y - 5), (x + 3, y + 5)], colour)
    if value > HIGH:
        return polygon([(x + 6, y), (x - 3, y - 5), (x - 3, y + 5)], colour)
    return shape(x, y, kind, colour, size)


def shapes_of(peers):
    others = iter(OTHERS * 9)
    return {p: SHAPES.get(p) or next(others) for p in peers}


def means(ratios, peers, shapes, left, top):
    """One row per peer: the geometric mean, its interval, and the figure itself."""
    out = []
    for i, peer in enumerate(peers):
        y = top + (i + 0.5) * MEAN_ROW
        mean = ratios.mean(peer)
        if mean is None:
            continue
        out.append(line(left + at(mean.low), y, left + at(mean.high), y, 'mark',
                        'stroke="%s" stroke-width="2.5"' % shapes[peer][0]))
        out.append(mark(left, y, mean.value, shapes[peer], 5.0))
        # Beside the mark, on the side that has room.
        if at(mean.high) < PANEL - 50:
            out.append(text(left + at(mean.high) + 9, y + 4, '%.2f' % mean.value, 'text strong small'))
        else:
            out.append(text(left + at(mean.low) - 9, y + 4, '%.2f' % mean.value, 'text strong small',
                            'end'))
    return out


def panel(ratios, title, workloads, peers, shapes, left, top, split, bottom):
    out = [text(left, top - 34, title, 'text head'),
           text(left, top - 18, 'memprof / peer: to the left of 1 memprof needs less', 'dim small')]
    for tick in TICKS:
        x = left + at(tick)
        out.append(line(x, top, x, bottom, 'one' if tick == 1 else 'grid',
                        'stroke-width="1.5"' if tick == 1 else ''))
        out.append(text(x, bottom + 14, '%g' % tick, 'dim small', 'middle'))
    out += means(ratios, peers, shapes, left, top)
    for i, workload in enumerate(workloads):
        y = split + (i + 0.5) * ROW
        for peer in reversed(peers):  # the baseline on top
            value = ratios.medians.get(workload, {}).get(peer)
            if value is not None:
                out.append(mark(left, y, value, shapes[peer], 3.4))
    return out


def legend(peers, shapes, x, y):
    out = []
    for peer in peers:
        label = peer + (' (baseline)' if peer == bars.BASELINE else '')
        out.append(shape(x, y - 4, shapes[peer][1], shapes[peer][0]))
        out.append(text(x + 10, y, label))
        x += 26 + 7 * len(label)
    return out


def draw(comparison, head):
    """The whole picture. head: the record's, of which date and machine are shown."""
    peers = [p for p in comparison.peers if p != bars.OFF]
    shapes = shapes_of(peers)
    top = EDGE + 84
    split = top + MEAN_ROW * len(peers) + 10
    bottom = split + ROW * len(comparison.workloads) + 2
    width = EDGE + NAME_WIDTH + len(PANELS) * (PANEL + GAP) + EDGE - GAP // 2
    height = bottom + 40
    right = width - EDGE
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
           'role="img" aria-label="memprof against other allocators, by workload">' % (
               width, height, width, height),
           '<style>%s</style>' % STYLE,
           '<rect x="0.5" y="0.5" width="%d" height="%d" rx="8" class="back"/>' % (
               width - 1, height - 1)]
    out += legend(peers, shapes, EDGE + 6, EDGE + 14)
    for i, workload in enumerate(comparison.workloads):
        y = split + i * ROW
        if i % 2 == 0:
            out.append('<rect x="%d" y="%.1f" width="%d" height="%d" class="stripe"/>' % (
                EDGE - 6, y, right - EDGE + 12, ROW))
        out.append(text(EDGE, y + ROW - 5, workload))
    out.append(line(EDGE - 6, split - 5, right + 6, split - 5, 'one'))
    out.append(text(EDGE, top - 18, 'geometric mean', 'text strong'))
    for i, peer in enumerate(peers):
        out.append(text(EDGE, top + (i + 0.5) * MEAN_ROW + 4, 'against ' + peer))
    for i, (field, title) in enumerate(PANELS):
        out += panel(comparison.ratios[field], title, comparison.workloads, peers, shapes,
                     EDGE + NAME_WIDTH + i * (PANEL + GAP), top, split, bottom)
    words = [head[key] for key in ('date', 'cpu', 'kernel') if key in head]
    out.append(text(EDGE, height - 10, 'Medians of interleaved runs; bars: 95 % intervals. ' +
                    ', '.join(words), 'dim small'))
    return '\n'.join(out) + '\n</svg>\n'
