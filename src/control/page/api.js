// The requests. Every failure becomes a `Trouble` that says what happened and what to do about it.

const TOKEN_KEY = 'ringwire-admin-token', ANSWER_WAIT_MS = 15_000;
let token = sessionStorage.getItem(TOKEN_KEY) ?? '';

class Trouble extends Error {
  // `status` is the one of HTTP, 0 without an answer.
  constructor(status, code, message, remedy = '', waitMs = 0) {
    super(message);
    Object.assign(this, { status, code, remedy, waitMs });
  }
  get sentence() { return [this.message, this.remedy].filter(Boolean).map((part) => visible(part).replace(/[.\s]*$/, '.')).join(' '); }
}

function keepToken(value) {
  token = value;
  if (value) sessionStorage.setItem(TOKEN_KEY, value); else sessionStorage.removeItem(TOKEN_KEY);
}

async function ask(method, path, signal) {
  const limit = AbortSignal.timeout(ANSWER_WAIT_MS);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer, body;
  try {
    answer = await fetch(path, { method, headers, cache: 'no-store', credentials: 'omit', redirect: 'error', signal: signal ? AbortSignal.any([signal, limit]) : limit });
    body = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Trouble(0, 'no_answer', limit.aborted ? `The server has not answered for ${ANSWER_WAIT_MS / 1000} s` : 'The server does not answer');
  }
  const value = parse(body);
  if (answer.ok && (answer.status === 204 || !body || value)) return value ?? {};
  if (answer.ok) throw new Trouble(answer.status, 'not_json', 'The answer is not what ringwire sends', 'Is this the address of its control plane?');
  const { code = `http_${answer.status}`, message = `The server answered ${answer.status}`, remedy } = value?.error ?? {};
  throw new Trouble(answer.status, code, message, remedy, 1000 * (Number(answer.headers.get('Retry-After')) || 0));
}

function parse(body) {
  try {
    const value = JSON.parse(body);
    return value && typeof value === 'object' ? value : undefined;
  } catch { return undefined; }
}

function query(parts) {
  const filled = Object.entries(parts).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  return filled.length ? `?${new URLSearchParams(filled)}` : '';
}

// Relative to the page, which a proxy may show under a prefix.
const socketPath = (id) => `v1/websockets/${encodeURIComponent(id)}`;
const loadStatus = (signal) => ask('GET', 'v1/status', signal);
const loadSockets = (parts, signal) => ask('GET', `v1/websockets${query(parts)}`, signal);
const loadSocket = (id, signal) => ask('GET', socketPath(id), signal);
const interruptSocket = (id) => ask('POST', `${socketPath(id)}/interrupt`);
const closeSocket = (id, code, reason) => ask('DELETE', `${socketPath(id)}${query({ code, reason })}`);
const revokeSession = (id) => ask('POST', `v1/sessions/${encodeURIComponent(id)}/revoke`);
