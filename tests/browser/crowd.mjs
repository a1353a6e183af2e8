// Many WebSocket clients on bare TCP, for tests that need thousands of live sockets and want to see
// how each one ended. By itself: node crowd.mjs ws://127.0.0.1:8080/echo [CONNECTIONS]
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

const AT_ONCE = 100, KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

export class Crowd {
  constructor(url) {
    const { hostname, port, pathname } = new URL(url);
    Object.assign(this, { hostname, port, pathname, members: new Map(), ends: new Map() });
  }

  async open(count) {
    for (let left = count; left > 0; left -= AT_ONCE) await Promise.all(Array.from({ length: Math.min(left, AT_ONCE) }, () => this.join()));
    return this;
  }

  // Resolves with the local port, by which the server names the peer.
  join() {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: this.hostname, port: this.port, noDelay: true });
      let port = 0, head = Buffer.alloc(0), opened = false;
      socket.on('connect', () => {
        port = socket.localPort;
        socket.write(`GET ${this.pathname} HTTP/1.1\r\nHost: ${this.hostname}:${this.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`);
      });
      socket.on('data', (data) => {
        if (opened) return this.heard(socket, port, data);
        head = Buffer.concat([head, data]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return undefined;
        if (!head.toString('latin1').startsWith('HTTP/1.1 101')) { reject(new Error(`refused: ${head.toString('latin1', 0, 80)}`)); return socket.destroy(); }
        opened = true;
        this.members.set(port, socket);
        resolve(port);
        return this.heard(socket, port, head.subarray(end + 4));
      });
      socket.on('error', (error) => { if (opened) this.ended(port, { error: error.code }); else reject(error); });
      socket.on('close', () => this.ended(port, { error: 'closed without a Close frame' }));
    });
  }

  heard(socket, port, data) {
    let bytes = socket.rest ? Buffer.concat([socket.rest, data]) : data;
    for (;;) {
      const frame = readFrame(bytes);
      if (!frame) break;
      bytes = bytes.subarray(frame.end);
      if (frame.op === 8) return this.closed(socket, port, frame.payload);
      if (frame.op === 9) socket.write(makeFrame(10, frame.payload));
    }
    socket.rest = bytes.length ? bytes : null;
    return undefined;
  }

  closed(socket, port, payload) {
    this.ended(port, payload.length >= 2 ? { code: payload.readUInt16BE(0), reason: payload.toString('utf8', 2) } : { code: 1005, reason: '' });
    socket.end(makeFrame(8, payload.subarray(0, 2)));
  }

  ended(port, how) {
    if (!this.ends.has(port)) this.ends.set(port, how);
    this.members.delete(port);
  }

  // Sends one message from every nth member.
  speak(text, every = 1) {
    const message = makeFrame(1, Buffer.from(text));
    [...this.members.values()].forEach((socket, i) => { if (i % every === 0) socket.write(message); });
  }

  leave() { for (const socket of this.members.values()) socket.destroy(); }
}

// A masked frame of at most 125 bytes; the mask is zero, which is a mask as well.
function makeFrame(op, payload) {
  return Buffer.concat([Buffer.from([0x80 | op, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

// The first frame of what a server sent, if it is whole.
function readFrame(bytes) {
  if (bytes.length < 2) return null;
  const short = bytes[1] & 0x7f, head = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < head) return null;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  return bytes.length < head + length ? null : { op: bytes[0] & 15, payload: bytes.subarray(head, head + length), end: head + length };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const crowd = await new Crowd(process.argv[2]).open(Number(process.argv[3] ?? 5000));
  console.log(`${crowd.members.size} open`);
  setInterval(() => crowd.speak('hello', 5), 1000);
}
