// The demo page in a real browser: what a person does with it, and what they see.
// RINGWIRE_URL names the running server; screenshots go to $SCREENSHOTS.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const URL_BASE = process.env.RINGWIRE_URL;
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const SHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL('../../target/screenshots', import.meta.url));
const TIMED_ECHO = '/csp/user/MyApp.MyWebSocketServer.cls';
let browser;

before(async () => {
  assert.ok(URL_BASE, 'set RINGWIRE_URL to the server under test, such as http://127.0.0.1:8080/');
  assert.ok(existsSync(CHROMIUM), `no browser at ${CHROMIUM}: install Debian's chromium, or name one in CHROMIUM`);
  mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--headless=new', '--no-sandbox'] });
});
after(() => browser?.close());

// A proxy that shows the server under /ws/ and nowhere else; a connection has one request.
async function proxyUnderPrefix() {
  const { hostname, port } = new URL(URL_BASE);
  const proxy = net.createServer((client) => client.once('data', (head) => {
    if (!head.toString('latin1').startsWith('GET /ws/')) return client.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
    const server = net.connect(port, hostname, () => server.write(head.toString('latin1').replace('GET /ws/', 'GET /'), 'latin1'));
    for (const socket of [client, server]) socket.on('error', () => {});
    client.pipe(server).pipe(client);
  }));
  await new Promise((resolve) => { proxy.listen(0, '127.0.0.1', resolve); });
  return { url: `http://127.0.0.1:${proxy.address().port}/ws/`, stop: () => proxy.close() };
}

// A page whose every console error, failed script and request to another host fails the test.
async function withPage({ url = URL_BASE, ...options }, act) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.setDefaultTimeout(20_000);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('request', (request) => request.url().startsWith(url) || request.url().startsWith('data:') || complaints.push(`fetched ${request.url()}`));
  try {
    await page.goto(url);
    await act(page);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

async function connect(page, route) {
  await page.fill('#route', route);
  await page.click('#connect');
  await seen(page, '#state', 'OPEN (1)');
}

async function say(page, text) {
  await page.fill('#message', text);
  await page.click('#send');
}

async function seen(page, selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}

const received = (page) => page.locator('#log .received .what').allTextContents();
const shot = (page, name) => page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: true });

test('echo: text comes back as it was, markup stays text', () =>
  withPage({}, async (page) => {
    assert.equal(await page.locator('#state').textContent(), 'no socket yet');
    assert.ok(await page.locator('#send').isDisabled());
    await connect(page, '/echo');
    const texts = ['häkchen ✓ 🦀', '<img src=x onerror="document.title=1">', ''];
    for (const [i, text] of texts.entries()) {
      await say(page, text);
      await page.locator('#log .received').nth(i).waitFor();
    }
    assert.deepEqual(await received(page), texts);
    assert.equal(await page.locator('#log img').count(), 0);
    await page.click('#send-binary');
    await seen(page, '#log .received', 'identical');
    await seen(page, '#log .received .size', '1,048,576 B');
    await page.waitForFunction(() => document.getElementById('buffered').textContent === '0');
  }));

test('the keyboard alone is enough', () =>
  withPage({}, async (page) => {
    await page.focus('#route');
    await page.keyboard.press('Enter');
    await seen(page, '#state', 'OPEN (1)');
    await page.waitForFunction(() => document.activeElement.id === 'message');
    await page.keyboard.type('one');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('two');
    await page.keyboard.press('Enter');
    await seen(page, '#log .received', 'one\ntwo');
  }));

test('close: code and reason go over and come back', () =>
  withPage({}, async (page) => {
    await connect(page, '/echo');
    await page.fill('#code', '4001');
    await page.fill('#reason', 'enough for today');
    await page.click('#close');
    await seen(page, '#state', 'CLOSED (3)');
    assert.equal(await page.locator('#close-info').textContent(), 'code 4001 · reason “enough for today” · wasClean true');
    await connect(page, '/echo');
    await page.fill('#code', '1006');
    await page.click('#close');
    await page.locator('#log .error').waitFor();
    assert.equal(await page.locator('#state').textContent(), 'OPEN (1)', 'a code that no one may send closes nothing');
  }));

test('round trips: a run ends with numbers in order', () =>
  withPage({}, async (page) => {
    await connect(page, '/echo');
    await page.fill('#rtt-count', '500');
    await page.fill('#rtt-size', '64');
    await page.click('#rtt-run');
    await seen(page, '#rtt-note', 'round trips a second');
    const cells = await page.locator('#rtt dd').allTextContents();
    const [p50, p95, max] = cells.map((cell) => Number(/^([\d.]+) ms$/.exec(cell)?.[1]));
    assert.ok(p50 >= 0 && p50 <= p95 && p95 <= max && max > 0, `p50 ${p50}, p95 ${p95}, max ${max}`);
    assert.match(await page.locator('#rtt-plot').getAttribute('aria-label'), /500 round-trip times/);
  }));

test('the log keeps the last 500 lines', () =>
  withPage({}, async (page) => {
    await connect(page, '/echo');
    await page.evaluate(() => {
      for (let i = 1; i <= 300; i += 1) {
        document.getElementById('message').value = `line ${i}`;
        document.getElementById('send').click();
      }
    });
    await page.locator('#log .received .what').filter({ hasText: /^line 300$/ }).waitFor();
    await page.waitForFunction(() => document.getElementById('log').childElementCount === 500);
    const back = await received(page);
    assert.deepEqual(back, Array.from({ length: back.length }, (_, i) => `line ${301 - back.length + i}`));
  }));

test('under a prefix of a proxy it connects there', async () => {
  const proxy = await proxyUnderPrefix();
  await withPage({ url: proxy.url }, async (page) => {
    await connect(page, '/echo');
    await say(page, 'through a proxy');
    await seen(page, '#log .received .what', 'through a proxy');
  });
  proxy.stop();
});

test('timed echo: the server speaks up after 10 s, and exit closes with 1000', () =>
  withPage({}, async (page) => {
    await page.click(`[data-route="${TIMED_ECHO}"]`);
    assert.equal(await page.inputValue('#route'), TIMED_ECHO);
    await connect(page, TIMED_ECHO);
    await seen(page, '#log .received', /^.*Server timed-out at \S+/);
    await say(page, 'still here');
    await seen(page, '#log .received', 'still here');
    await say(page, 'exit');
    await seen(page, '#state', 'CLOSED (3)');
    await seen(page, '#close-info', /^code 1000 .*wasClean true$/);
  }));

test('chat between two people', () =>
  withPage({}, (ann) => withPage({}, async (bob) => {
    await connect(ann, '/chat');
    assert.ok(await ann.locator('#rtt-run').isDisabled(), 'a chat is no echo');
    await say(ann, 'Ann');
    await seen(ann, '#log .received', '* Ann has joined');
    await connect(bob, '/chat');
    await say(bob, 'Bob');
    await seen(bob, '#log .received', '* Bob has joined');
    await say(ann, 'hello <b>Bob</b>');
    await seen(bob, '#log .received', 'Ann: hello <b>Bob</b>');
    await say(bob, 'hello Ann');
    await seen(bob, '#log .received', 'Bob: hello Ann');
    await bob.click('#close');
    await seen(ann, '#log .received', '* Bob has left');
    assert.deepEqual(await received(ann), ['* Ann has joined', '* Bob has joined', 'Ann: hello <b>Bob</b>', 'Bob: hello Ann', '* Bob has left']);
  })));

test('broadcast: both hear what one says, as it was said', () =>
  withPage({}, (ann) => withPage({}, async (bob) => {
    for (const page of [ann, bob]) {
      await page.click('[data-route="/broadcast"]');
      await connect(page, '/broadcast');
      await say(page, 'joined');
      await seen(page, '#log .received', 'joined');
    }
    await say(ann, 'hello all');
    for (const page of [ann, bob]) await seen(page, '#log .received', 'hello all');
    await bob.click('#send-binary');
    await seen(bob, '#close-info', 'code 1009');
    assert.equal(await ann.locator('#state').textContent(), 'OPEN (1)', 'too long a message is the end of its sender alone');
  })));

for (const [colorScheme, name, viewport, deviceScaleFactor] of [
  ['light', 'demo-light', { width: 1280, height: 900 }, 1],
  ['dark', 'demo-dark', { width: 1280, height: 900 }, 2],
  ['light', 'demo-narrow-light', { width: 400, height: 800 }, 2],
  ['dark', 'demo-narrow-dark', { width: 400, height: 800 }, 2],
]) {
  test(`screenshot ${name}: nothing sticks out`, () =>
    withPage({ colorScheme, viewport, deviceScaleFactor }, async (page) => {
      await connect(page, '/echo');
      await say(page, 'Hello, ring!');
      await page.click('#send-binary');
      await seen(page, '#log .received', 'identical');
      await page.fill('#rtt-count', '1000');
      await page.click('#rtt-run');
      await seen(page, '#rtt-note', 'round trips a second');
      await say(page, 'ein längerer Satz, der in einem schmalen Fenster umbrechen muss, damit nichts hinausragt');
      await seen(page, '#log .received', 'ein längerer');
      const { inner, whole } = await page.evaluate(() => ({ inner: innerWidth, whole: document.documentElement.scrollWidth }));
      assert.ok(whole <= inner, `the page is ${whole} px wide in a window of ${inner} px`);
      await shot(page, name);
    }));
}
