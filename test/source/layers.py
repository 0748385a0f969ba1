"""Prove that calls in src go down, and keep the list of its files in doc/design.md.

	test/source/layers.py [--write]

Reads the objects that `make` has built and the #include lines. Fails with the
offending line where a file uses a higher folder, where files use each other in a
circle, or where doc/design.md has another list than the headers of the files;
--write puts the list there.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SRC = ROOT / 'src'
DESIGN = ROOT / 'doc/design.md'
BEGIN, END = '<!-- files of src, by `make layers` -->\n', '<!-- end of the files -->'

# From the top; folders of one row may not use each other.
LEVELS = (
    ('api', 'Functions that SQL calls and that charge nothing'),
    ('trigger', 'What hangs on the application\'s tables'),
    ('charge', 'Charging, refunding, reserving'),
    ('rights', 'Who may call what'),
    ('entitlement', 'What an account may have'),
    ('tables', 'The only files that use heap and index'),
    ('memory', 'The only files that use shared memory'),
    ('rules', 'Rules without a database'),
    ('', 'Beside the folders: used by all of them, and using none'),
)
HEIGHT = {folder: -i for i, (folder, _) in enumerate(LEVELS)}
HEIGHT['trigger'] = HEIGHT['api']
TOP = 'quota.c'


def main():
    sources = sorted(SRC.rglob('*.c'))
    uses = includes() + calls(sources)
    faults = [f'{where}: {name(user)} uses {what} of {name(used)}, which is above it'
              for user, used, what, where in uses if not goes_down(user, used)]
    faults += [f'circle: {" -> ".join(name(file) for file in circle)}' for circle in circles(uses)]
    faults += list_of_files(sources, uses, '--write' in sys.argv)
    for fault in faults:
        print(fault)
    if not faults:
        print(f'{len(sources)} files, {len({(user, used) for user, used, *_ in uses})} uses, none upward, no circle')
    sys.exit(bool(faults))


def name(file):
    return str(file.relative_to(SRC))


def folder(file):
    return '' if file.parent == SRC else file.relative_to(SRC).parts[0]


def goes_down(user, used):
    if name(user) == TOP or folder(user) == folder(used):
        return True
    return HEIGHT[folder(used)] < HEIGHT[folder(user)]


def includes():
    """(user, used, what, where) of each #include; a header stands for its .c."""
    found = []
    for file in sorted(SRC.rglob('*.[ch]')):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            header = re.match(r'#include "([^"]+)"', line)
            if header and (SRC / header[1]).exists():
                used = SRC / header[1]
                if used.with_suffix('.c') != file.with_suffix('.c'):
                    found.append((module(file), module(used), header[1], f'src/{name(file)}:{number}'))
    return found


def module(file):
    """The .c of a header, also of the one that it shares with its helpers, X_private.h."""
    file = file.with_name(file.name.replace('_private.h', '.h'))
    return file.with_suffix('.c') if file.with_suffix('.c').exists() else file


def calls(sources):
    """The same of each symbol, of functions and variables, that one object takes from another."""
    defined, wanted = {}, []
    for file in sources:
        for line in nm(file):
            kind, symbol = line.split()[-2:]
            if kind == 'U':
                wanted.append((file, symbol))
            else:
                defined[symbol] = file
    return [(file, defined[symbol], symbol, where(file, symbol)) for file, symbol in wanted if symbol in defined]


def nm(file):
    return subprocess.run(['nm', '-g', file.with_suffix('.o')], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.splitlines()


def where(file, symbol):
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if re.search(rf'\b{symbol}\b', line) and not line.startswith(' *'):
            return f'src/{name(file)}:{number}'
    return f'src/{name(file)}'


def circles(uses):
    """Tarjan's strongly connected components of more than one file."""
    graph = {}
    for user, used, *_ in uses:
        if user != used:
            graph.setdefault(user, set()).add(used)
    index, low, stack, found = {}, {}, [], []

    def visit(file):
        index[file] = low[file] = len(index)
        stack.append(file)
        for used in sorted(graph.get(file, ())):
            if used not in index:
                visit(used)
                low[file] = min(low[file], low[used])
            elif used in stack:
                low[file] = min(low[file], index[used])
        if low[file] == index[file]:
            at = stack.index(file)
            if len(stack) - at > 1:
                found.append(stack[at:])
            del stack[at:]

    for file in sorted(graph):
        if file not in index:
            visit(file)
    return found


def list_of_files(sources, uses, write):
    """Compare the list in doc/design.md with the files, or write it."""
    text = DESIGN.read_text()
    head, _, rest = text.partition(BEGIN)
    old, _, tail = rest.partition(END)
    new = '\n' + ''.join(section(folder, title, sources, uses) for folder, title in LEVELS)
    if write:
        DESIGN.write_text(head + BEGIN + new + END + tail)
    elif old != new:
        return ['doc/design.md: the list of files is not that of src: make layers WRITE=1']
    return []


def section(room, title, sources, uses):
    lines = [f'**{"src/" + room if room else "src"}**: {title}.', '', '| file | owns | uses |', '|---|---|---|']
    for file in [*sources, *(header for header in sorted(SRC.rglob('*.h')) if module(header) == header)]:
        if folder(file) == room:
            used = sorted({name(used).removesuffix('.c') for user, used, *_ in uses
                           if user == file and folder(used) != ''})
            lines.append(f'| `{file.name}` | {summary(file)} | {", ".join(used)} |')
    return '\n'.join(lines) + '\n\n'


def summary(file):
    """The first sentence of the file's header, after its name."""
    comment = re.match(r'/\*\n(.*?)\*/', file.read_text(), re.DOTALL)[1]
    words = ' '.join(line.removeprefix(' *').strip() for line in comment.splitlines())
    words = words.strip().removeprefix(file.name).strip()
    return re.split(r'[.:](?: |$)', words)[0]


if __name__ == '__main__':
    main()
