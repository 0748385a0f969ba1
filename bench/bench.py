"""Measure quota against what an application would do without it.

Run by way of bench/run, which starts the server and lists the options.
Progress goes to standard error, the tables to standard output.
"""

import argparse
import os
import subprocess
import sys

import psycopg

import comparisons, rates, statements, bulk, sessions, growth, reporting, pooler, instructions     # noqa: E401, F401: they register
from measure import ACCOUNTS, MEASUREMENTS, Bench, Missing, Wrong, say
from report import report, result, save, section


def main():
    options = parse_options()
    wanted = [name for name in MEASUREMENTS if name in options.names]
    failed = measure(wanted, options) if wanted else []
    if 'report' in options.names:
        report()
    if failed:
        sys.exit(f'failed: {", ".join(failed)}')


def measure(wanted, options):
    """Measure, print, and keep what is asked for; returns the names that failed."""
    if os.getloadavg()[0] > 1:
        say(f'something else uses this machine: the load is {os.getloadavg()[0]:.1f}')
    bench = Bench(options)
    bench.load('setup.sql', accounts=ACCOUNTS)
    failed = []
    for name in wanted:
        say(f'{name}: {MEASUREMENTS[name].title}')
        try:
            kept = result(bench, MEASUREMENTS[name].run(bench))
        except Missing as error:
            say(f'{name}: left out, there is no {error}')
            continue
        except (Wrong, subprocess.CalledProcessError, psycopg.Error) as error:
            say(f'{name}: {error}')
            failed.append(name)
            continue
        print(section(name, kept), end='\n\n', flush=True)
        if options.write:
            save(name, kept)
    return failed


def parse_options():
    names = [*MEASUREMENTS, 'report']

    def numbers(text):
        return [int(n) for n in text.split(',')]

    parser = argparse.ArgumentParser(prog='bench/run', allow_abbrev=False)
    parser.add_argument('names', nargs='*', metavar='NAME')
    parser.add_argument('--seconds', type=int)
    parser.add_argument('--pairs', type=int)
    parser.add_argument('--clients', type=numbers)
    parser.add_argument('--sync', type=lambda text: text.split(','), default=['on', 'off'])
    parser.add_argument('--long', type=int)
    parser.add_argument('--accounts', type=int)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--write', action='store_true')
    options = parser.parse_intermixed_args()
    for name in options.names:
        if name not in names:
            parser.error(f'no measurement "{name}"; there are: {", ".join(names)}')
    options.names = options.names or [*MEASUREMENTS] + ['report'] * options.write
    options.seconds = options.seconds or (1 if options.quick else 5)
    options.pairs = options.pairs or (3 if options.quick else 5)
    options.long = options.long or (6 if options.quick else 60)
    options.accounts = options.accounts or (100_000 if options.quick else 1_000_000)
    options.report_accounts = 1_000 if options.quick else 30_000
    return options


if __name__ == '__main__':
    main()
