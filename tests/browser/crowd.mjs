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
      socket.on('close', () => this.ended(port, { error: 'closed' }));
    });
  }

  // Only a Close frame, or a ping, that arrives by itself is understood; other frames are let pass.
  heard(socket, port, data) {
    const length = data.length > 1 ? data[1] & 0x7f : 0;
    if (data[0] === 0x88 && data.length >= 2 + length) {
      this.ended(port, length >= 2 ? { code: data.readUInt16BE(2), reason: data.toString('utf8', 4, 2 + length) } : { code: 1005, reason: '' });
      socket.end(frame(8, data.subarray(2, 4)));
    } else if (data[0] === 0x89) socket.write(frame(10, data.subarray(2, 2 + length)));
  }

  ended(port, how) {
    if (!this.ends.has(port)) this.ends.set(port, how);
    this.members.delete(port);
  }

  // Sends one message from every nth member.
  speak(text, every = 1) {
    const message = frame(1, Buffer.from(text));
    [...this.members.values()].forEach((socket, i) => { if (i % every === 0) socket.write(message); });
  }

  leave() { for (const socket of this.members.values()) socket.destroy(); }
}

// A masked frame of at most 125 bytes; the mask is zero, which is a mask as well.
function frame(op, payload) {
  return Buffer.concat([Buffer.from([0x80 | op, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const crowd = await new Crowd(process.argv[2]).open(Number(process.argv[3] ?? 5000));
  console.log(`${crowd.members.size} open`);
  setInterval(() => crowd.speak('hello', 5), 1000);
}
