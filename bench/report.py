"""Tables, doc/performance.md and doc/performance.svg, from bench/results."""

import datetime
import json
import os
import re
import statistics
from dataclasses import asdict
from pathlib import Path

from chart import chart
from measure import HERE, MEASUREMENTS, Figure, say

RESULTS = HERE / 'results'
DOC = HERE.parent / 'doc'
SETTINGS = ['fsync', 'full_page_writes', 'wal_level', 'shared_buffers', 'autovacuum',
            'checkpoint_timeout', 'max_wal_size']
OPTIONS = ['seconds', 'pairs', 'long', 'accounts', 'quick']


def result(bench, figures):
    """A measurement as it is kept."""
    version = "SELECT extversion FROM pg_extension WHERE extname = 'quota'"
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'),
        'machine': {
            'cores': os.cpu_count(),
            'processor': line_of('/proc/cpuinfo', 'model name'),
            'memory_gb': round(int(line_of('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20)),
        },
        'postgresql': bench.value('SHOW server_version'),
        'quota': bench.value(version),
        'settings': {name: bench.value(f'SHOW {name}') for name in SETTINGS},
        'options': {name: getattr(bench.options, name) for name in OPTIONS},
        'figures': [asdict(figure) for figure in figures],
    }


def line_of(path, name):
    match = re.search(rf'^{name}\s*: *(.*)', Path(path).read_text(), re.MULTILINE)
    return match[1] if match else 'unknown'


def save(name, kept):
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f'{name}.json').write_text(json.dumps(kept, indent=1, ensure_ascii=False) + '\n')


def figures_of(kept):
    return [Figure(**figure) for figure in kept['figures']]


def section(name, kept):
    """A measurement: its paragraph and a table for each unit."""
    measurement = MEASUREMENTS[name]
    figures = figures_of(kept)
    options = kept['options']
    units = dict.fromkeys(figure.unit for figure in figures)
    return '\n\n'.join([
        f'## {measurement.title}', measurement.text,
        f'`bench/run {"--quick " * options["quick"]}{name}`, {options["pairs"]} pairs, {kept["date"]}.',
        *(table([f for f in figures if f.unit == unit], measurement.heads) for unit in units)])


def table(figures, heads):
    """Lines of one unit."""
    compared = any(figure.other for figure in figures)
    aimed = any(figure.target for figure in figures)
    columns = [figures[0].unit, *(heads if compared else heads[:1])] + ['ratio'] * compared + ['target'] * aimed
    lines = [columns, ['---'] + ['---:'] * (len(columns) - 1)]
    for figure in figures:
        cells = [figure.case, spread(figure.values)]
        if compared:
            cells = [figure.case, short(statistics.median(figure.values)),
                     short(statistics.median(figure.other)), spread(figure.ratios())]
        lines.append(cells + [figure.target.replace('>=', '≥').replace('<=', '≤')] * aimed)
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def spread(values):
    median = short(statistics.median(values))
    return f'{median} ({short(min(values))}..{short(max(values))})' if len(values) > 1 else median


def short(value):
    if isinstance(value, int) or value >= 100:
        return f'{value:,.0f}'
    return f'{value:.2f}' if value < 10 else f'{value:.1f}'


def document(results):
    """doc/performance.md"""
    environments = {}
    for name, kept in results.items():
        environments.setdefault(environment(kept), []).append(name)
    described = '\n'.join(
        f'- {text}' + (f' ({", ".join(f"`{name}`" for name in names)})' if len(environments) > 1 else '')
        for text, names in environments.items())
    return '\n\n'.join([
        '# Performance', PREAMBLE, described, '![What quota costs](performance.svg)',
        *(section(name, kept) for name, kept in results.items())]) + '\n'


def environment(kept):
    machine = kept['machine']
    settings = ', '.join(f'`{name} = {value}`' for name, value in kept['settings'].items())
    return (f'quota {kept["quota"]}, PostgreSQL {kept["postgresql"]}, {machine["cores"]} cores '
            f'({machine["processor"]}), {machine["memory_gb"]} GB of memory; runs of '
            f'{kept["options"]["seconds"]} s; {settings}')


PREAMBLE = """\
What quota costs against what an application would do without it: both sides in turn on one machine,
with client and server sharing its cores. A ratio is the median of all pairs, with the lowest and the
highest; where these lie far apart, something else used the machine. "sync" is `synchronous_commit`:
with it the disk decides, without it the processor does. A target is what quota is made to reach.
[bench/README.md](../bench/README.md) tells how it is measured; each section names the command that
repeats it."""


def report():
    """Write the documents from what is kept, in the order of the measurements."""
    results = {name: json.loads((RESULTS / f'{name}.json').read_text())
               for name in MEASUREMENTS if (RESULTS / f'{name}.json').exists()}
    (DOC / 'performance.md').write_text(document(results))
    bars = [figure for kept in results.values() for figure in figures_of(kept) if figure.bar]
    (DOC / 'performance.svg').write_text(chart(bars))
    say(f'doc/performance.md: {len(results)} of {len(MEASUREMENTS)} measurements')
