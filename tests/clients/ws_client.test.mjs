// The server seen by the npm package `ws`, and by hand-made bytes where `ws` is too polite.
// RINGWIRE_WS names the running server, such as ws://127.0.0.1:8080.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, test } from 'node:test';
import WebSocket from 'ws';
import { cutAll, frame, rawWebSocket, request, shortFrame } from './raw.mjs';

const BASE = process.env.RINGWIRE_WS;
assert.ok(BASE, 'set RINGWIRE_WS to the server under test, such as ws://127.0.0.1:8080');
const MIB = 1 << 20;
const LIMITED = { timeout: 30_000 };

const opened = new Set();
afterEach(() => {
  for (const ws of opened) ws.terminate();
  opened.clear();
  cutAll();
});

/** The arguments of the next `event`; an early close or ten silent seconds are an error. */
function once(ws, event, wait_ms = 10_000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${wait_ms} ms`)), wait_ms);
    ws.once(event, (...got) => { clearTimeout(timer); resolve(got); });
    if (event !== 'close') ws.once('close', (code) => { clearTimeout(timer); reject(new Error(`closed with ${code}, no ${event}`)); });
  });
}

async function open(path = '/echo', options = {}) {
  const ws = new WebSocket(BASE + path, { maxPayload: 32 * MIB, perMessageDeflate: false, ...options });
  opened.add(ws);
  await once(ws, 'open');
  return ws;
}

async function echoed(ws, data) {
  ws.send(data);
  const [back, binary] = await once(ws, 'message');
  return { back, binary };
}

async function close(ws, code = 1000, reason = '') {
  ws.close(code, reason);
  const [gotCode, gotReason] = await once(ws, 'close');
  return { code: gotCode, reason: gotReason.toString() };
}

for (const size of [0, 1, 125, 126, 127, 65_535, 65_536, MIB, 16 * MIB]) {
  test(`echo of ${size} bytes, text and binary`, LIMITED, async () => {
    const ws = await open();
    const bytes = randomBytes(size);
    const binary = await echoed(ws, bytes);
    assert.ok(binary.binary, 'binary comes back as binary');
    assert.ok(bytes.equals(binary.back), 'the bytes are the same');
    const text = 'añ水🦀'.repeat(Math.floor(size / 10)) + 'x'.repeat(size % 10);
    const answer = await echoed(ws, text);
    assert.ok(!answer.binary, 'text comes back as text');
    assert.equal(answer.back.length, size);
    assert.ok(answer.back.equals(Buffer.from(text)), 'the text is the same');
    await close(ws);
  });
}

test('one byte more than 16 MiB closes with 1009', LIMITED, async () => {
  const ws = await open();
  ws.on('error', () => {});
  ws.send(randomBytes(16 * MIB + 1));
  const [code] = await once(ws, 'close');
  assert.equal(code, 1009);
});

test('a fragmented message with a ping between the fragments', LIMITED, async () => {
  const ws = await open();
  const message = once(ws, 'message');
  const pong = once(ws, 'pong');
  ws.send('one, ', { fin: false });
  ws.ping('between');
  ws.send('', { fin: false });
  assert.equal((await pong)[0].toString(), 'between', 'the pong does not wait for the message');
  ws.send('two', { fin: true });
  const [data, binary] = await message;
  assert.equal(data.toString(), 'one, two');
  assert.equal(binary, false);
  await close(ws);
});

test('a ping of 125 bytes is answered with the same bytes', LIMITED, async () => {
  const ws = await open();
  const payload = randomBytes(125);
  ws.ping(payload);
  const [back] = await once(ws, 'pong');
  assert.ok(payload.equals(back));
  ws.pong('nobody asked');
  assert.equal((await echoed(ws, 'alive')).back.toString(), 'alive');
  await close(ws);
});

for (const code of [1000, 3000, 4999]) {
  test(`close ${code} comes back with its reason`, LIMITED, async () => {
    const reason = 'ü'.repeat(61);
    assert.deepEqual(await close(await open(), code, reason), { code, reason });
  });
}

test('a close without a code is answered without one', LIMITED, async () => {
  const ws = await open();
  ws.close();
  assert.equal((await once(ws, 'close'))[0], 1005);
});

const OVERSIZED = Buffer.alloc(14);
OVERSIZED.set([0x82, 0xff]);
OVERSIZED.writeBigUInt64BE(BigInt(17 * MIB), 2);
for (const [name, bytes, code] of [
  ['an unmasked frame', Buffer.from([0x81, 0x02, 0x68, 0x69]), 1002],
  ['a reserved bit', frame(0xc1, 'hi'), 1002],
  ['a reserved opcode', frame(0x83, 'hi'), 1002],
  ['a fragmented ping', frame(0x09, 'hi'), 1002],
  ['a continuation of nothing', frame(0x80, 'hi'), 1002],
  ['a close with one byte', frame(0x88, [3]), 1002],
  ['a close with code 1006', frame(0x88, [0x03, 0xee]), 1002],
  ['17 MiB declared, not one byte of it sent', OVERSIZED, 1009],
  ['text that is no UTF-8', frame(0x81, [0x48, 0xc0, 0xaf]), 1007],
  ['text that ends inside a character', frame(0x81, [0xe6, 0xb0]), 1007],
  ['a close reason that is no UTF-8', frame(0x88, [0x03, 0xe8, 0xff]), 1007],
]) {
  test(`${name}: closed with ${code}`, LIMITED, async () => {
    const raw = await rawWebSocket(BASE, '/echo');
    raw.socket.write(bytes);
    const answer = await shortFrame(raw);
    assert.equal(answer?.first, 0x88, 'a close frame comes');
    assert.equal(answer.payload.readUInt16BE(0), code);
    assert.ok(await raw.until(() => raw.ended), 'the server ends the connection, with no answer from us');
    assert.equal(raw.input.length, 0, 'nothing follows the close frame');
  });
}

test('a message that arrives byte by byte', LIMITED, async () => {
  const raw = await rawWebSocket(BASE, '/echo');
  raw.socket.setNoDelay(true);
  for (const byte of frame(0x81, 'slowly')) {
    raw.socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const answer = await shortFrame(raw);
  assert.equal(answer?.first, 0x81);
  assert.equal(answer.payload.toString(), 'slowly');
  raw.socket.destroy();
});

for (const [name, path, headers, status] of [
  ['version 12', '/echo', { 'Sec-WebSocket-Version': '12' }, 426],
  ['a plain GET on a WebSocket route', '/echo', { Upgrade: null, Connection: null, 'Sec-WebSocket-Key': null, 'Sec-WebSocket-Version': null }, 426],
  ['an unknown path', '/no/such/route', {}, 404],
  ['a foreign Origin', '/echo', { Origin: 'https://elsewhere.example' }, 403],
]) {
  test(`${name}: refused with ${status}`, LIMITED, async () => {
    const answer = await request(BASE, path, headers);
    assert.equal(answer.status, status, answer.head);
    if (status === 426) assert.match(answer.head, /\r\nSec-WebSocket-Version: (.*\b)?13\b/i);
    assert.ok(await answer.raw.until(() => answer.raw.ended), 'the connection is closed after the refusal');
  });
}

test('the Origin of the page itself is welcome', LIMITED, async () => {
  const ws = await open('/echo', { origin: BASE.replace(/^ws/, 'http') });
  assert.equal((await echoed(ws, 'hello')).back.toString(), 'hello');
  await close(ws);
});

test('200 connections, 200 messages each, byte for byte', LIMITED, async () => {
  await Promise.all(Array.from({ length: 200 }, async (_, connection) => {
    const ws = await open();
    const sent = Array.from({ length: 200 }, (_, i) => randomBytes((connection * 37 + i * 101) % 1500));
    const done = new Promise((resolve, reject) => {
      let seen = 0;
      ws.on('message', (data) => {
        if (!sent[seen].equals(data)) reject(new Error(`connection ${connection}: message ${seen} differs`));
        seen += 1;
        if (seen === sent.length) resolve();
      });
      ws.on('close', (code) => reject(new Error(`connection ${connection}: closed with ${code} after ${seen}`)));
    });
    for (const message of sent) ws.send(message);
    await done;
    ws.removeAllListeners('close');
    await close(ws);
  }));
});
