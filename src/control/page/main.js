// The life of the page: who signs in, the turn that asks for everything again, what is shown when
// the server is gone, and the keys.

const TURN_MS = 1000, TURN_MS_MAX = 15_000, RETRY_MS_MAX = 10_000;
let timer = 0, turning = false, paused = false, retries = 0, goneSince = null, signedIn = false;

function link(state) {
  document.body.dataset.link = state;
}

// ---- signing in ----
function askToken(problem = '') {
  clearTimeout(timer);
  signedIn = false;
  asked?.abort();
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  link('start');
  $('status').hidden = $('controls').hidden = $('banner').hidden = true;
  $('sign-in').hidden = false;
  say($('server-line'), '');
  say($('token-error'), problem);
  document.title = 'ringwire: system status';
  $('token').value = '';
  $('token').focus();
}

async function signIn() {
  try {
    const status = await loadStatus();
    setOperator(status.access === 'operator');
    signedIn = true;
    forgetStatus();
    $('sign-in').hidden = true;
    $('status').hidden = $('controls').hidden = false;
    showStatus(status);
    change({});
    found();
    later(TURN_MS);
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    const refused = error.status === 401;
    if (refused) keepToken('');
    askToken(refused ? 'The server does not know this token.' : error.sentence);
    $('token').value = token;
  }
}

async function sendToken(event) {
  event.preventDefault();
  const value = $('token').value.trim();
  if (!value) return say($('token-error'), 'Enter the token first.');
  if (!/^[\x21-\x7e]+$/.test(value)) return say($('token-error'), 'A token has no spaces and only letters, digits and signs of ASCII: was something else copied?');
  keepToken(value);
  $('token-send').disabled = true;
  await signIn();
  $('token-send').disabled = false;
  if (signedIn) $('connections').focus({ preventScroll: true });
}

function setOperator(is) {
  operator = is;
  document.body.dataset.access = is ? 'operator' : 'read';
  say($('access'), is ? 'Operator' : 'Read-only');
  mark($('access'), 'title', is ? 'This token may interrupt and close connections' : 'This token may look at everything and change nothing. Sign out to enter the operator’s.');
}

// ---- the turn ----
async function turn() {
  clearTimeout(timer);
  if (turning || !signedIn || document.hidden) return;
  turning = true;
  const started = performance.now();
  try {
    const [status] = await Promise.all([loadStatus(), asked ? null : refreshRows(), refreshDetails()]);
    if (signedIn) { showStatus(status); found(); }
  } catch (error) {
    if (error instanceof Trouble && error.status === 400) troubleWithRows(error);
    else lost(error);
  } finally {
    turning = false;
  }
  // A server whose lists take long is not asked more often than a third of the time.
  if (!goneSince) later(Math.min(TURN_MS_MAX, Math.max(TURN_MS, 3 * (performance.now() - started))));
}
function later(ms) {
  clearTimeout(timer);
  if (signedIn && !paused) timer = setTimeout(turn, ms);
}
// After an act: what it changed is shown without waiting for the turn.
function soon() { if (!paused) later(150); else setTimeout(turn, 150); }

function setPaused(is) {
  paused = is;
  say($('pause-word'), is ? 'Go on' : 'Pause');
  $('pause').setAttribute('aria-pressed', is);
  if (goneSince) return;
  link(is ? 'paused' : 'live');
  if (is) clearTimeout(timer); else turn();
}

// ---- the server is gone, and is back ----
function lost(error) {
  if (!(error instanceof Trouble)) throw error;
  if (!signedIn) return;
  if (error.status === 401) {
    keepToken('');
    return askToken('The server no longer accepts the token. It may have been started anew with another one.');
  }
  goneSince ??= new Date();
  retries += 1;
  link('gone');
  const wait = Math.max(error.waitMs, Math.min(RETRY_MS_MAX, 500 * 2 ** Math.min(retries, 6)));
  say($('banner-text'), `${error.sentence} What you see is from ${clock(goneSince)}; the page tries again every few seconds.`);
  $('banner').hidden = $('retry').hidden = false;
  clearTimeout(timer);
  timer = setTimeout(turn, wait);
}

function found() {
  $('banner').hidden = true;
  if (goneSince) toast('The server answers again.');
  goneSince = null;
  retries = 0;
  link(paused ? 'paused' : 'live');
}

// ---- keys ----
const KEYS = [
  ['/', 'search', () => { $('q').focus(); $('q').select(); }],
  ['n', 'next page', goOn], ['p', 'previous page', goBack],
  ['j ↓', 'next row', () => moveTo(active && document.activeElement.closest('tr') === active ? active.sectionRowIndex + 1 : active?.sectionRowIndex ?? 0)],
  ['k ↑', 'row before', () => moveTo((active?.sectionRowIndex ?? 1) - 1)],
  ['Enter', 'everything about the row', null],
  ['c', 'close the row’s connection', () => confirmAct('close', focusedSocket())],
  ['i', 'interrupt the row’s connection', () => confirmAct('interrupt', focusedSocket())],
  ['l', 'pause, go on', () => setPaused(!paused)],
  ['?', 'these keys', () => $('help').showModal()],
  ['Esc', 'leave the search, close a panel', null],
];
const focusedSocket = () => document.activeElement.closest('#grid tbody tr')?.socket;

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !signedIn || document.querySelector('dialog[open]')) return;
  const { target } = event, row = target.closest('#grid tbody tr');
  if (target.matches('input, select, textarea')) {
    if (event.key === 'Escape' && target.id === 'q') { target.value = ''; change({ q: '' }); (active ?? $('connections')).focus(); }
    return;
  }
  if (row && inRow(event, row)) return event.preventDefault();
  const key = $('keys-on').checked && KEYS.find(([keys, , act]) => act && keys.split(' ').includes(event.key));
  if (!key) return;
  event.preventDefault();
  key[2]();
}

// Keys of a grid: they hold also when single letters are switched off.
function inRow(event, row) {
  const moves = { ArrowDown: row.sectionRowIndex + 1, ArrowUp: row.sectionRowIndex - 1, Home: 0, End: body.rows.length - 1, PageDown: row.sectionRowIndex + 10, PageUp: row.sectionRowIndex - 10 };
  if (event.key in moves) { moveTo(moves[event.key]); return true; }
  if (event.key === 'Enter' && event.target === row) { openDetails(row.socket); return true; }
  const buttons = [row, ...row.querySelectorAll('button')].filter((one) => one.checkVisibility()), at = buttons.indexOf(event.target);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return false;
  buttons[Math.max(0, Math.min(at + step, buttons.length - 1))]?.focus();
  return true;
}

function listen() {
  $('token-form').addEventListener('submit', sendToken);
  $('forget').addEventListener('click', () => { keepToken(''); askToken(); });
  $('pause').addEventListener('click', () => setPaused(!paused));
  $('retry').addEventListener('click', turn);
  $('help-open').addEventListener('click', () => $('help').showModal());
  $('first').addEventListener('click', goFirst);
  $('previous').addEventListener('click', goBack);
  $('next').addEventListener('click', goOn);
  $('filters').addEventListener('submit', (event) => { event.preventDefault(); change({ q: $('q').value }); });
  let typing = 0;
  $('q').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => change({ q: $('q').value }), SEARCH_WAIT_MS); });
  for (const [id, key] of [['status-filter', 'status'], ['route-filter', 'route'], ['limit', 'limit']]) $(id).addEventListener('change', () => change({ [key]: $(id).value }));
  $('sort-select').addEventListener('change', () => { const [sort = '', order = ''] = $('sort-select').value.split(' '); change({ sort, order }); });
  $('grid-head').addEventListener('click', (event) => { const button = event.target.closest('button'); if (button) cycleSort(button.dataset.sorts.split(' ')); });
  body.addEventListener('click', ({ target }) => {
    const row = target.closest('tr'), act = target.closest('[data-act]')?.dataset.act;
    if (!row) return;
    choose(row);
    if (act) confirmAct(act, row.socket);
    else if (getSelection().isCollapsed) { row.focus({ preventScroll: true }); openDetails(row.socket); }
  });
  body.addEventListener('focusin', ({ target }) => { const row = target.closest('tr'); if (row !== active) choose(row); });
  document.addEventListener('keydown', pressed);
  document.addEventListener('visibilitychange', () => { if (!document.hidden && !paused) turn(); });
}

buildHead();
buildDialogs();
for (const [keys, what] of KEYS) $('keys').append(make('div', {}, make('dt', {}, ...keys.split(' ').map((key) => make('kbd', { text: key.length === 1 && /[a-z]/.test(key) ? key.toUpperCase() : key }))), make('dd', { text: what })));
listen();
readView();
if (token) signIn(); else askToken();
