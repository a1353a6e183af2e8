#!/usr/bin/env python3
"""bench_report.py FOLDER PAGE: the report of a run of bench.sh, as Markdown on standard output.

FOLDER holds results.jsonl (a run a line, its scenario is its title), facts.tsv, commands.tsv,
micro.tsv and failures.txt. Everything in the report comes from there; nothing is judged by hand.
PAGE is where the same is as pictures.
"""
import collections
import json
import statistics
import sys

import bench_targets

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
    ('open', 'Open loop: how late the generator sent, p99, µs; it is part of the latency',
     ['open_loop.lateness_us.p99'], True),
    ('churn', 'Connections per second: connect, upgrade, echo, close', ['connections_per_second'], False),
    ('churn', 'Server CPU per connection, ns', CPU, True),
    ('shards', 'Server CPU per echoed message, ns: one shard on one core, two on two', CPU, True),
    ('shared', 'Server CPU per echoed message, ns: by a handler, and through a shared socket by a worker on '
     'another thread (`examples/shared_echo.rs`)', CPU, True),
    ('shared', 'Messages per second: by a handler, and by one worker', ['messages_per_second'], False),
    ('control', 'Operations of the control plane per second', ['operations_per_second'], False),
    ('control', 'Server CPU per operation of the control plane, ns', CPU, True),
    ('fanout', 'Server CPU per delivery, ns', CPU, True),
    ('fanout', 'Deliveries per second', ['deliveries_per_second'], False),
    ('fanout', 'Time to the last delivery p50, µs', ['last_delivery_us.p50'], True),
    ('fanout', 'Time to the last delivery p99, µs', ['last_delivery_us.p99'], True),
    ('fanout', 'Latency p99 of echoes meanwhile, µs', ['echo_meanwhile_us.p99'], True),
    ('busy', 'Latency p99 of quiet clients beside busy ones, µs', ['kinds.0.echo_meanwhile_us.p99'], True),
    ('busy', 'Latency p99 of the same clients before, µs', ['kinds.0.echo_before_us.p99'], True),
    ('busy', 'Server CPU per frame of the busy ones, ns', ['kinds.0.server.cpu_ns_per_message'], True),
    ('idle', 'Server memory (RSS) per idle connection, bytes', ['server.rss_bytes_per_connection'], True),
    ('idle', 'Memory of the whole machine per idle connection, both ends, bytes',
     ['system.unavailable_bytes_per_connection'], True),
    ('idle', 'Kernel memory in use per idle connection (objects in slabs), both ends, bytes',
     ['system.object_bytes_per_connection'], True),
    ('idle', 'Server CPU while nobody speaks, pings answered, thousandths of a core',
     ['hold_server.cores_busy:1000'], True),
    ('idle', 'Handshakes per second', ['handshakes_per_second'], False),
    ('idle', 'Server CPU per handshake, ns', ['opening_server.cpu_ns_per_message'], True),
    ('idle', 'Latency p99 of 1,000 active clients among the idle, µs', ['active.latency_us.p99'], True),
]


# Metrics that are told and in which nobody loses. An idle server that happens to be pinged in the few
# seconds of a run is no worse than one that is not. The machine's memory is small for whoever finds
# the slabs of those before; what is in use in these, and the RSS, are compared. How late the generator
# sent is not the server's.
NO_CONTEST = [
    ['hold_server.cores_busy:1000'],
    ['system.unavailable_bytes_per_connection'],
    ['open_loop.lateness_us.p99'],
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
    """The value at the first path that leads somewhere; a number behind a colon multiplies it."""
    for path in paths:
        path, _, factor = path.partition(':')
        value = run
        for name in path.split('.'):
            if isinstance(value, list):
                value = value[int(name)] if int(name) < len(value) else None
            else:
                value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return float(value) * float(factor or 1)
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
    def __init__(self, folder, page):
        self.folder = folder
        self.page = page
        with open(folder + '/results.jsonl', encoding='utf-8') as lines:
            runs = [json.loads(line) for line in lines]
        self.runs = collections.defaultdict(list)
        for run in runs:
            self.runs[run['title'], run['label']].append(run)
        self.scenarios = list(dict.fromkeys(run['title'] for run in runs))
        self.names = list(dict.fromkeys(run['label'] for run in runs))
        self.facts = read_pairs(folder + '/facts.tsv')
        self.micro = read_pairs(folder + '/micro.tsv')
        self.ours = [value for name, value in self.facts if name == 'ours']

    def series(self, metric):
        """By scenario: by contender."""
        kind, _, paths, _ = metric
        found = {}
        for scenario in self.scenarios:
            if not scenario.startswith(kind + ':'):
                continue
            row = self.row(scenario, *paths)
            if row:
                found[scenario] = row
        return found

    def row(self, scenario, *paths):
        """By contender."""
        row = {n: Series(self.runs[scenario, n], paths) for n in self.names if (scenario, n) in self.runs}
        return {name: series for name, series in row.items() if series.values}

    def is_contender(self, name):
        """Neither a floor nor ours, however many shards it has."""
        return not name.startswith('floor') and not any(name == own or name.startswith(own + ' (') for own in self.ours)

    def better_floor(self, row):
        floors = [series for name, series in row.items() if name.startswith('floor')]
        return min(floors, key=Series.median, default=None)

    def print(self):
        print('# Benchmarks\n')
        print('Written by `scripts/bench.sh`; run it to check. What the contenders are and what was done to '
              'be fair to them: [loadtest/contenders](loadtest/contenders/README.md); what the figures mean: '
              f'[loadtest](loadtest/README.md). The same as pictures: [{self.page}]({self.page}).\n')
        self.print_glance()
        self.print_targets()
        self.print_losses()
        self.print_setting()
        self.print_metrics()
        self.print_generator_bound()
        self.print_commands()

    def print_glance(self):
        """Who needs how much more CPU than ours, in one table."""
        kinds = ('echo', 'fanout', 'churn')
        others = [n for n in self.names if n not in self.ours and any(
            s.startswith(kinds) and (s, n) in self.runs for s in self.scenarios)]
        for ours in self.ours[:1]:
            rows = []
            for kind in kinds:
                for scenario, row in self.series((kind, '', CPU, True)).items():
                    if ours in row and len(row) > 1:
                        ratios = [row[n].ratio_to(row[ours]) if n in row else None for n in others]
                        rows.append([scenario] + ['–' if r is None else f'{r:.2f}' for r in ratios])
            if rows:
                print('## At a glance\n')
                print(f'Server CPU as a multiple of that of {ours}: above 1, {ours} is cheaper. Medians over the '
                      'rounds. Floors echo raw TCP and do no WebSocket.\n')
                print(table(['scenario'] + others, rows))

    def print_targets(self):
        for ours in self.ours[:1]:
            matrix, others = bench_targets.ratio_rows(self, ours), bench_targets.other_rows(self, ours)
            cells = [cell for row in matrix for cell in row[1:]] + [row[3] for row in others]
            missed = sum(bench_targets.MISSED in cell for cell in cells)
            beyond = sum(bench_targets.OUT_OF_REACH in cell for cell in cells)
            met = sum(cell.removesuffix(bench_targets.OVERLAP).endswith(bench_targets.MET) for cell in cells)
            print('## Targets\n')
            print(f'{met} met, {missed} missed, {len(cells) - met - missed} not measured. Ratios are medians over the '
                  f'rounds, with the lowest and the highest behind them. In {beyond} of the missed the raw floor, which '
                  'does no WebSocket, misses as well: its ratio stands behind.\n')
            print(f'Server CPU per message of {ours}, as a multiple of others\':\n')
            print(table(['scenario', 'the better raw floor', 'Bun', 'node `ws`'], matrix, '---'))
            print(table(['target', 'wanted', 'measured', ''], others, '---'))

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
        """Threads of one program that share a core stand in each other's way; only the other runs can tell."""
        alone = [run for (scenario, name), runs in self.runs.items()
                 if (name in self.ours or name.startswith('floor')) and not scenario.startswith(('control: ', 'shards: ', 'shared: '))
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
            if metric[2] in NO_CONTEST:
                continue
            for scenario, row in self.series(metric).items():
                for name in self.ours:
                    if name in row:
                        losses += self.losses(metric, scenario, name, row)
                        above += self.above_floor(metric, scenario, name, row)
        if losses:
            print(f'Every figure in which somebody is ahead by more than {NOISE:.0%}; ~ where the spreads overlap.\n')
            print(table(['figure', 'scenario', ' and '.join(self.ours), 'ahead of it'], losses, '---'))
        elif not any(self.is_contender(name) for name in self.names):
            print('No other server was measured.\n')
        elif self.ours:
            print(f'In no scenario of this run was a contender ahead by more than {NOISE:.0%}.\n')
        if above:
            print(f'Server CPU above {FLOOR_TARGET} × the better raw floor, which does no WebSocket at all:\n')
            print(table(['scenario', ' and '.join(self.ours), 'floor', 'ratio'], above))

    def losses(self, metric, scenario, name, row):
        """One row, with whoever is ahead, the best first."""
        _, title, paths, less = metric
        if paths == ['messages_per_second'] and self.is_generator_bound(scenario, name):
            return []
        ahead = []
        for other, series in row.items():
            ratio = row[name].ratio_to(series)
            if not self.is_contender(other) or ratio is None:
                continue
            if ratio > 1 + NOISE if less else ratio < 1 - NOISE:
                ahead.append((-ratio if less else ratio, other, series))
        if not ahead:
            return []
        texts = []
        for ratio, other, series in sorted(ahead, key=lambda one: one[0]):
            doubt = ' ~' if row[name].overlaps(series) else ''
            texts.append(f'{other} {number(series.median())} ({abs(ratio):.2f} ×{doubt})')
        return [[title, scenario, number(row[name].median()), ', '.join(texts)]]

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
        return [[scenario, number(row[name].median()), number(floor.median()), f'{ratio:.2f}']]

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
        self.print_slabs()

    def print_slabs(self):
        """What the kernel keeps for one connection, of the largest number of ours."""
        idle = [s for s in self.scenarios if s.startswith('idle: ') and any((s, n) in self.runs for n in self.ours)]
        if not idle:
            return
        scenario = max(idle, key=lambda s: int(s.split(' ')[1]))
        name = next(n for n in self.ours if (scenario, n) in self.runs)
        system = self.runs[scenario, name][-1]['system']
        print(f'### What the kernel keeps for a connection, bytes ({name}, {scenario})\n')
        print(f'Both ends are on this machine. Of {system["used_bytes_per_connection"]:,.0f} bytes in all, slabs are '
              f'{system["slab_bytes_per_connection"]:,.0f}:\n')
        print(table(['slab', 'bytes per connection'], [
            [f'`{slab["name"]}`', number(slab['bytes_per_connection'])] for slab in system['slabs'][:12]]))

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
                  'message still does. At a fixed rate (`open`) the server has time left by intention; what stands '
                  'here then are runs in which the generator, for want of CPU, sent less than that.\n')
            print('\n'.join(bound) + '\n')

    def print_commands(self):
        print('## Commands\n')
        print('`scripts/bench.sh` runs all of it. A single run of each scenario; `PID` is the server, and '
              '`--echo-url` has the same server:\n')
        print('```sh')
        for scenario, command in read_pairs(self.folder + '/commands.tsv'):
            if scenario != 'verify':
                print(f'# {scenario}\n{command}')
        print('```')


def spread(series):
    return f'{number(series.median())} [{number(min(series.values))} – {number(max(series.values))}]'


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit('usage: bench_report.py FOLDER PAGE')
    Report(*sys.argv[1:]).print()
