// Bun's own WebSocket server: /echo sends back what comes, /broadcast publishes it to everybody
// who is there. Bun answers what it reads in one go with one write by itself.
//
// bun server.ts HOST:PORT
const [host, port] = process.argv[2].split(':');

const server = Bun.serve<{ broadcast: boolean }>({
  hostname: host,
  port: Number(port),
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    const known = path === '/echo' || path === '/broadcast';
    if (known && server.upgrade(request, { data: { broadcast: path === '/broadcast' } })) return;
    return new Response('no such route', { status: 404 });
  },
  websocket: {
    perMessageDeflate: false,
    maxPayloadLength: 16 * 1024 * 1024,
    backpressureLimit: 64 * 1024 * 1024,
    idleTimeout: 0,
    open(socket) {
      if (socket.data.broadcast) socket.subscribe('all');
    },
    message(socket, message) {
      if (socket.data.broadcast) server.publish('all', message);
      else socket.send(message);
    },
  },
});
