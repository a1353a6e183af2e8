// The `ws` package with `bufferutil`, as its own documentation shows it: /echo sends back what
// comes, /broadcast sends it to everybody who is there.
//
// node server.mjs HOST:PORT
import { WebSocket, WebSocketServer } from 'ws';
import 'bufferutil';

const [host, port] = process.argv[2].split(':');
const members = new Set();

const server = new WebSocketServer({
  host,
  port: Number(port),
  backlog: 4096,
  perMessageDeflate: false,
  maxPayload: 16 * 1024 * 1024,
});

server.on('connection', (socket, request) => {
  socket.on('error', () => {});
  if (request.url === '/echo') {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  } else if (request.url === '/broadcast') {
    members.add(socket);
    socket.on('close', () => members.delete(socket));
    socket.on('message', (data, isBinary) => {
      for (const member of members) {
        if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
      }
    });
  } else {
    socket.close(1008, 'no such route');
  }
});
