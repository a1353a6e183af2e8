// What opens above the page: everything about one connection, the confirmation of an act, the keys,
// and the short notes in the corner. A dialog holds the connection it was opened for, whatever the
// table does meanwhile.

const TOAST_MS = 6000, REASON_BYTES_MAX = 123, USUAL_CODES = [1000, 1001, 1008, 1011, 1012, 1013];
const encoder = new TextEncoder();
let operator = false;

function toast(text, kind = '') {
  const note = make('p', { class: `toast ${kind}`, text });
  $('toasts').append(note);
  while ($('toasts').children.length > 4) $('toasts').firstChild.remove();
  setTimeout(() => note.remove(), TOAST_MS);
}

const nameOf = (socket) => `connection ${count(socket.number)}`;

// ---- everything about one connection ----
let detail = null;

function openDetails(socket) {
  detail = { id: socket.id, socket, before: null, gone: false, charts: [new Chart('Messages in / s', rate), new Chart('Messages out / s', rate)] };
  $('details-rates').replaceChildren(...detail.charts.map(({ element }) => element));
  $('details-gone').hidden = true;
  showDetails(socket, false);
  $('details').showModal();
  refreshDetails().catch(lost);
}

async function refreshDetails() {
  const mine = detail;
  if (!mine || mine.gone || !$('details').open) return;
  try {
    const socket = await loadSocket(mine.id);
    if (mine === detail) showDetails(socket, true);
  } catch (error) {
    if (![404, 410].includes(error.status)) throw error;
    if (mine === detail) detailsGone();
  }
}

function detailsGone() {
  detail.gone = true;
  say($('details-gone'), 'This connection has ended. Below is what was last known.');
  $('details-gone').hidden = false;
  for (const button of $('details-actions').querySelectorAll('.act')) button.disabled = true;
}

// What the table knew is shown at once; rates begin with the first two answers about this one.
function showDetails(socket, answered) {
  const at = performance.now(), { before, beforeAt } = detail;
  const growing = (key) => growth(socket, before, at - beforeAt, key);
  detail.charts.forEach((chart, i) => chart.add([growing(i ? 'messages_out' : 'messages_in')], i ? `${size(socket.bytes_out)} out` : `${size(socket.bytes_in)} in`));
  Object.assign(detail, { socket, before: answered ? socket : null, beforeAt: at });
  const lease = socket.lease ? `fence ${count(socket.lease.fence)}, ${known(socket.lease.expires_ms) ? `expires in ${span(socket.lease.expires_ms)}` : 'until it is released'}` : 'nobody';
  say($('details-title'), `Connection ${count(socket.number)}`);
  fillList($('details-list'), [
    ['Id', visible(socket.id), 'mono'], ['Application', visible(socket.route ?? '–'), 'mono'], ['Status', statusWord(socket.status)],
    ['Peer', peer(socket), 'mono'], ['Session', session(socket), 'mono'], ['Read lease', socket.status === 'websocket' ? 'dedicated: its own handler reads' : lease],
    ['Shard, slot', `${count(socket.shard)}, ${count(socket.slot)}`], ['Open for', span(socket.opened_ms)],
    ['Idle / timeout', `${span(socket.idle_ms)} / ${known(socket.timeout_ms) ? span(socket.timeout_ms) : 'none'}`],
    ['In', `${plural(socket.messages_in, 'message')}, ${size(socket.bytes_in)}`], ['Out', `${plural(socket.messages_out, 'message')}, ${size(socket.bytes_out)}`],
    ['Waiting in', `${plural(socket.inbox_messages, 'message')}, ${size(socket.inbox_bytes)}${socket.messages_dropped ? `; ${count(socket.messages_dropped)} dropped` : ''}`], ['Waiting out', size(socket.outbox_bytes)],
  ]);
  for (const button of $('details-actions').querySelectorAll('.act')) { button.hidden = !operator; button.disabled = detail.gone; }
  $('details-revoke').hidden = !operator || !socket.session_id;
}

async function copyId() {
  try {
    await navigator.clipboard.writeText(detail.id);
    toast('The id is in the clipboard.');
  } catch {
    getSelection().selectAllChildren($('details-list').querySelector('dd'));
    toast('The browser allows no copying here: the id is selected, copy it with the keyboard.');
  }
}

// ---- the confirmation of an act ----
const ACTS = {
  interrupt: {
    title: (socket) => `Interrupt ${nameOf(socket)}?`, word: 'Interrupt',
    what: 'The TCP connection is cut at once. Nothing that waits is sent, and the peer sees the code 1006.',
    run: ({ id }) => interruptSocket(id), done: (socket) => `Interrupted ${nameOf(socket)}.`,
  },
  close: {
    title: (socket) => `Close ${nameOf(socket)}?`, word: 'Close',
    what: 'The closing handshake begins: what is already queued is sent first, and the peer is told the code and the reason.',
    run: ({ id }, code, reason) => closeSocket(id, code, reason), done: (socket, code) => `Closing ${nameOf(socket)} with ${code}.`,
  },
  revoke: {
    title: () => 'End this session?', word: 'End session',
    what: 'The session is revoked, and every connection that belongs to it is closed with 1008.',
    run: ({ session_id }) => revokeSession(session_id), done: (socket, code, answer) => `The session has ended${known(answer?.closed) ? `: ${plural(answer.closed, 'connection')} closed` : ''}.`,
  },
};
let pending = null;

function confirmAct(name, socket) {
  if (!socket) return;
  if (!operator) { toast('This token is read-only: it may look, not act. Sign out to enter the operator’s.', 'bad'); return; }
  const act = ACTS[name];
  pending = { name, socket, running: false };
  say($('confirm-title'), act.title(socket));
  say($('confirm-what'), act.what);
  say($('confirm-error'), '');
  say($('confirm-do'), act.word);
  $('confirm-do').classList.toggle('danger', name !== 'close');
  $('confirm-do').disabled = false;
  $('confirm-close').hidden = name !== 'close';
  fillList($('confirm-who'), [['Application', visible(socket.route ?? '–'), 'mono'], ['Peer', peer(socket), 'mono'], ['Session', session(socket), 'mono'], ['Status', statusWord(socket.status)]]);
  $('code').value = '1000';
  $('reason').value = '';
  showClosing();
  $('confirm').showModal();
  // Enter must not cut a connection by accident; a close has a form to be filled in first.
  $(name === 'close' ? 'code' : 'confirm-cancel').focus();
  if (name === 'close') $('code').select();
}

const codeAllowed = (code) => (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
function closingProblem() {
  if (!/^\d{4}$/.test($('code').value) || !codeAllowed(Number($('code').value))) return ['code', 'A code is 1000–1003, 1007–1014, or 3000–4999 for your own meanings; the others never stand on the wire.'];
  const over = encoder.encode($('reason').value).length - REASON_BYTES_MAX;
  return over > 0 ? ['reason', `The reason is ${plural(over, 'byte')} too long: a Close frame holds ${REASON_BYTES_MAX}.`] : null;
}
function showClosing() {
  const left = REASON_BYTES_MAX - encoder.encode($('reason').value).length;
  say($('reason-left'), left < 60 ? `(${plural(left, 'byte')} left)` : '');
  for (const chip of $('codes').children) mark(chip, 'aria-pressed', String(chip.dataset.code === $('code').value));
  for (const id of ['code', 'reason']) mark($(id), 'aria-invalid', closingProblem()?.[0] === id && !$('confirm-close').hidden ? 'true' : null);
}

async function confirmed(event) {
  event.preventDefault();
  const mine = pending;
  if (!mine || mine.running) return;
  const act = ACTS[mine.name], problem = mine.name === 'close' ? closingProblem() : null;
  if (problem) { say($('confirm-error'), problem[1]); $(problem[0]).focus(); return; }
  mine.running = $('confirm-do').disabled = true;
  say($('confirm-error'), '');
  try {
    const code = $('code').value, answer = await act.run(mine.socket, code, $('reason').value);
    finishAct(mine, act.done(mine.socket, code, answer));
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (error.status === 401) { $('confirm').close(); return lost(error); }
    if (error.status === 403) setOperator(false);
    if ([404, 410].includes(error.status) && error.code !== 'not_found') return finishAct(mine, `The ${mine.name === 'revoke' ? 'session' : 'connection'} had already ended.`);
    if (mine === pending) say($('confirm-error'), error.sentence);
  } finally {
    mine.running = false;
    $('confirm-do').disabled = false;
  }
}

function finishAct(mine, note) {
  toast(note);
  if (mine === pending && $('confirm').open) $('confirm').close();
  for (const row of body.rows) if (row.socket.id === mine.socket.id) mark(row, 'data-acted', true);
  soon();
}

function buildDialogs() {
  $('codes').append(...USUAL_CODES.map((code) => make('button', { type: 'button', 'data-code': code, text: `${code} ${MEANINGS[code]}`, click: () => { $('code').value = code; say($('confirm-error'), ''); showClosing(); $('reason').focus(); } })));
  for (const id of ['code', 'reason']) $(id).addEventListener('input', () => { say($('confirm-error'), ''); showClosing(); });
  $('confirm-form').addEventListener('submit', confirmed);
  $('details-copy').addEventListener('click', copyId);
  for (const name of Object.keys(ACTS)) $(`details-${name}`).addEventListener('click', () => confirmAct(name, detail.socket));
  for (const dialog of document.querySelectorAll('dialog')) {
    dialog.addEventListener('click', (event) => { if (event.target === dialog || event.target.closest('[data-dismiss]')) dialog.close(); });
    // The row may have been rebuilt or be gone: the focus goes to the one that stands for it.
    dialog.addEventListener('close', () => { if (document.activeElement === document.body) (active ?? $('connections')).focus({ preventScroll: true }); });
  }
}
