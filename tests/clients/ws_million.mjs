// Echoes N messages and checks every byte: node ws_million.mjs [N]  (1,000,000 by default)
// RINGWIRE_WS names the server, RINGWIRE_PATH another route than /echo, CONNECTIONS another number
// than 30. Each has 64 messages in flight; 0 to 2,000 bytes, and 100 KiB now and then.
import WebSocket from 'ws';

const TOTAL = Number(process.argv[2] ?? 1_000_000);
const URL_ECHO = (process.env.RINGWIRE_WS ?? '') + (process.env.RINGWIRE_PATH ?? '/echo');
const CONNECTIONS = Number(process.env.CONNECTIONS ?? 30);
const IN_FLIGHT = 64;
const BIG_BYTES = 100 * 1024;
const BIG_EVERY = 2_000;
const STALL_MS = 60_000;

if (!process.env.RINGWIRE_WS || !Number.isInteger(TOTAL) || TOTAL < 1) {
  console.error('usage: RINGWIRE_WS=ws://127.0.0.1:PORT node ws_million.mjs [N]');
  process.exit(2);
}

// Every payload is a window of this noise. Where it starts and how long it is follow from
// (connection, sequence), and its head spells both out: equal bytes prove the right message.
const PATTERN_BYTES = 1 << 18;
const pattern = Buffer.alloc(PATTERN_BYTES);
for (let i = 0, x = 1; i < PATTERN_BYTES; i += 1) {
  x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
  pattern[i] = x >>> 24;
}
const scratch = Buffer.alloc(BIG_BYTES);

function mix(connection, sequence) {
  let h = Math.imul(connection + 1, 0x9e3779b1) ^ Math.imul(sequence + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}

/** The payload of a message, in `scratch`: it stands until the next call. */
function payload(connection, sequence) {
  const h = mix(connection, sequence);
  const size = h % BIG_EVERY === 0 ? BIG_BYTES : h % 2001;
  const start = (h >>> 11) % (PATTERN_BYTES - BIG_BYTES);
  pattern.copy(scratch, 0, start, start + size);
  if (size >= 8) {
    scratch.writeUInt32LE(connection, 0);
    scratch.writeUInt32LE(sequence, 4);
  }
  return scratch.subarray(0, size);
}

let echoes = 0, bytes = 0, progress = 0;
function fail(why) {
  console.error(`FAILED after ${echoes} echoes: ${why}`);
  process.exit(1);
}

/** Runs one connection; ends when its share of the messages is back and the socket is closed. */
function runConnection(connection) {
  const share = Math.floor(TOTAL / CONNECTIONS) + (connection < TOTAL % CONNECTIONS ? 1 : 0);
  return new Promise((resolve) => {
    const ws = new WebSocket(URL_ECHO, { perMessageDeflate: false, skipUTF8Validation: true });
    let sent = 0, back = 0;
    const send = () => {
      // `ws` masks in place, so it is handed a copy of its own.
      ws.send(Buffer.from(payload(connection, sent)));
      sent += 1;
    };
    ws.on('open', () => {
      if (share === 0) return ws.close(1000);
      while (sent < Math.min(share, IN_FLIGHT)) send();
    });
    ws.on('message', (data, binary) => {
      if (!binary) fail(`connection ${connection}: message ${back} came back as text`);
      if (!payload(connection, back).equals(data)) fail(`connection ${connection}: message ${back} (${data.length} bytes) differs`);
      back += 1;
      echoes += 1;
      bytes += data.length;
      if (sent < share) send();
      else if (back === share) ws.close(1000);
    });
    ws.on('error', (error) => fail(`connection ${connection}: ${error.message}`));
    ws.on('close', (code) => (back === share && code === 1000 ? resolve() : fail(`connection ${connection}: closed with ${code} after ${back} of ${share}`)));
  });
}

const started = performance.now();
const watch = setInterval(() => {
  if (echoes === progress) fail(`nothing came back for ${STALL_MS / 1000} s`);
  progress = echoes;
}, STALL_MS);
await Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => runConnection(i)));
clearInterval(watch);
if (echoes !== TOTAL) fail(`${TOTAL} were sent`);
const seconds = (performance.now() - started) / 1000;
console.log(`${(bytes / 1e6).toFixed(0)} MB each way in ${seconds.toFixed(1)} s, ${Math.round(echoes / seconds)} echoes a second`);
console.log(`${echoes} echoes, byte-exact`);
