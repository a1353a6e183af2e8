"""What ringwire is to reach, with what a run of bench.sh came to.

bench_report.py asks for `ratio_rows`, a matrix of CPU beside others, and `other_rows`, a list. A
ratio is the median over the rounds of round against round, with the lowest and the highest of them
behind it. Met or missed is the median's word; how far the spread goes is for the reader to see.
Where the better raw floor, which does no WebSocket at all, misses a ratio too, no server on this
kernel's TCP can meet it; the cell says so.
"""
import statistics

CPU = 'server.cpu_ns_per_message'

# Scenario, and the limits of the ratios to the better raw floor, to Bun and to node ws.
RATIOS = [
    ('echo: 100 x 1, 32 B text', 1.05, 0.80, 0.45),
    ('echo: 100 x 16, 32 B text', 1.10, 0.50, 0.05),
    ('echo: 1000 x 1, 512 B text', 1.05, 0.77, 0.45),
    ('echo: 100 x 1, 16 KiB text', 1.05, 0.45, 0.33),
    ('echo: 10 x 1, 1 MiB binary', 1.25, 0.40, 0.35),
    ('echo: 10 x 1, 1 MiB text', 1.40, 0.40, 0.45),
    ('echo: 10 x 1, 1 MiB utf8', 1.70, 0.30, 0.55),
    ('echo: 10000 x 1, 64 B text', 1.0, 1.0, 0.45),
]
IDLE = 'idle: 10000'
MILLION = 'idle: 1000000'
MET = 'met'
MISSED = '**missed**'
OUT_OF_REACH = 'floor too'
OVERLAP = ', spreads overlap'
MICRO = [('text-125x1', '125 B text', 60), ('text-32x16', '16 × 32 B text', 20)]
IDLE_BYTES_MAX = 256
HANDSHAKES_MIN = 50_000
SHARDS_MIN = 1.8
SHARED_MAX = 2.5
SHARED_RATE_MIN = 300_000
# Scenario, target, operations per second.
CONTROL = [
    ('control: pairs, 64 connections', 'read and write pairs per second over the Unix socket, 64 kept-alive connections',
     30_000),
    ('control: writes to 100000 sockets', 'writes by id per second to 100,000 sockets through one HTTP/2 connection',
     50_000),
]


def other_rows(report, ours):
    """Rows of: target, wanted, measured, verdict."""
    return (idle_rows(report, ours) + latency_rows(report, ours) + shard_rows(report, ours)
            + shared_rows(report, ours) + control_rows(report, ours) + million_rows(report, ours)
            + micro_rows(report))


def judged(what, wanted, values, limit, less=True, text=lambda value: f'{value:.2f}'):
    """One row about the median of `values`, which are none if it was not measured."""
    sign = '≤' if less else '≥'
    wanted = f'{sign} {wanted}'
    if not values:
        return [what, wanted, 'not measured', '–']
    middle = statistics.median(values)
    shown = text(middle)
    if len(values) > 1:
        shown += f' [{text(min(values))} – {text(max(values))}]'
    met = middle <= limit if less else middle >= limit
    return [what, wanted, shown, MET if met else MISSED]


def ratios(one, other):
    """Round against round, so that a noisy minute weighs on both."""
    if one is None or other is None or min(other.values) <= 0:
        return []
    if len(one.values) == len(other.values):
        return [a / b for a, b in zip(one.values, other.values)]
    return [one.median() / other.median()]


def ratio_rows(report, ours):
    """A row for each scenario: its name, and a cell for each peer."""
    found = []
    for scenario, floor, bun, node in RATIOS:
        row = report.row(scenario, CPU)
        best = report.better_floor(row)
        cells = [ratio_cell(ratios(row.get(ours), best), floor)]
        for peer, limit in [(row.get('bun'), bun), (row.get('node-ws'), node)]:
            cells.append(ratio_cell(ratios(row.get(ours), peer), limit, ratios(best, peer)))
        found.append([scenario] + cells)
    return found


def ratio_cell(values, limit, of_floor=()):
    if not values:
        return f'– (≤ {limit:.2f})'
    middle = statistics.median(values)
    spread = f' [{min(values):.2f} – {max(values):.2f}]' if len(values) > 1 else ''
    shown = f'{middle:.2f}{spread}, ≤ {limit:.2f}: {MET if middle <= limit else MISSED}'
    if middle > limit and of_floor and statistics.median(of_floor) > limit:
        shown += f', {OUT_OF_REACH}: {statistics.median(of_floor):.2f}'
    return shown


def idle_rows(report, ours):
    row = report.row(IDLE, 'server.rss_bytes_per_connection')
    whole = lambda value: f'{value:,.0f}'
    own = row[ours].values if ours in row else []
    found = [judged(f'{IDLE}: RSS per connection', f'{IDLE_BYTES_MAX} B', own, IDLE_BYTES_MAX, text=whole)]
    for name, peer, limit in [('Bun', 'bun', 0.2), ('node `ws`', 'node-ws', 0.05)]:
        values = ratios(row.get(ours), row.get(peer))
        found.append(judged(f'{IDLE}: RSS beside {name}', f'{limit:.2f} ×', values, limit))
    return found


def latency_rows(report, ours):
    """At equal load, against the best of all contenders. The medians decide; that spreads overlap is said beside."""
    found = []
    for scenario in report.scenarios:
        if not scenario.startswith('open: ') or not scenario.endswith('/s for each'):
            continue
        row = report.row(scenario, 'latency_us.p99')
        others = {name: series for name, series in row.items() if report.is_contender(name)}
        if ours not in row or not others:
            continue
        best = min(others, key=lambda name: others[name].median())
        low, middle, high = (f'{value:,.0f}' for value in (
            min(others[best].values), others[best].median(), max(others[best].values)))
        cells = judged(f'{scenario}: p99, µs, beside the best other ({best})', f'{middle} [{low} – {high}]',
                       row[ours].values, others[best].median(), text=lambda value: f'{value:,.0f}')
        cells[3] += OVERLAP if row[ours].overlaps(others[best]) else ''
        floor = report.better_floor(row)
        if cells[3].startswith(MISSED) and floor and floor.median() > others[best].median():
            cells[3] += f', {OUT_OF_REACH}: {floor.median():,.0f}'
        found.append(cells)
    return found


def shard_rows(report, ours):
    found = []
    for scenario in report.scenarios:
        if scenario.startswith('shards: '):
            row = report.row(scenario, CPU)
            values = [2 * ratio for ratio in ratios(row.get(ours), row.get(f'{ours} (2 shards)'))]
            found.append(judged(f'{scenario}: capacity of two on two cores (from CPU per message), beside one on one',
                                f'{SHARDS_MIN} ×', values, SHARDS_MIN, less=False))
    return found


def shared_rows(report, ours):
    """A worker on another thread beside a handler, in the same program."""
    found = []
    for scenario in report.scenarios:
        if not scenario.startswith('shared: '):
            continue
        row = report.row(scenario, CPU)
        found.append(judged(f'{scenario}: CPU per echo of a worker on another thread, beside a handler\'s',
                            f'{SHARED_MAX:.2f} ×', ratios(row.get(f'{ours} (shared)'), row.get(ours)), SHARED_MAX))
        rates = report.row(scenario, 'messages_per_second').get(f'{ours} (shared, both cores)')
        if rates:
            found.append(judged(f'{scenario}: messages per second by one worker', f'{SHARED_RATE_MIN:,}',
                                rates.values, SHARED_RATE_MIN, less=False, text=lambda value: f'{value:,.0f}'))
    return found


def control_rows(report, ours):
    whole = lambda value: f'{value:,.0f}'
    found = []
    for scenario, what, limit in CONTROL:
        row = report.row(scenario, 'operations_per_second')
        values = row[ours].values if ours in row else []
        found.append(judged(f'control plane: {what}', whole(limit), values, limit, less=False, text=whole))
    return found


def million_rows(report, ours):
    runs = report.runs.get((MILLION, ours), [])
    if not runs:
        return [[f'{MILLION}: established in one process', '1,000,000', 'not measured', '–']]
    whole = lambda value: f'{value:,.0f}'
    of = lambda path: report.row(MILLION, path)[ours].values if ours in report.row(MILLION, path) else []
    pings, p99 = of('pings_answered'), of('active.latency_us.p99')
    return [
        [f'{MILLION}: established, and none lost', '1,000,000', whole(min(of('connections'))), MET],
        judged(f'{MILLION}: handshakes per second', whole(HANDSHAKES_MIN), of('handshakes_per_second'),
               HANDSHAKES_MIN, less=False, text=whole),
        judged(f'{MILLION}: RSS per connection', f'{IDLE_BYTES_MAX} B', of('server.rss_bytes_per_connection'),
               IDLE_BYTES_MAX, text=whole),
        judged(f'{MILLION}: pings answered', '1', pings, 1, less=False, text=whole),
        [f'{MILLION}: kernel and user memory per connection, both ends', 'told',
         whole(statistics.median(of('system.used_bytes_per_connection'))) + ' B', MET],
        [f'{MILLION}: echo p99 for 1,000 active clients among them', 'told',
         whole(statistics.median(p99)) + ' µs' if p99 else 'not measured', MET if p99 else '–'],
    ]


def micro_rows(report):
    found = []
    for name, what, limit in MICRO:
        values = [float(value) for known, value in report.micro if known == name]
        found.append(judged(f'user-space cost of an echo in memory, {what}, per message', f'{limit} ns', values,
                            limit, text=lambda value: f'{value:.1f} ns'))
    return found
