/**
 * The origin's side: drops what comes in, counts it, and answers on the port for that. One loop, until stdin ends.
 *
 *   node dist/bench/load/sink.js
 */
import { AF_INET, bind, close, listen, tcpSocket } from '../../host/libc.js';
import { readCommands, STDIN, tell } from './commands.js';
import { PORT } from './protocol.js';
import { accept, discard, Poller, READABLE, receive, reuseAddress, send } from './sockets.js';

const ANY = new Uint8Array(4);
const BACKLOG = 4096;
const DISCARD_BYTES = 4 * 1024 * 1024;
const FOREVER = -1;
const ANSWER = Uint8Array.of(0x2b);
const request = Buffer.alloc(4096);

const poller = new Poller();
const listeners = new Map<number, 'drop' | 'answer'>();
/** What is done with each accepted connection. */
const connections = new Map<number, 'drop' | 'answer'>();
let bytes = 0;

function open(port: number, service: 'drop' | 'answer'): void {
  const fd = tcpSocket(AF_INET);
  reuseAddress(fd);
  bind(fd, ANY, port);
  listen(fd, BACKLOG);
  listeners.set(fd, service);
  poller.add(fd, READABLE);
}

function end(fd: number): void {
  connections.delete(fd);
  close(fd);
}

function acceptAll(listener: number, service: 'drop' | 'answer'): void {
  for (let fd = accept(listener); fd !== undefined; fd = accept(listener)) {
    connections.set(fd, service);
    poller.add(fd, READABLE);
  }
}

/** The client closes first. */
function answer(fd: number): void {
  const length = receive(fd, request);
  if (length > 0) send(fd, ANSWER);
  if (length === 0) end(fd);
}

function drop(fd: number): void {
  const length = discard(fd, DISCARD_BYTES);
  if (length > 0) bytes += length;
  if (length === 0) end(fd);
}

function ready(fd: number): void {
  if (fd === STDIN) {
    for (const { op } of readCommands()) {
      if (op === 'count')
        tell({ event: 'count', bytes, connections: connections.size, timeMs: performance.now() });
    }
    return;
  }
  const listening = listeners.get(fd);
  if (listening !== undefined) {
    acceptAll(fd, listening);
    return;
  }
  try {
    if (connections.get(fd) === 'answer') answer(fd);
    else drop(fd);
  } catch {
    end(fd); // reset by the client, which ends its runs that way
  }
}

open(PORT.bulk, 'drop');
open(PORT.probe, 'drop');
open(PORT.answer, 'answer');
poller.add(STDIN, READABLE);
tell({ event: 'ready' });
for (;;) poller.wait(FOREVER, ready);
