"""A picture of ratios."""

import math
import statistics
from html import escape

WIDTH, LABELS, RIGHT, ROW, TOP, BOTTOM = 760, 320, 70, 24, 48, 52

STYLE = """\
svg { color-scheme: light dark; }
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.strong { font-weight: 600; }
.paper { fill: #ffffff; }
.faint { fill: #59636e; }
.grid { stroke: #d1d9e0; }
.even { stroke: #59636e; }
.more { fill: #2f7d6b; }
.less { fill: #b5651d; }
.spread { stroke: #1f2328; }
.target { stroke: #8250df; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
	text { fill: #e6edf3; }
	.paper { fill: #0d1117; }
	.faint { fill: #9198a1; }
	.grid { stroke: #30363d; }
	.even { stroke: #9198a1; }
	.more { fill: #4cae98; }
	.less { fill: #d9853b; }
	.spread { stroke: #e6edf3; }
	.target { stroke: #c297ff; }
}"""


def chart(figures):
    """Bars from 1 on a logarithmic scale; longer to the right is better for quota."""
    rows = [(figure, *speeds(figure)) for figure in figures]
    ratios = [ratio for _, ratios, target in rows for ratio in (*ratios, target or 1)]
    low = min(0.5, 2 ** math.floor(math.log2(min(ratios, default=1))))
    high = max(2, 2 ** math.ceil(math.log2(max(ratios, default=1))))
    height = TOP + ROW * len(rows) + BOTTOM

    def x(ratio):
        return LABELS + (WIDTH - LABELS - RIGHT) * math.log2(ratio / low) / math.log2(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="Speed of quota against other ways">',
        f'<style>\n{STYLE}\n</style>',
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        text(16, 24, 'How fast quota is, in multiples of what it is compared with', 'class="strong"')]
    ratio = low
    while ratio <= high:
        parts.append(f'<line class="{"even" if ratio == 1 else "grid"}" x1="{x(ratio):.1f}" y1="{TOP - 6}" '
                     f'x2="{x(ratio):.1f}" y2="{height - BOTTOM}"/>')
        parts.append(text(x(ratio), height - BOTTOM + 16, f'{ratio:g}', 'class="faint" text-anchor="middle"'))
        ratio *= 2
    for row, (figure, ratios, target) in enumerate(rows):
        parts += bar(figure.bar, ratios, target, x, TOP + ROW * row)
    parts += [text(16, height - 12, 'bar: median; thin line: lowest to highest; upright line: target; '
                   'logarithmic scale', 'class="faint"'), '</svg>']
    return '\n'.join(parts) + '\n'


def speeds(figure):
    """Ratios and target as speeds: where less is better, turned round."""
    turn = -1 if figure.target.startswith('<=') else 1
    target = float(figure.target.split()[1]) ** turn if figure.target else None
    return [ratio ** turn for ratio in figure.ratios()], target


def bar(label, ratios, target, x, y):
    median = statistics.median(ratios)
    left, right = sorted((x(1), x(median)))
    lowest, highest = x(min(ratios)), x(max(ratios))
    middle = y + ROW / 2
    yield text(LABELS - 10, middle + 4, escape(label), 'text-anchor="end"')
    yield (f'<rect class="{"more" if median >= 1 else "less"}" x="{left:.1f}" y="{y + 5}" '
           f'width="{max(right - left, 1):.1f}" height="{ROW - 10}"/>')
    yield (f'<line class="spread" x1="{lowest:.1f}" y1="{middle}" x2="{highest:.1f}" y2="{middle}"/>')
    if target:
        yield (f'<line class="target" x1="{x(target):.1f}" y1="{y + 2}" '
               f'x2="{x(target):.1f}" y2="{y + ROW - 2}"/>')
    yield text(WIDTH - 16, middle + 4, f'{median:.2f}' if median < 10 else f'{median:.1f}',
               'class="strong" text-anchor="end"')


def text(x, y, content, attributes=''):
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{content}</text>'
