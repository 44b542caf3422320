/**
 * The two ends of the streams in the lab of transforms:
 *
 *   node dist/netns/stream-child.js serve                               on ports 7000 (plain) and 7001 (TLS)
 *   node dist/netns/stream-child.js get HOST PORT KIND LENGTH EDITION   one stream, to its end
 *   node dist/netns/stream-child.js echo HOST COUNT                     so many lines there and back, one after the other
 *
 * `get` prints `{"milliseconds", "bytes", "sha256"}`, `echo` `{"medianMs"}`. TLS is 1.2 with a key that both know, since
 * certificates show nothing here.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { STREAM_KINDS, streamContent } from './stream-content.js';

const PLAIN_PORT = 7000;
const TLS_PORT = 7001;
const PSK = { psk: createHash('sha256').update('lab').digest(), identity: 'lab' };
const CIPHERS = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const;
/** Between two lines of an echo, as of somebody who types. */
const PAUSE_MS = 20;
const LINE = 'x'.repeat(63) + '\n';

/** Answers `KIND LENGTH EDITION\n` with that stream, and anything else with what it is. */
function answer(socket: Socket): void {
  socket.on('error', () => socket.destroy()).setNoDelay();
  socket.once('data', (first: Buffer) => {
    const [kind = '', length = '', edition = ''] = first.toString('latin1').trim().split(' ');
    const known = STREAM_KINDS.find((one) => one === kind);
    if (known !== undefined) {
      socket.end(streamContent(known, Number(length), Number(edition)));
      return;
    }
    socket.write(first);
    socket.pipe(socket);
  });
}

async function serve(): Promise<void> {
  const plain = createServer(answer).listen(PLAIN_PORT);
  const tls = createTlsServer({ ...CIPHERS, pskCallback: () => PSK.psk }, answer).listen(TLS_PORT);
  await Promise.all([once(plain, 'listening'), once(tls, 'listening')]);
  process.stdout.write('ready\n');
}

function open(host: string, port: number): Socket {
  if (port !== TLS_PORT) return connect({ host, port, noDelay: true });
  const options = { host, port, ...CIPHERS, pskCallback: () => PSK, checkServerIdentity: () => undefined };
  return connectTls(options).setNoDelay();
}

async function get(host: string, port: number, request: string): Promise<object> {
  const started = performance.now();
  const socket = open(host, port);
  socket.write(`${request}\n`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { milliseconds: Math.round(performance.now() - started), bytes, sha256: hash.digest('hex') };
}

async function echo(host: string, count: number): Promise<object> {
  const socket = open(host, PLAIN_PORT);
  await once(socket, 'connect');
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    await delay(PAUSE_MS);
    const started = performance.now();
    socket.write(LINE);
    for (let left = LINE.length; left > 0;) left -= ((await once(socket, 'data')) as [Buffer])[0].length;
    times.push(performance.now() - started);
  }
  socket.destroy();
  return { medianMs: times.sort((a, b) => a - b)[Math.floor(count / 2)] };
}

const [task, host = '', ...rest] = process.argv.slice(2);
if (task === 'serve') await serve();
else if (task === 'get')
  process.stdout.write(JSON.stringify(await get(host, Number(rest[0]), rest.slice(1).join(' '))));
else process.stdout.write(JSON.stringify(await echo(host, Number(rest[0]))));
