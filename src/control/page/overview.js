// What concerns the whole server: the tiles with their graphs, the shards, the applications, the ends.

const STALE_TICK_MS = 2000;
const tiles = {
  connections: new Chart('Connections', count, { floating: true }),
  opened: new Chart('Opened / s', rate, { lines: ['opened', 'closed'] }),
  messagesIn: new Chart('Messages in / s', rate),
  messagesOut: new Chart('Messages out / s', rate),
  bytesIn: new Chart('Bytes in / s', (value) => size(value)),
  bytesOut: new Chart('Bytes out / s', (value) => size(value)),
};
$('tiles').append(...Object.values(tiles).map(({ element }) => element));
let lastStatus = null;

// Growth per second by the server's own clock. Unknown at first, and after a restart.
function growth(now, before, elapsedMs, key) {
  const difference = now?.[key] - before?.[key];
  return elapsedMs > 0 && difference >= 0 ? difference / elapsedMs * 1000 : undefined;
}

function showStatus(status) {
  const restarted = lastStatus && status.uptime_ms < lastStatus.uptime_ms;
  if (restarted) { forgetStatus(); toast(`The server was started anew ${span(status.uptime_ms)} ago.`); }
  const elapsedMs = lastStatus ? status.uptime_ms - lastStatus.uptime_ms : 0;
  if (lastStatus && !elapsedMs) return;
  showServerLine(status);
  showTiles(status, (key) => growth(status.totals, lastStatus?.totals, elapsedMs, key));
  showShards(status, elapsedMs);
  // A route that only shows a page has no connections.
  showRoutes((status.routes ?? []).filter(({ mode }) => mode !== 'page'));
  showEnds(status);
  lastStatus = status;
}

function forgetStatus() {
  lastStatus = null;
  for (const tile of Object.values(tiles)) tile.clear();
}

function showServerLine({ version, uptime_ms, draining, ready, healthy }) {
  const state = draining ? 'draining: no new connections, the open ones are being closed' : healthy === false ? 'unhealthy: a shard has stopped' : ready === false ? 'not accepting' : 'accepting';
  say($('server-line'), `version ${visible(version ?? '?')} · up ${span(uptime_ms)} · ${state}`);
  mark($('server-line'), 'data-alarm', draining || healthy === false || ready === false);
}

function showTiles({ totals = {}, shards = [], connections, connections_max, refusals = {} }, growing) {
  const handlers = shards.reduce((all, shard) => sum(all, shard.handlers), 0), working = known(handlers) ? `${handlers < 1000 ? count(handlers) : short.format(handlers)} ${handlers === 1 ? 'handler' : 'handlers'}` : '';
  const refused = Object.values(refusals).filter(known).reduce((sum, n) => sum + n, 0) || totals.refused;
  const room = known(connections_max) ? `of ${connections_max < 100_000 ? count(connections_max) : short.format(connections_max)}` : '';
  tiles.connections.add([connections], [room, working].filter(Boolean).join(' · '));
  tiles.opened.add([growing('opened'), growing('closed')], `${known(totals.opened) ? short.format(totals.opened) : '–'} in all, ${known(refused) ? short.format(refused) : '–'} refused`);
  tiles.messagesIn.add([growing('messages_in')], `${count(totals.messages_in)} in all`);
  tiles.messagesOut.add([growing('messages_out')], `${count(totals.messages_out)} in all`);
  tiles.bytesIn.add([growing('bytes_in')], `${size(totals.bytes_in)} in all`);
  tiles.bytesOut.add([growing('bytes_out')], `${size(totals.bytes_out)} in all`);
  document.title = `${count(connections)} connections · ringwire`;
}

function showShards({ shards = [] }, elapsedMs) {
  const before = new Map((lastStatus?.shards ?? []).map((shard) => [shard.shard, shard]));
  const fullest = Math.max(1, ...shards.map(({ connections }) => connections ?? 0));
  say($('shards-count'), count(shards.length));
  fillRows($('shards'), shards, (shard) => {
    const growing = (key) => growth(shard, before.get(shard.shard), elapsedMs, key);
    const batch = (growing('messages_in') + growing('messages_out')) / growing('enters');
    const eighths = shard.free_buffer_eighths, stale = shard.tick_age_ms > STALE_TICK_MS;
    return [
      [String(shard.shard), 'n'], [count(shard.connections), 'n bar'], [count(shard.handlers), 'n'],
      [rate(growing('messages_in')), 'n'], [rate(growing('messages_out')), 'n'], [known(batch) ? batch.toFixed(batch < 10 ? 1 : 0) : '–', 'n'],
      [known(eighths) ? `${eighths} / 8` : '–', 'eighths'],
      [`${count(shard.out_of_buffers)} / ${count(shard.overflows)}`, 'n'],
      [span(shard.tick_age_ms), stale ? 'n alarm' : 'n', stale ? 'This shard has not gone round its loop for more than two seconds' : undefined],
    ];
  });
  shards.forEach(({ connections, free_buffer_eighths }, i) => {
    const { cells } = $('shards').tBodies[0].rows[i];
    cells[1].style.setProperty('--share', (connections ?? 0) / fullest);
    cells[6].style.setProperty('--level', free_buffer_eighths ?? 0);
  });
}

function showRoutes(routes) {
  const names = routes.map(({ path }) => path ?? '');
  const sorted = routes.toSorted((a, b) => (b.open ?? 0) - (a.open ?? 0));
  say($('routes-count'), count(routes.length));
  fillRows($('routes'), sorted, ({ path, mode, open }) => [[visible(path ?? '–'), 'mono cut', visible(path ?? '')], [visible(mode ?? '–'), 'muted'], [count(open), 'n']]);
  const select = $('route-filter'), chosen = view.route;
  if (chosen && !names.includes(chosen)) names.push(chosen);
  if (names.length === select.options.length - 1 && names.every((name, i) => select.options[i + 1].value === name)) return;
  select.replaceChildren(select.options[0], ...names.map((name) => make('option', { value: name, text: visible(name) })));
  select.value = chosen;
}

function showEnds({ closes = {}, refusals = {} }) {
  const ends = [
    ...Object.entries(closes).map(([code, n]) => [`${visible(code)} ${own(MEANINGS, code) ?? ''}`, n]),
    ...Object.entries(refusals).map(([reason, n]) => [`refused: ${visible(reason).replaceAll('_', ' ')} ${own(REFUSALS, reason) ?? ''}`, n]),
  ].filter(([, n]) => n !== 0).sort((a, b) => b[1] - a[1]);
  fillRows($('ends'), ends.length ? ends : [['none yet', undefined]], ([what, n]) => [[what, 'cut', what], [known(n) ? count(n) : '', 'n']]);
}
