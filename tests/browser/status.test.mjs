// The status page in a real browser, with 5,000 connections: what an operator does, and what they
// see. Against the server when the environment names it, against a made-up one otherwise; what needs
// a server that dies, lies or has a million connections is made up always.
//   RINGWIRE_CONTROL_URL, RINGWIRE_CONTROL_TOKEN, RINGWIRE_WS   as scripts/with-server.sh sets them
//   READ_ONLY_TOKEN   the server's other token
//   SHARED_ROUTE      a shared route, at which some connections go unattended (may be left out)
// Screenshots go to $SCREENSHOTS.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { Crowd } from './crowd.mjs';
import { MockAdmin, refused } from './mock_admin.mjs';

const { RINGWIRE_CONTROL_URL, RINGWIRE_CONTROL_TOKEN, RINGWIRE_WS, READ_ONLY_TOKEN, SHARED_ROUTE } = process.env;
const CONNECTIONS = 5000;
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const SHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL('../../target/screenshots', import.meta.url));
const ROW = '#grid tbody tr';
let browser, world;

// The server under test: its address and tokens, the peers of some connections, how they ended.
async function realWorld() {
  assert.ok(RINGWIRE_CONTROL_TOKEN && READ_ONLY_TOKEN && RINGWIRE_WS, 'set RINGWIRE_CONTROL_TOKEN, READ_ONLY_TOKEN and RINGWIRE_WS too');
  const shared = SHARED_ROUTE ? 1000 : 0, crowds = [await new Crowd(`${RINGWIRE_WS}/echo`).open(CONNECTIONS - shared)];
  if (shared) crowds.push(await new Crowd(RINGWIRE_WS + SHARED_ROUTE).open(shared));
  const talk = setInterval(() => crowds[0].speak('hello', 7), 500), peers = [...crowds[0].members.keys()];
  return {
    url: RINGWIRE_CONTROL_URL, operator: RINGWIRE_CONTROL_TOKEN, readOnly: READ_ONLY_TOKEN, crowds,
    peer: () => `127.0.0.1:${peers.pop()}`,
    async end(peer) { return until(() => crowds[0].ends.get(Number(peer.split(':')[1]))); },
    isOpen: (peer) => crowds[0].members.has(Number(peer.split(':')[1])),
    async refill() { const missing = CONNECTIONS - crowds.reduce((sum, { members }) => sum + members.size, 0); await crowds[0].open(missing); },
    async stop() { clearInterval(talk); for (const crowd of crowds) crowd.leave(); },
  };
}
async function mockWorld() {
  const mock = await new MockAdmin({ connections: CONNECTIONS }).listen(), ids = new Map();
  return {
    url: mock.url, operator: mock.operator, readOnly: mock.readOnly, mock,
    peer() { const { peer, id } = mock.sockets.findLast((socket) => socket.peer && socket.status === 'websocket' && !ids.has(socket.peer)); ids.set(peer, id); return peer; },
    async end(peer) { const { act, code, reason } = await until(() => mock.acts.find(({ id }) => id === ids.get(peer))); return act === 'close' ? { code: Number(code), reason: reason ?? '' } : { error: 'ECONNRESET' }; },
    isOpen: (peer) => mock.sockets.some((socket) => socket.peer === peer),
    async refill() { while (mock.sockets.length < CONNECTIONS) mock.sockets.push({ ...mock.sockets[0], id: `refilled${mock.acts.length}x${mock.sockets.length}`, number: mock.sockets.at(-1).number + 1 }); mock.live(0); },
    stop: () => mock.stop(),
  };
}
async function until(value) {
  for (let i = 0; i < 400; i += 1) { const got = value(); if (got) return got; await new Promise((resolve) => { setTimeout(resolve, 25); }); }
  throw new Error('it did not happen within 10 s');
}

before(async () => {
  assert.ok(existsSync(CHROMIUM), `no browser at ${CHROMIUM}: install Debian's chromium, or name one in CHROMIUM`);
  mkdirSync(SHOTS, { recursive: true });
  world = await (RINGWIRE_CONTROL_URL ? realWorld() : mockWorld());
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--headless=new', '--no-sandbox'] });
});
after(async () => { await browser?.close(); await world?.stop(); });

// A page whose every script error, breach of the policy and request to another host fails the test.
// What the browser notes about an answer that is not 2xx is the business of each test.
async function withPage({ token = world.operator, url = world.url, ...options }, act) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, ...options });
  const page = await context.newPage(), complaints = [];
  page.setDefaultTimeout(20_000);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && !/^Failed to load resource/.test(message.text()) && complaints.push(message.text()));
  page.on('request', (request) => request.url().startsWith(url) || request.url().startsWith('data:') || complaints.push(`fetched ${request.url()}`));
  try {
    await page.goto(url);
    if (token) { await signIn(page, token); await page.locator(ROW).first().waitFor(); }
    await act(page, context);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}
async function signIn(page, token) {
  await page.fill('#token', token);
  await page.press('#token', 'Enter');
}
const seen = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor();
const texts = (page, column) => page.locator(`${ROW} .col-${column} > span`).allTextContents();
const range = (page, text) => page.waitForFunction((wanted) => document.getElementById('range').textContent === wanted, text);
const searchFor = async (page, text) => { await page.fill('#q', text); await page.waitForFunction((q) => !document.getElementById('grid-box').ariaBusy && location.hash.includes(new URLSearchParams({ q })), text); };
const ids = (page) => page.evaluate(() => [...rowsById.keys()]);

test('a token is asked for, kept in the tab alone, and forgotten', () =>
  withPage({ token: '' }, async (page) => {
    assert.ok(await page.locator('#status').isHidden());
    await signIn(page, 'wrong-token');
    await seen(page, '#token-error', 'does not know this token');
    await signIn(page, 'tökén');
    await seen(page, '#token-error', 'ASCII');
    await signIn(page, world.operator);
    await seen(page, '#access', 'Operator');
    assert.ok(!page.url().includes(world.operator));
    assert.deepEqual(await page.evaluate(() => [Object.values({ ...sessionStorage }), localStorage.length, document.cookie]), [[world.operator], 0, '']);
    await page.reload();
    await page.locator(ROW).first().waitFor();
    await page.click('#forget');
    await page.locator('#token').waitFor();
    await page.reload();
    await page.locator('#token').waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  }));

test('the totals are those of the shards, and the graphs move', () =>
  withPage({}, async (page) => {
    await world.refill();
    await seen(page, '#total', /^5,000$/);
    await seen(page, '.tile .value', /^5,000$/);
    await page.waitForFunction(() => [...document.querySelectorAll('.tile .value')].every(({ textContent }) => textContent !== '–'));
    const sum = await page.evaluate(() => [...document.querySelectorAll('#shards tbody tr')].reduce((all, { cells }) => all + Number(cells[1].textContent.replaceAll(',', '')), 0));
    assert.equal(sum, CONNECTIONS);
    await page.waitForFunction(() => /[1-9]/.test(document.querySelectorAll('.tile .value')[2].textContent), undefined, { timeout: 10_000 });
    const curve = () => page.locator('.tile .curve.c0').nth(2).getAttribute('d');
    const before = await curve();
    await page.waitForFunction((d) => document.querySelectorAll('.tile .curve.c0')[2].getAttribute('d').length > d.length + 10, before);
    assert.match(await page.locator('.tile svg').nth(2).getAttribute('aria-label'), /^Messages in \/ s, the last .*: now [\d,.]+, at most [\d,.]+$/);
  }));

test('the table changes without a reload', () =>
  withPage({}, async (page) => {
    const before = (await texts(page, 'activity')).join();
    await page.waitForFunction((was) => [...document.querySelectorAll('#grid tbody .col-activity > span')].map(({ textContent }) => textContent).join() !== was, before);
    await page.click('#pause');
    await seen(page, '#pause', 'Go on');
    await page.waitForTimeout(500);
    const still = (await texts(page, 'activity')).join();
    await page.waitForTimeout(2500);
    assert.equal((await texts(page, 'activity')).join(), still, 'a paused page stands still');
  }));

test('pages go through every connection once, and back', () =>
  withPage({}, async (page) => {
    await world.refill();
    await range(page, '1 – 100 of 5,000');
    const first = await ids(page);
    await page.click('#next');
    await range(page, '101 – 200 of 5,000');
    await page.click('#previous');
    await range(page, '1 – 100 of 5,000');
    assert.deepEqual(await ids(page), first);
    await page.selectOption('#limit', '500');
    const all = new Set();
    for (let start = 1; ; start += 500) {
      await range(page, `${start.toLocaleString('en')} – ${(start + 499).toLocaleString('en')} of 5,000`);
      for (const id of await ids(page)) all.add(id);
      if (start === 4501) break;
      await page.keyboard.press('n');
    }
    assert.equal(all.size, CONNECTIONS);
    assert.ok(await page.locator('#next').isDisabled());
    await page.click('#first');
    await range(page, '1 – 500 of 5,000');
  }));

test('search and filters ask the server, and stay in the address', () =>
  withPage({}, async (page) => {
    const peer = world.peer();
    await searchFor(page, peer);
    await range(page, '1 – 1 of 1');
    assert.deepEqual(await texts(page, 'peer'), [peer]);
    await page.reload();
    await range(page, '1 – 1 of 1');
    await searchFor(page, 'nobody is called so');
    await seen(page, '#empty', 'No connection matches');
    await page.locator('#q').press('Escape');
    await page.locator(ROW).nth(50).waitFor();
    await page.selectOption('#status-filter', 'websocket');
    await page.waitForFunction(() => location.hash.includes('status=websocket') && !document.getElementById('grid-box').ariaBusy);
    assert.deepEqual([...new Set(await texts(page, 'status'))], ['WebSocket']);
    await page.selectOption('#route-filter', '/echo');
    await page.waitForFunction(() => location.hash.includes('route=') && !document.getElementById('grid-box').ariaBusy);
    assert.deepEqual([...new Set(await texts(page, 'route'))], ['/echo']);
  }));

test('the server sorts, by what the heading says', () =>
  withPage({}, async (page) => {
    const values = (key) => page.evaluate((name) => [...document.querySelectorAll('#grid tbody tr')].map(({ socket }) => socket[name]), key);
    const sorted = (key, order) => page.waitForFunction(([name, sign]) => !document.getElementById('grid-box').ariaBusy && [...document.querySelectorAll('#grid tbody tr')].map(({ socket }) => socket[name]).every((value, i, all) => !i || sign * (value - all[i - 1]) >= 0), [key, order === 'asc' ? 1 : -1]);
    await page.click('#pause');
    const heading = page.locator('th.col-in');
    await heading.locator('button').click();
    assert.equal(await heading.getAttribute('aria-sort'), 'descending');
    await sorted('messages_in', 'desc');
    const top = (await values('messages_in'))[0];
    await heading.locator('button').click();
    await sorted('messages_in', 'asc');
    assert.equal(await heading.getAttribute('aria-sort'), 'ascending');
    assert.ok((await values('messages_in'))[0] <= top);
    await heading.locator('button').click();
    await seen(page, 'th.col-in .arrow', 'bytes');
    await sorted('bytes_in', 'desc');
    await page.click('#next');
    await range(page, `101 – 200 of ${(await page.locator('#total').textContent())}`);
    await sorted('bytes_in', 'desc');
  }));

test('interrupt asks first, then cuts', () =>
  withPage({}, async (page) => {
    const peer = world.peer();
    await searchFor(page, peer);
    await range(page, '1 – 1 of 1');
    await page.click(`${ROW} [data-act=interrupt]`);
    await seen(page, '#confirm-who', peer);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'confirm-cancel', 'Enter cuts nothing by accident');
    await page.keyboard.press('Enter');
    await page.locator('#confirm').waitFor({ state: 'hidden' });
    assert.ok(world.isOpen(peer));
    await page.click(`${ROW} [data-act=interrupt]`);
    await page.click('#confirm-do');
    await seen(page, '#toasts', 'Interrupted connection');
    assert.ok((await world.end(peer)).error, 'no Close frame');
    await seen(page, '#empty', 'No connection matches');
  }));

test('close takes a code and a reason, checks them, and the peer is told', () =>
  withPage({}, async (page) => {
    const peer = world.peer();
    await searchFor(page, peer);
    await range(page, '1 – 1 of 1');
    await page.click(`${ROW} [data-act=close]`);
    await page.fill('#code', '1006');
    await page.click('#confirm-do');
    await seen(page, '#confirm-error', 'never stand on the wire');
    await page.fill('#code', '4001');
    await page.fill('#reason', 'ü'.repeat(62));
    await page.click('#confirm-do');
    await seen(page, '#confirm-error', '1 byte too long');
    assert.ok(world.isOpen(peer));
    await page.fill('#reason', 'genug für heute & <b>mehr</b>');
    await page.press('#reason', 'Enter');
    await seen(page, '#toasts', 'with 4001');
    assert.deepEqual(await world.end(peer), { code: 4001, reason: 'genug für heute & <b>mehr</b>' });
    await seen(page, '#empty', 'No connection matches');
  }));

test('everything about one connection, live, until it ends', () =>
  withPage({}, async (page) => {
    const peer = world.peer();
    await searchFor(page, peer);
    await range(page, '1 – 1 of 1');
    await page.click(`${ROW} .col-route`);
    for (const term of ['Id', 'Application', 'Peer', 'Read lease', 'Waiting in', 'Waiting out']) await seen(page, '#details-list dt', term);
    await seen(page, '#details-list dd', peer);
    const [id] = await ids(page);
    await seen(page, '#details-list dd', id);
    await page.waitForFunction(() => document.querySelector('#details .value').textContent !== '–');
    await page.click('#details-interrupt');
    await page.click('#confirm-do');
    await seen(page, '#details-gone', 'has ended');
    assert.ok(await page.locator('#details-close').isDisabled());
    await page.keyboard.press('Escape');
    await page.locator('#details').waitFor({ state: 'hidden' });
  }));

test('the keyboard alone is enough', () =>
  withPage({ token: '' }, async (page) => {
    const peer = world.peer(), focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.tagName);
    assert.equal(await focus(), 'token');
    await page.keyboard.type(world.operator);
    await page.keyboard.press('Enter');
    await page.locator(ROW).first().waitFor();
    await page.keyboard.press('?');
    await seen(page, '#keys', 'search');
    await page.keyboard.press('Escape');
    await page.keyboard.press('j');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('j');
    assert.equal(await page.evaluate(() => document.activeElement.sectionRowIndex), 2);
    await page.keyboard.press('k');
    await page.keyboard.press('Enter');
    await seen(page, '#details-title', 'Connection');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.sectionRowIndex), 1, 'the focus comes back to the row');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Interrupt');
    await page.keyboard.press('/');
    await page.keyboard.type(peer);
    await range(page, '1 – 1 of 1');
    await page.keyboard.press('Enter');
    await page.locator('#q').blur();
    await page.keyboard.press('j');
    await page.keyboard.press('c');
    assert.equal(await focus(), 'code');
    await page.keyboard.type('1001');
    await page.keyboard.press('Tab');
    await page.keyboard.type('by hand');
    await page.keyboard.press('Enter');
    assert.deepEqual(await world.end(peer), { code: 1001, reason: 'by hand' });
  }));

test('a read-only token sees everything and can do nothing', () =>
  withPage({ token: world.readOnly }, async (page) => {
    await seen(page, '#access', 'Read-only');
    assert.equal(await page.locator('.col-actions:visible').count(), 0);
    await page.keyboard.press('j');
    await page.keyboard.press('i');
    await seen(page, '#toasts', 'read-only');
    assert.ok(await page.locator('#confirm').isHidden());
    await page.keyboard.press('Enter');
    await page.locator('#details').waitFor();
    assert.equal(await page.locator('#details .act:visible').count(), 0);
  }));

test('500 rows of 5,000 connections stay smooth', (t) =>
  withPage({}, async (page) => {
    await world.refill();
    await page.selectOption('#limit', '500');
    await range(page, '1 – 500 of 5,000');
    const { frames, longest, nodes } = await page.evaluate(async () => {
      let frames = 0, longest = 0, before = performance.now();
      for (const end = before + 5000; performance.now() < end; frames += 1) {
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        longest = Math.max(longest, now - before);
        before = now;
      }
      return { frames, longest, nodes: document.querySelectorAll('*').length };
    });
    t.diagnostic(`${frames} frames in 5 s, the longest ${Math.round(longest)} ms, ${nodes} elements`);
    assert.ok(longest < 1000, `the page stood still for ${Math.round(longest)} ms`);
    assert.ok(nodes < 500 * 45, `${nodes} elements for 500 rows`);
  }));

for (const [name, colorScheme, width, height, deviceScaleFactor, act] of [
  ['status-light', 'light', 1600, 1000, 1],
  ['status-dark', 'dark', 1600, 1000, 1],
  ['status-laptop-light', 'light', 1280, 800, 1],
  ['status-laptop-dark', 'dark', 1280, 800, 2],
  ['status-tablet-light', 'light', 1024, 1200, 1],
  ['status-narrow-light', 'light', 400, 860, 2],
  ['status-narrow-dark', 'dark', 400, 860, 2, (page) => page.locator(ROW).first().scrollIntoViewIfNeeded()],
  ['status-narrow-close', 'dark', 400, 860, 2, (page) => page.locator(`${ROW} [data-act=close]`).first().click()],
  ['status-details', 'light', 1280, 860, 1, (page) => page.locator(`${ROW} .col-route`).nth(3).click()],
  ['status-close', 'dark', 1280, 860, 1, (page) => page.locator(`${ROW} [data-act=close]`).first().click()],
  ['status-keys', 'light', 1280, 860, 1, (page) => page.click('#help-open')],
]) {
  test(`screenshot ${name}: nothing sticks out`, () =>
    withPage({ colorScheme, viewport: { width, height }, deviceScaleFactor }, async (page) => {
      await page.waitForFunction(() => document.querySelectorAll('.tile .value')[2].textContent !== '–');
      await page.waitForTimeout(2500);
      await act?.(page);
      await page.waitForTimeout(1200);
      const { inner, whole } = await page.evaluate(() => ({ inner: innerWidth, whole: document.documentElement.scrollWidth }));
      assert.ok(whole <= inner, `the page is ${whole} px wide in a window of ${inner} px`);
      const lost = await page.evaluate(() => [...document.querySelectorAll('#grid thead th, #pager button, .controls button')].filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1).map(({ textContent }) => textContent));
      assert.deepEqual(lost, [], 'headings and buttons that are cut off');
      await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
    }));
}

// ---- what only a made-up server can do ----
const withMock = (options, pageOptions, act) => async () => {
  const mock = await new MockAdmin(options).listen();
  try {
    await withPage({ token: mock.operator, url: mock.url, ...pageOptions }, (page) => act(page, mock));
  } finally {
    if (mock.server.listening) await mock.stop();
  }
};

test('the server goes: the page says so, and is back by itself', withMock({}, {}, async (page, mock) => {
  await mock.stop();
  await seen(page, '#banner', 'does not answer');
  assert.equal(await page.evaluate(() => document.body.dataset.link), 'gone');
  assert.equal(await page.locator(ROW).count(), 100, 'what was known stays');
  await page.screenshot({ path: path.join(SHOTS, 'status-gone.png') });
  await mock.listen(mock.port);
  await seen(page, '#toasts', 'answers again');
  assert.ok(await page.locator('#banner').isHidden());
  mock.started = Date.now();
  await seen(page, '#toasts', 'started anew');
  mock.tokens.clear();
  await seen(page, '#token-error', 'no longer accepts the token');
}));

test('a server in trouble is quoted, with its remedy', withMock({}, {}, async (page, mock) => {
  await page.locator(`${ROW} [data-act=interrupt]`).first().click();
  mock.trouble = refused(503, 'draining', 'The server is shutting down', 'Connect to another one');
  await page.click('#confirm-do');
  await seen(page, '#confirm-error', 'The server is shutting down. Connect to another one.');
  await page.click('#confirm-cancel');
  await seen(page, '#banner', 'The server is shutting down. Connect to another one.');
  mock.trouble = null;
  await page.click('#retry');
  await page.locator('#banner').waitFor({ state: 'hidden' });
  mock.draining = true;
  await seen(page, '#server-line', 'draining');
}));

test('a connection that has ended meanwhile is no error', withMock({}, {}, async (page, mock) => {
  await page.locator(`${ROW} [data-act=close]`).first().click();
  mock.sockets.splice(0, 10);
  await page.click('#confirm-do');
  await seen(page, '#toasts', 'had already ended');
}));

test('under a prefix of a proxy it is the same', withMock({ prefix: '/admin/', hostile: [{ session_id: 'sess-1' }] }, {}, async (page, mock) => {
  await page.locator(`${ROW} [data-act=close]`).nth(1).click();
  await page.click('#confirm-do');
  await until(() => mock.acts.length === 1);
  await page.locator(`${ROW} .col-route`).first().click();
  await page.click('#details-revoke');
  await page.click('#confirm-do');
  await seen(page, '#details-gone', 'has ended');
  assert.deepEqual(mock.requests.filter((line) => !/^[A-Z]+ \/admin\//.test(line)), []);
}));

test('a session is ended with all its connections', withMock({ hostile: [{ session_id: 'sess-1' }, { session_id: 'sess-1' }, {}] }, {}, async (page) => {
  await page.locator(`${ROW} .col-route`).first().click();
  await page.click('#details-revoke');
  await page.click('#confirm-do');
  await seen(page, '#toasts', '2 connections closed');
  await seen(page, '#details-gone', 'has ended');
}));

const HOSTILE = ['<script>window.hit=1</script>', '<img src=x onerror="window.hit=1">', '"><svg onload=window.hit=1>', "' onmouseover='window.hit=1", 'javascript:window.hit=1', '</script><script>window.hit=1</script>', '${window.hit=1}', '<b>bold</b>\u202e\u0000\u200b', 'x'.repeat(100_000), '__proto__', 'constructor'];
test('hostile names stay text', withMock({ hostile: HOSTILE.flatMap((text) => [{ route: text, peer: text, session_id: text, status: text }, { id: text }]) }, {}, async (page, mock) => {
  mock.refusals = Object.fromEntries(HOSTILE.map((text) => [text, 3]));
  mock.closes = Object.fromEntries(HOSTILE.map((text) => [text, 3]));
  const ask = page.waitForResponse((response) => response.url().includes('/v1/status'));
  await ask;
  await seen(page, '#ends', 'onerror');
  for (let i = 0; i < HOSTILE.length * 2; i += 1) {
    await page.locator(`${ROW} .col-number`).nth(i).click();
    await page.locator('#details').waitFor();
    await page.locator('#details-close').click();
    await page.click('#confirm-cancel');
    await page.locator('#details [data-dismiss]').click();
  }
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.locator('main :is(img, script, b), dialog :is(img, script, b)').count(), 0);
  assert.deepEqual(await page.evaluate(() => document.body.textContent.match(/[\u202e\u0000\u200b]/)), null, 'signs that are not seen are spelt out');
  assert.deepEqual((await texts(page, 'status')).slice(HOSTILE.length * 2 - 4, HOSTILE.length * 2).filter((_, i) => i % 2 === 0), ['__proto__', 'constructor']);
  await seen(page, `${ROW} .col-session`, '<b>bold</b>\\u{202e}\\u{0}\\u{200b}');
  const { inner, whole } = await page.evaluate(() => ({ inner: innerWidth, whole: document.documentElement.scrollWidth }));
  assert.ok(whole <= inner, 'a long name does not widen the page');
  await page.screenshot({ path: path.join(SHOTS, 'status-hostile.png') });
}));

test('a million connections cost the page what 500 do', withMock({ imagined: 1_000_000, connections: 10 }, {}, async (page, mock) => {
  await range(page, '1 – 100 of 1,000,000');
  await page.selectOption('#limit', '500');
  for (let start = 1; start < 7000; start += 500) {
    await range(page, `${start.toLocaleString('en')} – ${(start + 499).toLocaleString('en')} of 1,000,000`);
    await page.keyboard.press('n');
  }
  assert.equal(await page.locator(ROW).count(), 500);
  await page.locator('th.col-idle button').click();
  await range(page, '1 – 500 of 1,000,000');
  await seen(page, '#grid-note', 'search to narrow');
  for (let page_ = 1; page_ <= 20; page_ += 1) { await page.click('#next'); await range(page, `${(page_ * 500 + 1).toLocaleString('en')} – ${(page_ * 500 + 500).toLocaleString('en')} of 1,000,000`); }
  assert.ok(await page.locator('#next').isDisabled());
  // Slow lists are asked for less often.
  mock.delayMs = 1200;
  await page.waitForTimeout(4000);
  mock.requests = [];
  await page.waitForTimeout(10_000);
  const asked = mock.requests.filter((line) => line.includes('/v1/websockets')).length;
  assert.ok(asked >= 1 && asked <= 4, `${asked} times in 10 s`);
  assert.deepEqual(mock.requests.filter((line) => Number(/limit=(\d+)/.exec(line)?.[1]) > 500), []);
}));
