// A stand-in for the control plane: the HTTP seam of the status page over made-up connections, so
// that a test can have a million of them, hostile names, and a server that dies and comes back.
// By itself: node mock_admin.mjs [CONNECTIONS] [PORT]
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const PIECES = new URL('../../src/control/page/', import.meta.url);
const NUMBERS = ['connections', 'handlers', 'accepted', 'opened', 'refused', 'closed', 'messages_in', 'messages_out', 'bytes_in', 'bytes_out', 'enters', 'completions', 'submissions', 'overflows', 'out_of_buffers', 'short_sends', 'stale_completions', 'rearmed', 'remains', 'remains_bytes', 'remains_lost'];
const SORTS = { route: 'route', status: 'status', peer: 'peer', idle_ms: 'idle_ms', opened_ms: 'opened_ms', bytes_in: 'bytes_in', bytes_out: 'bytes_out', messages_in: 'messages_in', messages_out: 'messages_out', queue_bytes: 'queue', id: 'id' };
const ROUTES = [['/csp/user/MyApp.MyWebSocketServer.cls', 'dedicated'], ['/echo', 'dedicated'], ['/chat', 'dedicated'], ['/feed', 'shared'], ['/csp/user/MyApp.SharedWebSocketServer.cls', 'shared'], ['/terminal/*', 'shared']];
const OPERATOR = 'operator-token-for-tests', READ_ONLY = 'read-only-token-for-tests';

// A generator with a seed: the same run each time.
function dice(seed) {
  let state = seed;
  return () => { state = (state + 0x6d2b79f5) | 0; let t = Math.imul(state ^ (state >>> 15), 1 | state); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t; return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
}

function makeSocket(slot, random, hostile) {
  const [path, mode] = ROUTES[Math.floor(random() ** 1.6 * ROUTES.length)], shared = mode === 'shared', luck = random();
  const status = luck < 0.01 ? 'handshake' : luck < 0.02 ? 'closing' : shared ? (random() < 0.75 ? 'unattended' : 'shared') : 'websocket';
  const seen = Math.floor(random() ** 3 * 40_000), age = Math.floor(random() ** 2 * 9_000_000) + 1000;
  return {
    id: Buffer.from(`${String(slot).padStart(12, '0')}#w1re/${hostile.id ?? ''}ab`).toString('base64url').slice(0, 32), number: slot + 1, shard: slot % 2, slot: Math.floor(slot / 2),
    route: hostile.route ?? (path.endsWith('*') ? `/terminal/${1 + (slot % 9)}` : path), status: hostile.status ?? status, peer: hostile.peer ?? (status === 'handshake' && luck < 0.003 ? null : `10.${slot % 7}.${(slot >> 8) % 256}.${slot % 256}:${20000 + (slot % 40000)}`),
    session_id: hostile.session_id ?? (shared && random() < 0.6 ? randomText(random) : null), opened_ms: age, idle_ms: Math.floor(random() ** 4 * Math.min(age, 860_000)), timeout_ms: shared ? 900_000 : luck < 0.5 ? null : 86_400_000,
    bytes_in: seen * Math.floor(20 + random() * 900), bytes_out: seen * Math.floor(20 + random() * 3000), messages_in: seen, messages_out: Math.floor(seen * (0.5 + random())),
    inbox_bytes: status === 'unattended' && random() < 0.4 ? Math.floor(random() * 65_000) : 0, inbox_messages: 0, outbox_bytes: random() < 0.08 ? Math.floor(random() * 65_536) : 0,
    lease: status === 'shared' ? { fence: Math.floor(random() * 90), expires_ms: random() < 0.5 ? null : 30_000 } : null,
  };
}
const randomText = (random) => Array.from({ length: 22 }, () => 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789'[Math.floor(random() * 56)]).join('');

class Refused extends Error {
  constructor(status, code, message, remedy) { super(message); Object.assign(this, { status, code, remedy }); }
}

export class MockAdmin {
  // `hostile` are properties for the first connections, such as [{ route: '<img …>' }]. `imagined`
  // connections are more than memory should hold: each is made when it is asked for. Nothing is
  // served outside of `prefix`, as behind a proxy.
  constructor({ connections = 5000, hostile = [], shards = 2, imagined = 0, prefix = '/' } = {}) {
    const random = this.random = dice(42);
    this.sockets = Array.from({ length: connections }, (_, slot) => makeSocket(slot, random, hostile[slot] ?? {}));
    for (const socket of this.sockets) socket.inbox_messages = Math.ceil(socket.inbox_bytes / 300);
    this.shards = Array.from({ length: shards }, (_, shard) => ({ shard, ...Object.fromEntries(NUMBERS.map((name) => [name, 0])), free_buffer_eighths: 7 - (shard % 3), tick_age_ms: 3 }));
    this.closes = { 1000: 4180, 1001: 1220, 1006: 318, 1008: 12, 1011: 1 };
    this.refusals = { origin: 44, bad_request: 12, no_route: 301 };
    Object.assign(this, { imagined, prefix, started: Date.now() - 93_784_000, acts: [], requests: [], trouble: null, delayMs: 0, draining: false, tokens: new Map([[OPERATOR, 'operator'], [READ_ONLY, 'read-only']]) });
    this.operator = OPERATOR; this.readOnly = READ_ONLY;
    this.grow(3600);
    this.live(0);
  }

  // Traffic and time, without the network.
  live(seconds = 1) {
    const { random } = this;
    for (let i = 0; i < 400 && this.sockets.length; i += 1) {
      const socket = this.sockets[Math.floor(random() ** 2 * this.sockets.length)];
      if (socket.status === 'unattended' || socket.status === 'handshake') continue;
      const n = Math.ceil(random() * 6);
      socket.messages_in += n; socket.messages_out += n; socket.bytes_in += 64 * n; socket.bytes_out += 380 * n; socket.idle_ms = 0;
    }
    this.grow(seconds);
    for (const shard of this.shards) { shard.connections = 0; shard.handlers = 0; }
    for (const socket of this.sockets) {
      const shard = this.shards[socket.shard % this.shards.length];
      shard.connections += 1;
      if (socket.status !== 'unattended') shard.handlers += 1;
      socket.opened_ms += seconds * 1000;
      socket.idle_ms = socket.idle_ms > 890_000 ? 0 : socket.idle_ms + seconds * 1000;
    }
  }
  grow(seconds) {
    const { random } = this, wave = 1 + 0.35 * Math.sin(Date.now() / 9000);
    for (const shard of this.shards) {
      const share = seconds * wave * (0.85 + random() * 0.3), messages = Math.floor(9000 * share * (shard.shard ? 0.8 : 1));
      const grow = { messages_in: messages, messages_out: Math.floor(messages * 1.3), bytes_in: messages * 212, bytes_out: messages * 460, opened: Math.floor(31 * share), accepted: Math.floor(33 * share), closed: Math.floor(29 * share), enters: Math.floor(messages / 6), refused: random() < 0.3 ? 1 : 0 };
      for (const [name, n] of Object.entries(grow)) shard[name] += n;
      shard.tick_age_ms = Math.floor(random() * 9);
    }
  }

  async listen(port = 0) {
    this.server = createServer((request, response) => this.answer(request, response));
    await new Promise((resolve, reject) => this.server.once('error', reject).listen(port, '127.0.0.1', resolve));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}${this.prefix}`;
    this.clock = setInterval(() => this.live(), 1000);
    return this;
  }
  async stop() {
    clearInterval(this.clock);
    this.server.closeAllConnections();
    await new Promise((resolve) => { this.server.close(resolve); });
  }

  async answer(request, response) {
    const url = new URL(request.url, this.url);
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    if (!url.pathname.startsWith(this.prefix)) return response.writeHead(404).end();
    url.pathname = url.pathname.slice(this.prefix.length - 1);
    if (this.delayMs) await new Promise((resolve) => { setTimeout(resolve, this.delayMs); });
    try {
      if (url.pathname === '/') return this.page(response);
      if (this.trouble) throw this.trouble;
      const answer = this.route(request, url);
      response.writeHead(answer ? 200 : 204, answer ? { 'Content-Type': 'application/json' } : {}).end(answer ? JSON.stringify(answer) : '');
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      response.writeHead(error.status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: { code: error.code, message: error.message, remedy: error.remedy } }));
    }
  }

  page(response) {
    const piece = (name) => readFileSync(new URL(name, PIECES), 'utf8');
    const text = piece('page.html').replace(/\/\* include (\S+) \*\//g, (_, name) => piece(name));
    const hash = (tag) => `sha256-${createHash('sha256').update(text.split(`<${tag}>`)[1].split(`</${tag}>`)[0]).digest('base64')}`;
    response.writeHead(200, {
      'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer',
      'Content-Security-Policy': `default-src 'none'; script-src '${hash('script')}'; style-src '${hash('style')}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'`,
    }).end(text);
  }

  route(request, { pathname, searchParams }) {
    const role = this.tokens.get((request.headers.authorization ?? '').replace(/^Bearer /, ''));
    if (!role) throw new Refused(401, 'unauthorized', 'The token is missing or unknown', 'Send Authorization: Bearer with the token the server printed');
    if (request.method !== 'GET' && role !== 'operator') throw new Refused(403, 'forbidden', 'This token may only read', 'Use the operator token');
    const [, , kind, id, verb] = pathname.split('/').map(decodeURIComponent);
    if (pathname === '/v1/status') return this.status(role);
    if (kind === 'sessions' && verb === 'revoke') return this.revoke(id);
    if (kind !== 'websockets') throw new Refused(404, 'not_found', 'No such address', 'See /openapi.json');
    if (!id) return this.list(searchParams);
    const socket = this.sockets.find((one) => one.id === id);
    if (!socket) throw new Refused(404, 'unknown_id', 'No connection has this id', 'List the connections again');
    if (request.method === 'GET') return socket;
    this.acts.push({ act: request.method === 'DELETE' ? 'close' : verb, id, code: searchParams.get('code'), reason: searchParams.get('reason') });
    this.end(socket);
    return null;
  }

  end(socket) { this.sockets.splice(this.sockets.indexOf(socket), 1); }

  revoke(session) {
    const theirs = this.sockets.filter(({ session_id }) => session_id === session);
    for (const socket of theirs) this.end(socket);
    return { closed: theirs.length };
  }

  status(role) {
    const totals = Object.fromEntries(NUMBERS.map((name) => [name, this.shards.reduce((sum, shard) => sum + shard[name], 0)]));
    const open = new Map(ROUTES.map(([path, mode]) => [path, { path, mode, open: 0 }]));
    for (const { route } of this.sockets) { const path = route.startsWith('/terminal/') ? '/terminal/*' : route; if (!open.has(path)) open.set(path, { path, mode: 'dedicated', open: 0 }); open.get(path).open += 1; }
    return { version: '0.4.0', access: role, uptime_ms: Date.now() - this.started, draining: this.draining, ready: !this.draining, healthy: true, connections: this.imagined || this.sockets.length, connections_max: 1_048_576, routes: [...open.values()], shards: this.shards, totals, refusals: this.refusals, closes: this.closes };
  }

  list(asked) {
    const limit = Number(asked.get('limit') ?? 100), q = (asked.get('q') ?? '').toLowerCase(), sort = asked.get('sort');
    if (!(limit >= 1 && limit <= (sort ? 500 : 1000))) throw new Refused(400, 'bad_request', 'limit is not within 1 to 1000', 'Ask for fewer');
    if (sort && !SORTS[sort]) throw new Refused(400, 'bad_request', `sort cannot be ${sort}`, 'Use one of the columns');
    if (this.imagined) return this.imagine(limit, Number(sort ? asked.get('offset') ?? 0 : asked.get('cursor')?.slice(1) ?? 0), sort);
    let found = this.sockets;
    for (const key of ['route', 'status']) if (asked.get(key)) found = found.filter((socket) => socket[key] === asked.get(key));
    if (q) found = found.filter((socket) => [socket.id, socket.route, socket.peer, socket.session_id].some((text) => text?.toLowerCase().includes(q)));
    if (sort) return this.sorted(found, SORTS[sort], asked.get('order') === 'desc' ? -1 : 1, limit, Number(asked.get('offset') ?? 0));
    const from = Number(asked.get('cursor')?.slice(1) ?? 0), websockets = [];
    let at = from ? found.findIndex(({ number }) => number >= from) : 0;
    for (; at >= 0 && at < found.length && websockets.length < limit; at += 1) websockets.push(found[at]);
    return { websockets, next_cursor: at >= 0 && at < found.length ? `c${found[at].number}` : null, total: found.length };
  }

  imagine(limit, from, sort) {
    if (sort && from > 10_000) throw new Refused(400, 'bad_request', 'offset is above 10000', 'Search to narrow the list');
    const end = Math.min(from + limit, this.imagined);
    return { websockets: Array.from({ length: end - from }, (_, i) => makeSocket(from + i, dice(from + i), {})), next_cursor: end < this.imagined && !sort ? `c${end}` : null, total: this.imagined };
  }

  sorted(found, key, sign, limit, offset) {
    if (offset > 10_000) throw new Refused(400, 'bad_request', 'offset is above 10000', 'Search to narrow the list');
    const value = key === 'queue' ? ({ inbox_bytes, outbox_bytes }) => inbox_bytes + outbox_bytes : (socket) => socket[key] ?? '';
    const sorted = found.toSorted((a, b) => { const [x, y] = [value(a), value(b)]; return (x < y ? -1 : x > y ? 1 : 0) * sign || a.number - b.number; });
    return { websockets: sorted.slice(offset, offset + limit), next_cursor: null, total: found.length };
  }
}

export const refused = (...parts) => new Refused(...parts);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await new MockAdmin({ connections: Number(process.argv[2] ?? 5000) }).listen(Number(process.argv[3] ?? 9002));
  console.log(`${mock.url} operator: ${mock.operator} read-only: ${mock.readOnly}`);
}
