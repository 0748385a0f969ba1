"""Prove that doc/reference has every public function, and that links lead somewhere.

	test/source/reference.py [--write]

Reads the install script that `make` has built. Fails where a public function has no
heading in exactly one page of doc/reference; where its section lacks a part; where the
list in doc/reference/README.md is another than the pages and the functions' comments
give (--write puts the list there); where a relative link of a document leads to no file
or no heading; and where a document names a source file, or a source file a document,
that is not there.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / 'doc/reference'
LIST = PAGES / 'README.md'
BEGIN, END = '<!-- functions, by `make doc-index` -->\n', '<!-- end of the functions -->'

# What each section says of its function, as **Word** or **Word ...**
PARTS = ('errors', 'privileges', 'transaction')
OUR_SCHEMA = r'(quota|@extschema@)\.(\w+)'
HEADING = re.compile(r'^#+ +(.+?) *$', re.MULTILINE)
FENCE = re.compile(r'^( *)```.*?^\1```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^()\s]+)\)')
SOURCE = re.compile(r'`((?:src|sql|test|bench|doc|examples)/[\w/.]+)`')
DOCUMENT = re.compile(r'\bdoc/[\w/]+\.md\b|\b(?:README|CONTRIBUTING|CHANGELOG|SECURITY)\.md\b')


def main():
    comments = public_functions()
    sections, faults = function_sections()
    faults += [fault for name in sorted(comments) for fault in faults_of(name, sections)]
    faults += [f'{sections[name][0][0]}: {name} is no public function'
               for name in sections if name not in comments]
    if not faults:
        faults += list_faults(sections, comments, '--write' in sys.argv)
    documents = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md')]
    documents += sorted([*(ROOT / 'doc').rglob('*.md'), *(ROOT / 'bench').glob('*.md')])
    faults += [fault for document in documents for fault in link_faults(document)]
    faults += source_faults()
    for fault in faults:
        print(fault)
    if not faults:
        print(f'{len(comments)} functions, {len(documents)} documents')
    sys.exit(bool(faults))


def public_functions():
    """The comment of each public function: of the extension's schema, or the twin there."""
    control = (ROOT / 'quota.control').read_text()
    version = re.search(r"default_version *= *'(.*)'", control)[1]
    script = (ROOT / f'quota--{version}.sql').read_text()
    made = re.findall(rf'^CREATE FUNCTION {OUR_SCHEMA}\(', script, re.MULTILINE)
    names = {name for schema, name in made if schema == '@extschema@' or name.startswith('quota_')}
    comments = {}
    for schema, name, comment in re.findall(
            rf"^COMMENT ON FUNCTION {OUR_SCHEMA}(?:\([^;]*?\))? IS\s+'((?:[^']|'')*)';", script, re.MULTILINE):
        if name in names and (name not in comments or schema != 'quota' and comments[name][0] == 'quota'):
            comments[name] = schema, comment.replace("''", "'")
    missing = names - set(comments)
    if missing or not names:
        sys.exit(f'functions without a comment: {", ".join(sorted(missing))}' if missing else 'no functions')
    return {name: comment for name, (_, comment) in comments.items()}


def function_sections():
    """Page and text of each section whose heading is the name of a function."""
    sections, faults = {}, []
    for page in sorted(PAGES.glob('*.md')):
        text = page.read_text()
        pieces = re.split(r'^### (quota_\w+)\n', text, flags=re.MULTILINE)
        for name, section in zip(pieces[1::2], pieces[2::2]):
            section = re.split(r'^#{1,3} ', section, maxsplit=1, flags=re.MULTILINE)[0]
            sections.setdefault(name, []).append((page.name, section))
        faults += [f'{page.name}: "{heading}" heads several functions; give each a heading'
                   for heading in re.findall(r'^#+ (quota_\w+,.*)', text, re.MULTILINE)]
    return sections, faults


def faults_of(name, sections):
    found = sections.get(name, [])
    if len(found) != 1:
        return [f'{name}: a heading in {len(found)} pages of doc/reference, not in one']
    page, section = found[0]
    bold = ' '.join(re.findall(r'\*\*(.+?)\*\*', section)).lower()
    faults = [f'{page}: {name} says nothing of "{part}"' for part in PARTS if part not in bold]
    if not re.match(rf'\n```\n{name}\(', section):
        faults.append(f'{page}: {name} does not begin with its signature')
    if f'{name}(' not in ' '.join(re.findall(r'```sql\n(.*?)```', section, re.DOTALL)):
        faults.append(f'{page}: {name} has no example that calls it')
    return faults


def list_faults(sections, comments, write):
    """Compare, or write, the list of all functions, a line each."""
    lines = []
    for page in re.findall(r'^\| \[.+?\]\((\w+\.md)\)', LIST.read_text(), re.MULTILINE):
        title = HEADING.search((PAGES / page).read_text())[1]
        names = [name for name in sections if sections[name][0][0] == page]
        lines += [f'\n**{title}**\n\n'] if names else []
        lines += [f'- [`{name}`]({page}#{name}): {comments[name]}\n' for name in names]
    absent = [name for name in comments if not any(f'#{name})' in line for line in lines)]
    if absent:
        return [f'README.md: the table of pages leaves out that of {", ".join(absent)}']
    text = LIST.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = before + BEGIN + ''.join(lines) + '\n' + END + after
    if write:
        LIST.write_text(new)
        return []
    return [] if new == text else ['README.md: the list of functions is old; make doc-index writes it']


def anchors(document):
    """The headings of a document as GitHub names them in links."""
    found, seen = set(), {}
    for heading in HEADING.findall(FENCE.sub('', document.read_text())):
        heading = re.sub(r'\[(.*?)\]\(.*?\)', r'\1', heading).replace('`', '')
        slug = re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f'{slug}-{count}' if count else slug)
    return found


def link_faults(document):
    text = FENCE.sub('', document.read_text())
    where = document.relative_to(ROOT)
    faults = [f'{where}: no file {path}' for path in SOURCE.findall(text) if not (ROOT / path).exists()]
    for target in LINK.findall(text):
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = document.parent / path if path else document
        if not file.exists():
            faults.append(f'{where}: no file {target}')
        elif anchor and anchor not in anchors(file):
            faults.append(f'{where}: no heading {target}')
    return faults


def source_faults():
    """Names of documents, in comments of the sources."""
    faults = []
    for folder in ('src', 'sql', 'test', 'bench', 'examples'):
        for file in sorted((ROOT / folder).rglob('*')):
            if file.suffix not in ('.c', '.h', '.sql', '.py', '.pl', '.spec', '.sh', '.md'):
                continue
            faults += [f'{file.relative_to(ROOT)}: no file {name}'
                       for name in set(DOCUMENT.findall(file.read_text(errors='replace')))
                       if not (ROOT / name).exists() and not (file.parent / name).exists()]
    return faults


if __name__ == '__main__':
    main()
