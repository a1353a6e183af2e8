// The table of connections: what is asked of the server, the rows, the pages. The server sorts and
// searches; this file never holds more than one page, so a million connections cost what 500 do.

const OFFSET_MAX = 10_000, SEARCH_WAIT_MS = 250;
const view = { q: '', status: '', route: '', sort: '', order: '', limit: '100' };
const VIEW_START = { ...view };
// The pages gone through, as the cursor (or the offset) of each and the number of its first row.
let pages = [{ cursor: null, start: 0 }], nextCursor = null, total = 0;
let rowsById = new Map(), active = null, asked = null;
const body = $('grid').tBodies[0];

const session = ({ session_id }) => (session_id ? visible(session_id) : '–');
const peer = (socket) => visible(socket.peer ?? 'unknown');
const sum = (a, b) => (known(a) && known(b) ? a + b : undefined);
// Two lines in one cell: the second is small.
const pair = (first, second) => [first, second];
// A long path is told by its end: the class stands in the first line, its folder in the second.
function folded(route) {
  const end = route.lastIndexOf('/') + 1;
  return route.startsWith('/') && route.length > 20 && end > 1 ? pair(route.slice(end), route.slice(0, end)) : pair(route, '');
}
function queued(messages, inBytes, outBytes) {
  const parts = [inBytes || messages ? `in ${count(messages)}, ${size(inBytes)}` : '', outBytes ? `out ${size(outBytes)}` : ''].filter(Boolean);
  return pair(parts[0] ?? '–', parts[1] ?? '');
}
const COLUMNS = [
  { key: 'number', title: 'No.', css: 'n', lines: ({ number }) => pair(count(number)) },
  { key: 'shard', title: 'Shard', css: 'n', lines: ({ shard }) => pair(count(shard)) },
  { key: 'route', title: 'Application', sort: 'route', css: 'mono cut', lines: ({ route }) => folded(visible(route ?? '–')), whole: ({ route }) => visible(route ?? '') },
  { key: 'status', title: 'Status', sort: 'status', css: 'status', lines: ({ status }) => pair(statusWord(status)) },
  { key: 'peer', title: 'Peer', sort: 'peer', css: 'mono cut', lines: (socket) => pair(peer(socket)) },
  { key: 'session', title: 'Session', css: 'mono cut', lines: (socket) => pair(session(socket)) },
  { key: 'open', title: 'Open for', sort: 'opened_ms', down: true, css: 'n', lines: ({ opened_ms }) => pair(span(opened_ms)) },
  { key: 'idle', title: 'Idle / timeout', sort: 'idle_ms', down: true, css: 'n share', lines: ({ idle_ms, timeout_ms }) => pair(span(idle_ms), known(timeout_ms) ? `of ${span(timeout_ms)}` : 'no timeout') },
  { key: 'activity', title: 'Activity', css: 'n activity', lines: ({ messages_in, messages_out }) => pair(count(sum(messages_in, messages_out))) },
  { key: 'in', title: 'In', sorts: ['messages_in', 'bytes_in'], down: true, css: 'n', lines: ({ messages_in, bytes_in }) => pair(`${count(messages_in)} msg`, size(bytes_in)) },
  { key: 'out', title: 'Out', sorts: ['messages_out', 'bytes_out'], down: true, css: 'n', lines: ({ messages_out, bytes_out }) => pair(`${count(messages_out)} msg`, size(bytes_out)) },
  { key: 'queue', title: 'Queued', sort: 'queue_bytes', down: true, css: 'n', lines: ({ inbox_messages, inbox_bytes, outbox_bytes }) => queued(inbox_messages, inbox_bytes, outbox_bytes) },
];
const SORT_WORDS = { route: 'application', status: 'status', peer: 'peer', opened_ms: 'open for', idle_ms: 'idle', messages_in: 'messages in', bytes_in: 'bytes in', messages_out: 'messages out', bytes_out: 'bytes out', queue_bytes: 'queued' };
const STARTS_DOWN = new Set(Object.keys(SORT_WORDS).filter((key) => !['route', 'status', 'peer'].includes(key)));

function buildHead() {
  $('grid-head').append(...COLUMNS.map((column) => {
    const sorts = column.sorts ?? (column.sort ? [column.sort] : []);
    const cell = make('th', { scope: 'col', role: 'columnheader', class: `col-${column.key} ${column.css.replace('mono', '')}` });
    if (!sorts.length) cell.append(column.title);
    else cell.append(make('button', { type: 'button', class: 'sort', 'data-sorts': sorts.join(' ') }, make('span', { text: column.title }), make('span', { class: 'arrow', 'aria-hidden': true })));
    return cell;
  }), make('th', { scope: 'col', role: 'columnheader', class: 'col-actions' }, make('span', { class: 'hidden', text: 'Actions' })));
  $('sort-select').append(make('option', { value: '', text: 'as numbered' }), ...Object.entries(SORT_WORDS).flatMap(([sort, word]) =>
    ['desc', 'asc'].map((order) => make('option', { value: `${sort} ${order}`, text: `${word} ${order === 'asc' ? '↑' : '↓'}` }))));
}

// Each press of a heading goes on: one way, the other way, the next thing in the column, as numbered.
function cycleSort(sorts) {
  const steps = sorts.flatMap((sort) => (STARTS_DOWN.has(sort) ? ['desc', 'asc'] : ['asc', 'desc']).map((order) => ({ sort, order })));
  const at = steps.findIndex(({ sort, order }) => sort === view.sort && order === view.order);
  change(steps[at + 1] ?? { sort: '', order: '' });
}

function showSort() {
  for (const button of $('grid-head').querySelectorAll('button')) {
    const sorts = button.dataset.sorts.split(' '), mine = sorts.includes(view.sort), word = mine ? SORT_WORDS[view.sort] : '';
    mark(button.parentNode, 'aria-sort', mine ? (view.order === 'asc' ? 'ascending' : 'descending') : 'none');
    say(button.lastChild, mine ? `${view.order === 'asc' ? '↑' : '↓'}${sorts.length > 1 ? ` ${word.split(' ')[0]}` : ''}` : '');
  }
  $('sort-select').value = view.sort ? `${view.sort} ${view.order}` : '';
}

// A changed question begins at the first page.
function change(parts) {
  Object.assign(view, parts);
  showSort();
  const kept = Object.entries(view).filter(([key, value]) => value !== VIEW_START[key]);
  history.replaceState(null, '', kept.length ? `#${new URLSearchParams(kept)}` : location.pathname);
  goTo([{ cursor: null, start: 0 }]);
}

function readView() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(view)) view[key] = kept.get(key) ?? VIEW_START[key];
  if (!own(SORT_WORDS, view.sort)) view.sort = view.order = '';
  else if (view.order !== 'asc') view.order = 'desc';
  if (view.route && ![...$('route-filter').options].some(({ value }) => value === view.route)) $('route-filter').append(make('option', { value: view.route, text: visible(view.route) }));
  $('q').value = view.q;
  for (const [id, key] of [['status-filter', 'status'], ['route-filter', 'route'], ['limit', 'limit']]) {
    $(id).value = view[key];
    if ($(id).selectedIndex < 0) $(id).value = view[key] = VIEW_START[key];
  }
  showSort();
}

function goTo(trail) {
  pages = trail;
  mark($('grid-box'), 'aria-busy', 'true');
  refreshRows().then(() => { if ($('grid-box').getBoundingClientRect().top < 0) $('grid-box').scrollIntoView(); }, troubleWithRows);
}
function goFirst() { if (pages.length > 1) goTo([{ cursor: null, start: 0 }]); }
function goBack() { if (pages.length > 1) goTo(pages.slice(0, -1)); }
function goOn() {
  if (!hasNext()) return;
  const start = pages.at(-1).start + body.rows.length;
  goTo([...pages, { cursor: nextCursor, start }]);
}
function hasNext() {
  if (!view.sort) return Boolean(nextCursor);
  const start = pages.at(-1).start + body.rows.length;
  return body.rows.length > 0 && start < total && start <= OFFSET_MAX;
}

// One question at a time: a newer one makes the older void.
async function refreshRows() {
  asked?.abort();
  const mine = asked = new AbortController();
  const { q, status, route, sort, order, limit } = view, { cursor, start } = pages.at(-1);
  const where = sort ? { sort, order, offset: start || '' } : { cursor };
  try {
    const page = await loadSockets({ limit, q: q.trim(), status, route, ...where }, mine.signal);
    if (mine !== asked) return;
    const sockets = Array.isArray(page.websockets) ? page.websockets : [];
    nextCursor = page.next_cursor ?? null;
    total = page.total ?? start + sockets.length;
    if (!sockets.length && pages.length > 1) { pages = [{ cursor: null, start: 0 }]; return await refreshRows(); }
    showRows(sockets);
  } catch (error) {
    if (!mine.signal.aborted) throw error;
  } finally {
    if (mine === asked) { asked = null; mark($('grid-box'), 'aria-busy', null); }
  }
}

function showRows(sockets) {
  const focused = document.activeElement?.closest?.('#grid tbody tr'), place = focused ? focused.sectionRowIndex : -1;
  const held = Boolean(view.sort) && (focused !== null && focused !== undefined || body.matches(':hover'));
  const fresh = new Map(sockets.map((socket) => [socket.id, rowsById.get(socket.id) ?? buildRow()]));
  let order = [...fresh.values()];
  if (held) {
    const staying = new Set(order), first = [...body.rows].filter((row) => staying.has(row)), placed = new Set(first);
    order = [...first, ...order.filter((row) => !placed.has(row))];
  }
  for (const [id, row] of rowsById) if (fresh.get(id) !== row) row.remove();
  rowsById = fresh;
  sockets.forEach((socket) => fillRow(fresh.get(socket.id), socket));
  order.forEach((row, i) => { if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null); });
  order.forEach((row, i) => mark(row, 'aria-rowindex', pages.at(-1).start + i + 2));
  choose(active && active.isConnected ? active : body.rows[Math.max(0, Math.min(place, body.rows.length - 1))] ?? null);
  if (focused && !focused.isConnected) (active ?? $('connections')).focus({ preventScroll: true });
  showPager(held);
}

function showPager(held) {
  const start = pages.at(-1).start, shown = body.rows.length;
  say($('total'), count(total));
  say($('range'), shown ? `${count(start + 1)} – ${count(start + shown)} of ${count(total)}` : '');
  $('first').disabled = $('previous').disabled = pages.length < 2;
  $('next').disabled = !hasNext();
  mark($('grid'), 'aria-rowcount', total + 1);
  const filtered = view.q || view.status || view.route;
  $('empty').hidden = shown > 0;
  if (!shown) say($('empty'), filtered ? 'No connection matches.' : 'No connection is open. The next one appears here by itself.');
  const far = view.sort && total > OFFSET_MAX ? `Sorted lists end after ${count(OFFSET_MAX)} rows: search to narrow them.` : '';
  say($('grid-note'), [held ? 'Rows keep their places while you point at them.' : '', far].filter(Boolean).join(' ') || 'Press a row, or Enter on it, for everything about it.');
}

function buildRow() {
  const cells = COLUMNS.map(({ key, css, title }) => make('td', { role: 'gridcell', class: `col-${key} ${css}`, 'data-title': title }, make('span')));
  const act = (name, word, css) => make('button', { type: 'button', 'data-act': name, tabindex: -1, class: css, text: word });
  const row = make('tr', { role: 'row', tabindex: -1 }, ...cells, make('td', { role: 'gridcell', class: 'col-actions' }, act('interrupt', 'Interrupt', 'danger'), act('close', 'Close', '')));
  row.shown = [];
  return row;
}

function fillRow(row, socket) {
  const before = row.socket;
  row.socket = socket;
  COLUMNS.forEach(({ lines }, i) => {
    const [first, second] = lines(socket), key = `${first}\n${second ?? ''}`;
    if (row.shown[i] === key) return;
    row.shown[i] = key;
    const cell = row.cells[i];
    cell.firstChild.textContent = first;
    if (second !== undefined) { if (!cell.children[1]) cell.append(make('small')); cell.children[1].textContent = second; }
    if (COLUMNS[i].css.includes('cut')) cell.title = COLUMNS[i].whole?.(socket) ?? first;
  });
  const used = socket.timeout_ms > 0 ? Math.min(1, socket.idle_ms / socket.timeout_ms) : 0;
  if (row.used !== used) row.cells[7].style.setProperty('--share', row.used = used);
  mark(row, 'data-status', own(STATUS_WORDS, socket.status ?? '') ? socket.status : 'other');
  mark(row.cells[11], 'data-empty', row.shown[11] === '–\n');
  mark(row, 'data-busy', before && (socket.messages_in !== before.messages_in || socket.messages_out !== before.messages_out));
  if (!before) mark(row, 'aria-label', `Connection ${count(socket.number)}, ${visible(socket.route ?? '')}, ${statusWord(socket.status)}, peer ${peer(socket)}`);
}

// One row is the way in by the Tab key, with its buttons; the arrow keys move it.
function choose(row) {
  for (const one of [active, row]) {
    if (!one) continue;
    one.tabIndex = one === row ? 0 : -1;
    for (const button of one.querySelectorAll('button')) button.tabIndex = one === row ? 0 : -1;
  }
  active = row;
}
function moveTo(index) {
  const row = body.rows[Math.max(0, Math.min(index, body.rows.length - 1))];
  if (!row) return;
  choose(row);
  row.focus();
  row.scrollIntoView({ block: 'nearest' });
}

function troubleWithRows(error) {
  if (!(error instanceof Trouble)) throw error;
  if (error.status !== 400) return lost(error);
  if (pages.length > 1) return goFirst();
  showRows([]);
  say($('empty'), error.sentence);
}
