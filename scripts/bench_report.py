#!/usr/bin/env python3
"""bench_report.py FOLDER: the report of a run of bench.sh, as Markdown on standard output.

FOLDER holds results.jsonl (a run a line, each with its bench_scenario), facts.tsv, commands.tsv
and failures.txt. Everything in the report comes from there; nothing is judged by hand.
"""
import collections
import json
import statistics
import sys

# Differences below this mean nothing on a machine that is shared or virtual.
NOISE = 0.05
FLOOR_TARGET = 1.05
# Seconds per second in line for a core.
DISTURBED = 0.1

CPU = ['server.cpu_ns_per_message']

# Kind of scenario, heading, where the value is (the first that is there), whether less is better.
METRICS = [
    ('echo', 'Server CPU per echoed message, ns', CPU, True),
    ('echo', 'Messages per second', ['messages_per_second'], False),
    ('echo', 'Latency p99, µs (closed loop)', ['latency_us.p99'], True),
    ('open', 'Open loop: latency p50, µs, from the intended time of sending', ['latency_us.p50'], True),
    ('open', 'Open loop: latency p99, µs', ['latency_us.p99'], True),
    ('open', 'Open loop: latency p99.9, µs', ['latency_us.p99_9'], True),
    ('churn', 'Connections per second: connect, upgrade, echo, close', ['connections_per_second'], False),
    ('churn', 'Server CPU per connection, ns', CPU, True),
    ('fanout', 'Server CPU per delivery, ns', CPU, True),
    ('fanout', 'Deliveries per second', ['deliveries_per_second'], False),
    ('fanout', 'Time to the last delivery p50, µs', ['last_delivery_us.p50'], True),
    ('fanout', 'Time to the last delivery p99, µs', ['last_delivery_us.p99'], True),
    ('fanout', 'Latency p99 of echoes meanwhile, µs', ['echo_meanwhile_us.p99'], True),
    ('idle', 'Server memory (RSS) per idle connection, bytes', ['server.rss_bytes_per_connection'], True),
    ('idle', 'Memory of the whole machine per idle connection, both ends, bytes',
     ['system.unavailable_bytes_per_connection'], True),
    ('idle', 'Handshakes per second', ['handshakes_per_second'], False),
    ('idle', 'Server CPU per handshake, ns', ['opening_server.cpu_ns_per_message'], True),
    ('idle', 'Latency p99 of 1,000 active clients among the idle, µs', ['active.latency_us.p99'], True),
]


class Series:
    """What one contender came to in one scenario."""

    def __init__(self, runs, paths):
        self.values = [v for v in (first(run, paths) for run in runs) if v is not None]

    def median(self):
        return statistics.median(self.values)

    def ratio_to(self, other):
        """Round against round if both have all, so that a noisy minute weighs on both."""
        if not self.values or not other.values or min(other.values) <= 0:
            return None
        if len(self.values) == len(other.values):
            return statistics.median(a / b for a, b in zip(self.values, other.values))
        return self.median() / other.median()

    def overlaps(self, other):
        return min(self.values) <= max(other.values) and min(other.values) <= max(self.values)


def first(run, paths):
    for path in paths:
        value = run
        for name in path.split('.'):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return float(value)
    return None


def read_pairs(path):
    with open(path, encoding='utf-8') as lines:
        return [tuple(line.rstrip('\n').split('\t', 1)) for line in lines if '\t' in line]


def number(value):
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.1f}'


def table(head, rows, align='--:'):
    lines = ['| ' + ' | '.join(head) + ' |', '|---' + f'|{align}' * (len(head) - 1) + '|']
    return '\n'.join(lines + ['| ' + ' | '.join(row) + ' |' for row in rows]) + '\n'


class Report:
    def __init__(self, folder):
        self.folder = folder
        with open(folder + '/results.jsonl', encoding='utf-8') as lines:
            runs = [json.loads(line) for line in lines]
        self.runs = collections.defaultdict(list)
        for run in runs:
            self.runs[run['bench_scenario'], run['label']].append(run)
        self.scenarios = list(dict.fromkeys(run['bench_scenario'] for run in runs))
        self.names = list(dict.fromkeys(run['label'] for run in runs))
        self.facts = read_pairs(folder + '/facts.tsv')
        self.ours = [value for name, value in self.facts if name == 'ours']

    def series(self, metric):
        """By scenario: by contender."""
        kind, _, paths, _ = metric
        found = {}
        for scenario in self.scenarios:
            if not scenario.startswith(kind + ':'):
                continue
            row = {n: Series(self.runs[scenario, n], paths) for n in self.names if (scenario, n) in self.runs}
            row = {name: series for name, series in row.items() if series.values}
            if row:
                found[scenario] = row
        return found

    def better_floor(self, row):
        floors = [series for name, series in row.items() if name.startswith('floor')]
        return min(floors, key=Series.median, default=None)

    def print(self):
        print('# Benchmarks\n')
        print('Written by `scripts/bench.sh`; run it to check. What the contenders are and what was done to '
              'be fair to them: [loadtest/contenders](loadtest/contenders/README.md).\n')
        self.print_setting()
        self.print_losses()
        self.print_metrics()
        self.print_generator_bound()
        self.print_commands()

    def print_setting(self):
        print('## Setting\n')
        print(table(['setting', ''], [[n, v] for n, v in self.facts if n != 'ours' and not n.startswith('version ')], '---'))
        print(table(['contender', 'version'], [[n[8:], v] for n, v in self.facts if n.startswith('version ')], '---'))
        self.print_disturbed()
        with open(self.folder + '/failures.txt', encoding='utf-8') as lines:
            failures = collections.Counter(line.strip() for line in lines)
        if failures:
            print('What did not work:\n')
            for line, count in failures.items():
                print(f'- {line}' + (f' ({count} times)' if count > 1 else ''))
            print()

    def print_disturbed(self):
        """Servers with several threads stand in each other's way, so only the others can tell."""
        alone = [run for (_, name), runs in self.runs.items() if name in self.ours or name.startswith('floor')
                 for run in runs]
        disturbed = sum(any((run.get(side) or {}).get('cores_queued', 0) > DISTURBED for side in ('client', 'server'))
                        for run in alone)
        if disturbed:
            print(f'The machine was not quiet: in {disturbed} of {len(alone)} runs of the floors and of '
                  f'{" and ".join(self.ours) or "ringwire"}, other programs used the same cores.\n')

    def print_losses(self):
        print('## Where we lose\n')
        losses, above = [], []
        for metric in METRICS:
            for scenario, row in self.series(metric).items():
                for name in self.ours:
                    if name in row:
                        losses += self.losses(metric, scenario, name, row)
                        above += self.above_floor(metric, scenario, name, row)
        if losses:
            print('\n'.join(losses) + '\n')
        elif not any(name not in self.ours and not name.startswith('floor') for name in self.names):
            print('No other server was measured.\n')
        elif self.ours:
            print(f'In no scenario of this run was a contender ahead by more than {NOISE:.0%}.\n')
        if above:
            print(f'Server CPU above {FLOOR_TARGET} × the better raw floor, which does no WebSocket at all:\n')
            print('\n'.join(above) + '\n')

    def losses(self, metric, scenario, name, row):
        """One line, with whoever is ahead, the best first."""
        _, title, paths, less = metric
        if paths == ['messages_per_second'] and self.is_generator_bound(scenario, name):
            return []
        ahead = []
        for other, series in row.items():
            ratio = row[name].ratio_to(series)
            if other in self.ours or other.startswith('floor') or ratio is None:
                continue
            if ratio > 1 + NOISE if less else ratio < 1 - NOISE:
                ahead.append((-ratio if less else ratio, other, series))
        if not ahead:
            return []
        texts = []
        for ratio, other, series in sorted(ahead, key=lambda one: one[0]):
            doubt = ', spreads overlap' if row[name].overlaps(series) else ''
            texts.append(f'{other} {number(series.median())} ({abs(ratio):.2f} ×{doubt})')
        return [f'- {scenario}: {title}: {name} {number(row[name].median())}, behind ' + ', '.join(texts)]

    def is_generator_bound(self, scenario, name):
        runs = self.runs[scenario, name]
        return 2 * sum(bool(run.get('generator_bound')) for run in runs) > len(runs)

    def above_floor(self, metric, scenario, name, row):
        floor = self.better_floor(row)
        if floor is None or metric[2] != CPU:
            return []
        ratio = row[name].ratio_to(floor)
        if ratio is None or ratio <= FLOOR_TARGET:
            return []
        return [f'- {scenario}: {name} {number(row[name].median())}, floor {number(floor.median())} ({ratio:.2f} ×)']

    def print_metrics(self):
        print('## Results\n')
        print('Medians over the rounds; below each table the same with [least – most].\n')
        for metric in METRICS:
            rows = self.series(metric)
            if not rows:
                continue
            names = [name for name in self.names if any(name in row for row in rows.values())]
            print(f'### {metric[1]}\n')
            cell = lambda row, name, text: text(row[name]) if name in row else '–'
            print(table(['scenario'] + names, [
                [scenario] + [cell(row, name, lambda s: number(s.median())) for name in names]
                for scenario, row in rows.items()]))
            if metric[0] != 'idle' and metric[2] == CPU and any(self.better_floor(row) for row in rows.values()):
                print('As a multiple of the better floor (median over the rounds):\n')
                print(table(['scenario'] + names, [
                    [scenario] + [cell(row, name, lambda s: self.multiple(s, row)) for name in names]
                    for scenario, row in rows.items()]))
            print('<details><summary>with spreads</summary>\n')
            print(table(['scenario'] + names, [
                [scenario] + [cell(row, name, spread) for name in names] for scenario, row in rows.items()]))
            print('</details>\n')

    def multiple(self, series, row):
        floor = self.better_floor(row)
        ratio = series.ratio_to(floor) if floor else None
        return '–' if ratio is None else f'{ratio:.2f}'

    def print_generator_bound(self):
        bound = []
        for (scenario, name), runs in self.runs.items():
            count = sum(bool(run.get('generator_bound')) for run in runs)
            if count:
                bound.append(f'- {scenario}: {name}, {count} of {len(runs)} runs')
        if bound:
            print('## Where the generator was the bottleneck\n')
            print('The server had time left, so messages per second say nothing about it there; its CPU per '
                  'message still does.\n')
            print('\n'.join(bound) + '\n')

    def print_commands(self):
        print('## Commands\n')
        print('`scripts/bench.sh` runs all of it. A single run of each scenario, as `ringwire-loadtest ...`:\n')
        print('```sh')
        for scenario, command in read_pairs(self.folder + '/commands.tsv'):
            if scenario != 'verify':
                print(f'# {scenario}\nringwire-loadtest {command}')
        print('```')


def spread(series):
    return f'{number(series.median())} [{number(min(series.values))} – {number(max(series.values))}]'


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('usage: bench_report.py FOLDER')
    Report(sys.argv[1]).print()
