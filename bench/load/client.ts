/**
 * The client's side: pushes, sends at intervals, or sets connections up. One loop, until stdin ends.
 *
 *   node dist/bench/load/client.js                  plain
 *   tpot-node run -- node dist/bench/load/client.js tunnelled to the node
 */
import { writeFileSync } from 'node:fs';
import { messageOf, TpotError } from '../../core/errors.js';
import { close } from '../../host/libc.js';
import { readCommands, STDIN, tell } from './commands.js';
import { establish } from './dial.js';
import { MARK, type LoadCommand } from './protocol.js';
import {
  abort,
  FAILED,
  limitRate,
  memoryFile,
  Poller,
  READABLE,
  send,
  sendAtOnce,
  sendPages,
  sleepMicroseconds,
  WRITABLE,
} from './sockets.js';
import { setUp } from './setup.js';

type CommandOf<Op extends LoadCommand['op']> = Extract<LoadCommand, { op: Op }>;

const FOREVER = -1;
/** Queued with one call; the kernel takes as much of it as fits. */
const PUSH_BYTES = 1024 * 1024;
const MAX_PUSH_MS = 120_000;
const STEP_MS = 100;
const COUNTER_OFFSET = MARK.length;

const pages = memoryFile('load');
writeFileSync(`/proc/self/fd/${pages}`, Buffer.alloc(PUSH_BYTES));

/** Connections that stand and have carried a mark, after the rest in which a node may take them out of its hands. */
function prepare(
  poller: Poller,
  target: CommandOf<'bulk'>['target'],
  count: number,
  restMs: number,
): number[] {
  const fds = establish(poller, target, count);
  for (const fd of fds) send(fd, MARK);
  sleepMicroseconds(restMs * 1000);
  return fds;
}

/** Pushes until the bench says stop, or is gone, or has forgotten us. */
function bulk({ target, connections, restMs, rate }: CommandOf<'bulk'>): void {
  const poller = new Poller();
  const fds = prepare(poller, target, connections, restMs);
  for (const fd of fds) {
    if (rate > 0) limitRate(fd, rate / connections);
    poller.add(fd, WRITABLE);
  }
  poller.add(STDIN, READABLE);
  tell({ event: 'connected' });
  const deadline = performance.now() + MAX_PUSH_MS;
  let bytes = 0;
  const state = { going: true };
  try {
    while (state.going && performance.now() < deadline) {
      poller.wait(STEP_MS, (fd, what) => {
        if (fd === STDIN) state.going &&= !readCommands().some(({ op }) => op === 'stop');
        else if (what & FAILED) throw new TpotError('load-failed', 'a connection broke under load');
        else bytes += Math.max(0, sendPages(fd, pages, PUSH_BYTES));
      });
    }
  } finally {
    fds.forEach(abort);
    poller.close();
  }
  tell({ event: 'stopped', bytes });
}

function burst({ target, bytes, restMs }: CommandOf<'burst'>): void {
  const poller = new Poller();
  const [fd = -1] = prepare(poller, target, 1, restMs);
  poller.add(fd, WRITABLE);
  let left = bytes;
  while (left > 0) {
    poller.wait(FOREVER, (_, what) => {
      if (what & FAILED) throw new TpotError('load-failed', 'the connection broke under load');
      left -= Math.max(0, sendPages(fd, pages, Math.min(left, PUSH_BYTES)));
    });
  }
  close(fd); // what is queued is still sent
  poller.close();
  tell({ event: 'burst-done', bytes });
}

function paced({ target, size, count, intervalUs, restMs }: CommandOf<'paced'>): void {
  const poller = new Poller();
  const [fd = -1] = establish(poller, target, 1);
  poller.close();
  sendAtOnce(fd);
  const message = Buffer.alloc(size);
  MARK.copy(message);
  const started = performance.now();
  for (let number = 0; number < count; number++) {
    message.writeUInt32BE(number, COUNTER_OFFSET);
    if (send(fd, message) !== size) throw new TpotError('load-failed', 'the connection is stuck');
    const due = started + restMs + (number * intervalUs) / 1000;
    sleepMicroseconds(Math.max(0, Math.round((due - performance.now()) * 1000)));
  }
  close(fd);
  tell({ event: 'paced-done' });
}

function obey(command: LoadCommand): void {
  if (command.op === 'bulk') bulk(command);
  else if (command.op === 'burst') burst(command);
  else if (command.op === 'paced') paced(command);
  else if (command.op === 'setup') tell({ event: 'setup-done', ...setUp(command) });
}

const idle = new Poller();
idle.add(STDIN, READABLE);
tell({ event: 'ready' });
for (;;) {
  idle.wait(FOREVER, () => {
    for (const command of readCommands()) {
      try {
        obey(command);
      } catch (error) {
        tell({ event: 'error', message: messageOf(error) });
      }
    }
  });
}
