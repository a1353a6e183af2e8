#!/usr/bin/env python3
"""soak_report.py FOLDER JUDGES_P99 BEFORE PEAK AFTER PANICS SHED: what a run of soak.sh came to.

FOLDER holds the reports of the generators and the list of those that failed; JUDGES_P99 is 1 or 0;
RSS of the server in KiB before, at its peak and after; what the server counted. Exit status: 0 if
all bars were met, otherwise 1.
"""
import json
import pathlib
import sys


def report(folder, name):
    """The report of a generator, None if it failed."""
    text = (folder / f'{name}.json').read_text()
    return json.loads(text) if text else None


def unanswered(run):
    return run['open_loop']['unanswered']


def print_honest(folder):
    """What the honest clients met; the messages that they lost."""
    lost = 0
    print(f'\n{"honest clients":<26}{"messages":>10}{"p50, ms":>10}{"p99, ms":>10}{"max, ms":>10}{"lost":>6}')
    for title, name, count, latency, missing in (
        ('900 that echo 32 B', 'small', 'messages', 'latency_us', unanswered),
        ('4 that echo 1 MiB', 'large', 'messages', 'latency_us', unanswered),
        ('64 that chat, deliveries', 'chat', 'deliveries', 'delivery_us', lambda run: run['missing_deliveries']),
        ('32 with 8 workers', 'workers', 'operations', 'latency_us', lambda run: 0),  # It fails instead.
    ):
        if run := report(folder, name):
            times = ''.join(f'{run[latency][key] / 1000:>10.1f}' for key in ('p50', 'p99', 'max'))
            print(f'{title:<26}{run[count]:>10}{times}{missing(run):>6}')
            lost += missing(run)
    return lost


def print_bad(abuse):
    print(f'\n{"bad and busy clients":<26}{"clients":>10}{"acts":>14}{"refused":>10}')
    for kind in abuse['kinds'] if abuse else []:
        print(f'{kind["abuse"]:<26}{kind["clients"]:>10}{kind["acts"]:>14}{kind["refused"]:>10}')


def main():
    folder, judges_p99 = pathlib.Path(sys.argv[1]), sys.argv[2] == '1'
    before, peak, after = (int(kib or 0) / 1024 for kib in sys.argv[3:6])
    panics, shed = sys.argv[6:]
    lost = print_honest(folder)
    print_bad(report(folder, 'abuse'))
    failed = [line for path in folder.glob('failures') for line in path.read_text().splitlines()]
    print(*(f'soak.sh: {failure}' for failure in failed), sep='\n')
    p99 = late = float('inf')
    if small := report(folder, 'small'):
        p99, late = (part['p99'] / 1000 for part in (small['latency_us'], small['open_loop']['lateness_us']))
    missed = 0
    for what, measured, wanted, is_met in (
        ('p99 of 32 B', f'{p99:.1f} ms (generator late: {late:.1f})', '<= 50 ms', p99 <= 50),
        ('messages lost', lost, 0, lost == 0),
        ('generators that failed', len(failed), 0, not failed),
        ('RSS back', f'{before:.0f} -> {peak:.0f} -> {after:.0f} MiB', '<= +32 MiB', 0 < after <= before + 32),
        ('panics, connections shed', f'{panics}, {shed}', '0, 0', panics == shed == '0'),
    ):
        is_judged = judges_p99 or not what.startswith('p99')
        verdict = 'met' if is_met else 'MISSED' if is_judged else 'missed, not judged'
        print(f'{what:<26}{measured:<34}{wanted:<12}{verdict}')
        missed += is_judged and not is_met
    sys.exit(missed > 0)


main()
