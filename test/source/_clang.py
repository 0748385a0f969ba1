"""Run a target of the Makefile that needs a tool of clang 14, whose style and warnings the sources keep."""

import subprocess
import sys


def make(tool, *arguments):
    try:
        version = subprocess.run([tool, '--version'], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        version = ''
    if 'version 14.' not in version:
        print(f'skipped: there is no {tool} of version 14')
        sys.exit()
    sys.exit(subprocess.run(['make', '-s', *arguments]).returncode != 0)
