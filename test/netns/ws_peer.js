/* WebSocket by ws.
 *
 *     node ws_peer.js serve PORT     echoes; "do WHAT" is an order: close CODE REASON, ping TEXT, drop, bytes N.
 *                                    Paths: /refuse/STATUS answers with that instead; /hello speaks first
 *     node ws_peer.js call URL       reads a wish from standard input, prints what came of it; both are JSON
 *
 * A wish: {send: [text | {bytes: N} | {ping: text} | {close: [code, reason]}], protocols, headers, deflate, and when to
 * end: wait (after so many messages), leave (then without a close), until_pong}. */
'use strict';
const http = require('http');
const { WebSocket, WebSocketServer } = require('ws');

const filled = (n) => { const b = Buffer.alloc(n); for (let i = 0; i < n; i++) b[i] = (i * 7 + (i >> 8)) & 255; return b; };

function serve(port) {
  const web = http.createServer((q, a) => { a.setHeader('x-app', 'ws'); a.end(`plain ${q.url} ${q.headers.upgrade || '-'}`); });
  const s = new WebSocketServer({ noServer: true, handleProtocols: (p) => p.values().next().value, maxPayload: 1 << 26 });
  web.on('upgrade', (q, socket, head) => {
    const [, word, value] = q.url.split('/');
    if (word === 'refuse') {
      return socket.end(`HTTP/1.1 ${value} No\r\nContent-Length: 3\r\nX-App: ws\r\n\r\nno\n`);
    }
    s.handleUpgrade(q, socket, head, (w) => {
      if (word === 'hello') w.send(`hello ${q.headers['x-mine'] || ''} ${q.headers['x-envoy-attempt-count']} ${q.httpVersion}`);
      w.on('message', (m, binary) => {
        const [order, verb, ...rest] = binary ? [] : m.toString().split(' ');
        if (order !== 'do') return w.send(m, { binary });
        if (verb === 'close') w.close(Number(rest[0]), rest[1]);
        else if (verb === 'ping') w.ping(rest[0]);
        else if (verb === 'bytes') w.send(filled(Number(rest[0])));
        else if (verb === 'drop') w.terminate();
      });
    });
  });
  web.listen(port, '::');
}

function call(url, wish) {
  const told = { messages: [], pings: [], pongs: [], status: 101, body: '', code: null, reason: '', protocol: '' };
  const options = { headers: wish.headers || {}, maxPayload: 1 << 26, perMessageDeflate: !!wish.deflate };
  const w = new WebSocket(url, wish.protocols || [], options);
  const done = () => { console.log(JSON.stringify(told)); process.exit(0); };
  w.on('open', () => {
    told.protocol = w.protocol;
    for (const m of wish.send || []) {
      if (typeof m === 'string') w.send(m);
      else if (m.bytes) w.send(filled(m.bytes));
      else if (m.ping) w.ping(m.ping);
      else if (m.close) w.close(...m.close);
    }
  });
  w.on('message', (m, binary) => {
    told.messages.push(binary ? { bytes: m.length, same: m.equals(filled(m.length)) } : m.toString());
    if (told.messages.length === wish.wait) wish.leave ? done() : w.close(1000);
  });
  w.on('ping', (m) => told.pings.push(m.toString()));
  w.on('pong', (m) => { told.pongs.push(m.toString()); if (wish.until_pong) w.close(1000); });
  w.on('close', (code, reason) => { Object.assign(told, { code, reason: reason.toString() }); done(); });
  w.on('unexpected-response', (_, a) => {
    told.status = a.statusCode;
    a.on('data', (d) => { told.body += d; });
    a.on('end', done);
  });
  w.on('error', (e) => {
    told.error = e.message;
    if (told.status === 101 && w.readyState !== WebSocket.OPEN) setTimeout(done, 50);
  });
}

if (process.argv[2] === 'serve') {
  serve(Number(process.argv[3]));
} else {
  let text = '';
  process.stdin.on('data', (part) => { text += part; });
  process.stdin.on('end', () => call(process.argv[3], JSON.parse(text)));
}
