/* gRPC by grpc-js, without .proto files: messages are bytes.
 *
 *     node grpc_peer.js serve PORT            Unary, Down, Up and Both of /t.T/
 *     node grpc_peer.js call HOST:PORT        reads one JSON call from standard input, prints what came of it as JSON
 *
 * A call: {method, messages: [text], deadline_ms, leave_after, metadata: {name: value}}. Metadata that the server obeys: x-code
 * (end with this status), x-wait (milliseconds before the answer), x-fail and x-key (UNAVAILABLE so many times for this key),
 * x-count (messages of Down), x-size (bytes of each). */
'use strict';
const grpc = require('@grpc/grpc-js');

const same = (b) => b;
const method = (name, requestStream, responseStream) => ({
  path: `/t.T/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const service = {
  Unary: method('Unary', false, false), Down: method('Down', false, true),
  Up: method('Up', true, false), Both: method('Both', true, true),
};
const large = { 'grpc.max_receive_message_length': -1 };
const seen = new Map();

function trouble(call) {
  const word = (name) => call.metadata.get(name)[0];
  const key = word('x-key');
  if (key) {
    seen.set(key, (seen.get(key) || 0) + 1);
    if (seen.get(key) <= Number(word('x-fail'))) return { code: 14, details: `failure ${seen.get(key)}` };
  }
  if (word('x-code')) return { code: Number(word('x-code')), details: 'as you wish: ü 100%' };
  return null;
}

const after = (call, what) => setTimeout(what, Number(call.metadata.get('x-wait')[0] || 0));

function end_metadata(call) {
  const m = new grpc.Metadata();
  m.set('x-deadline', call.metadata.get('grpc-timeout')[0] || '');
  m.set('x-attempt', call.metadata.get('x-envoy-attempt-count')[0] || '');
  m.set('x-left', String(Math.round(call.getDeadline() - Date.now())));
  return m;
}

const server_of = {
  Unary: (call, done) => after(call, () => {
    const bad = trouble(call);
    bad ? done({ ...bad, metadata: end_metadata(call) }) : done(null, call.request, end_metadata(call));
  }),
  Down: (call) => after(call, () => {
    const bad = trouble(call);
    const size = Number(call.metadata.get('x-size')[0] || 5);
    for (let i = 0; i < Number(call.metadata.get('x-count')[0] || 3); i++) call.write(Buffer.alloc(size, 97 + (i % 26)));
    bad ? call.emit('error', bad) : call.end(end_metadata(call));
  }),
  Up: (call, done) => {
    let count = 0, bytes = 0;
    call.on('data', (m) => { count++; bytes += m.length; });
    call.on('end', () => done(null, Buffer.from(`${count} messages, ${bytes} bytes`), end_metadata(call)));
  },
  Both: (call) => {
    call.on('data', (m) => call.write(m));
    call.on('end', () => call.end(end_metadata(call)));
  },
};

function serve(port) {
  const s = new grpc.Server(large);
  s.addService(service, server_of);
  s.bindAsync(`[::]:${port}`, grpc.ServerCredentials.createInsecure(), (e) => { if (e) throw e; });
}

function call(to, wish) {
  const Client = grpc.makeGenericClientConstructor(service, 'T');
  const c = new Client(to, grpc.credentials.createInsecure(), { ...large, 'grpc.enable_retries': 0 });
  const metadata = new grpc.Metadata();
  const options = wish.deadline_ms ? { deadline: Date.now() + wish.deadline_ms } : {};
  const messages = (wish.messages || ['']).map((m) => Buffer.from(m));
  const told = { messages: [], code: 0, details: '', head: {}, end: {} };
  const began = Date.now();
  let ending = false;

  for (const [k, v] of Object.entries(wish.metadata || {})) metadata.set(k, v);
  const take = (m) => told.messages.push(m.length > 200 ? { length: m.length, first: m[0] } : m.toString());
  const done = () => {
    if (ending) return;
    ending = true;
    told.ms = Date.now() - began;
    console.log(JSON.stringify(told));
    c.close();
    process.exit(0);
  };
  const answered = (e, m) => { if (m) take(m); };
  let s;
  if (wish.method === 'Unary') s = c.Unary(messages[0], metadata, options, answered);
  else if (wish.method === 'Down') s = c.Down(messages[0], metadata, options);
  else if (wish.method === 'Up') s = c.Up(metadata, options, answered);
  else s = c.Both(metadata, options);
  s.on('metadata', (m) => { told.head = m.getMap(); });
  s.on('status', (st) => {
    Object.assign(told, { code: st.code, details: st.details, end: st.metadata.getMap() });
    setTimeout(done, 20);
  });
  s.on('error', () => {});
  if (wish.method === 'Up') { messages.forEach((m) => s.write(m)); s.end(); }
  if (wish.method === 'Down' || wish.method === 'Both') {
    let next = 0;
    s.on('data', (m) => {
      take(m);
      if (wish.method === 'Both' && next < messages.length) s.write(messages[next++]); /* one after the answer to the other */
      else if (wish.method === 'Both') s.end();
      if (wish.leave_after === told.messages.length) s.cancel();
    });
    if (wish.method === 'Both') s.write(messages[next++]);
  }
}

if (process.argv[2] === 'serve') {
  serve(Number(process.argv[3]));
} else {
  let text = '';
  process.stdin.on('data', (part) => { text += part; });
  process.stdin.on('end', () => call(process.argv[3], JSON.parse(text)));
}
