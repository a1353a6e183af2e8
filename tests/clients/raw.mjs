// A bare TCP client for what a well-behaved WebSocket client would never send.
import { once } from 'node:events';
import net from 'node:net';

const connected = new Set();

/** Cuts whatever is still connected, so that a failed test cannot keep the process alive. */
export function cutAll() {
  for (const socket of connected) socket.destroy();
  connected.clear();
}

/** Connects, sends `text` and gathers what comes back. */
export async function rawConnect(base, text) {
  const { hostname, port } = new URL(base);
  const socket = net.connect(Number(port), hostname);
  connected.add(socket);
  const raw = { socket, input: Buffer.alloc(0), ended: false };
  let wake = () => {};
  socket.on('data', (data) => { raw.input = Buffer.concat([raw.input, data]); wake(); });
  socket.on('error', () => {});
  socket.on('close', () => { raw.ended = true; wake(); });
  // Waits until `enough()` is true, the peer has closed, or ten seconds are over.
  raw.until = async (enough) => {
    const deadline = Date.now() + 10_000;
    while (!enough() && !raw.ended && Date.now() < deadline) {
      await new Promise((resolve) => { wake = resolve; setTimeout(resolve, deadline - Date.now()).unref(); });
    }
    return enough();
  };
  await once(socket, 'connect');
  socket.write(text);
  return raw;
}

/** The text of an opening handshake; `headers` overrides or, with null, leaves out. */
export function opening(base, path, headers = {}) {
  const all = {
    Host: new URL(base).host,
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    ...headers,
  };
  const lines = Object.entries(all).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** Sends an opening and returns the status and the head of the answer, and the connection. */
export async function request(base, path, headers) {
  const raw = await rawConnect(base, opening(base, path, headers));
  await raw.until(() => raw.input.includes('\r\n\r\n'));
  const end = raw.input.indexOf('\r\n\r\n') + 4;
  const head = raw.input.subarray(0, end).toString('latin1');
  raw.input = raw.input.subarray(end);
  return { raw, head, status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]) };
}

/** Opens a WebSocket by hand. */
export async function rawWebSocket(base, path) {
  const { raw, head, status } = await request(base, path);
  if (status !== 101 || !/\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/i.test(head)) {
    throw new Error(`the opening was answered with ${head}`);
  }
  return raw;
}

/** A masked client frame: `first` is the byte with FIN, RSV and opcode. */
export function frame(first, payload, mask = Buffer.from([0x37, 0xfa, 0x21, 0x3d])) {
  const data = Buffer.from(payload).map((byte, i) => byte ^ mask[i % 4]);
  return Buffer.concat([Buffer.from([first, 0x80 | data.length]), mask, data]);
}

/** Waits for one short server frame; returns its first byte and payload, or null when none came. */
export async function shortFrame(raw) {
  const whole = await raw.until(() => raw.input.length >= 2 && raw.input.length >= 2 + raw.input[1]);
  if (!whole) return null;
  const [first, length] = raw.input;
  const payload = raw.input.subarray(2, 2 + length);
  raw.input = raw.input.subarray(2 + length);
  return { first, payload };
}
