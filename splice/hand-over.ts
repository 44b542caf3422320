/**
 * Handing a connection over from two sockets to two mappings, so that no byte, FIN or RST is lost whichever instant it
 * arrives at.
 *
 * ```
 *   relaying ──idle, or tired of waiting──▶ holding ──settled, idle──▶ reading ──▶ joined ──settled──▶ left
 *       ▲                                      │                         │
 *       └──────── time over: released ◀────────┴──── cannot be joined ◀──┘
 * ```
 *
 * - *Holding*: data that arrives is dropped before TCP sees it, and its sender sends it again; ACKs still reach the
 *   sockets, so that what they have sent drains, and so does a RST, which ends the hand-over.
 * - *Settled*: no packet is under way any longer between the place where it would be dropped and its socket. Only
 *   then is what the sockets say of their queues the whole truth, and stays it.
 * - *Joined*: both mappings are in force and the sockets see nothing any more. A RST that was let through just before
 *   is looked for once more, after settling, before the sockets are closed without a word.
 */
import type { Joined, RelayedReason } from './join.js';

/** What the procedure does to one connection. Nothing here waits. */
export interface HandOverPort {
  /** Whether a side has ended or is lost. */
  over(): boolean;
  /** Whether nothing is queued in either direction, neither in the kernel nor in this process. */
  idle(): boolean;
  /** Begins to hold both directions; false when the table is full. */
  hold(): boolean;
  /** Ends the hold: the sockets go on as before. */
  release(): void;
  /** Returns when no packet is under way to a socket that was so before. */
  settle(): void;
  /** Reads the exact state of both sockets; what it did to them is undone when they cannot be joined. */
  read(): Joined;
  /** Puts both mappings in force. */
  join(joined: Joined & { readonly ok: true }): void;
  /** Closes both sockets silently, or, when one was reset meanwhile, resets the other. */
  leave(): void;
}

export type HandOverResult = 'spliced' | 'busy' | RelayedReason;

/** The second half, when both directions are held, settled and idle. */
function finish(port: HandOverPort): HandOverResult {
  const joined = port.read();
  if (!joined.ok) {
    port.release();
    return joined.reason;
  }
  port.join(joined);
  port.settle();
  port.leave();
  return 'spliced';
}

/** One attempt in one go: a connection that is not idle at this instant is `busy`. */
export function handOverIdle(port: HandOverPort): HandOverResult {
  if (port.over()) return 'relayed-closing';
  if (!port.idle()) return 'busy';
  if (!port.hold()) return 'relayed-limit';
  port.settle();
  if (port.idle()) return finish(port);
  port.release(); // something came just before the hold
  return 'busy';
}

/** As {@link handOverIdle}, but holds until what is under way has drained, for at most `patience` milliseconds. */
export async function handOverHolding(
  port: HandOverPort,
  patience: number,
  clock: { monotonic(): number; wait(ms: number): Promise<void> },
): Promise<HandOverResult> {
  if (port.over()) return 'relayed-closing';
  if (!port.hold()) return 'relayed-limit';
  port.settle();
  const until = clock.monotonic() + patience;
  while (!port.over()) {
    if (port.idle()) return finish(port);
    if (clock.monotonic() >= until) break;
    await clock.wait(1);
  }
  port.release();
  return port.over() ? 'relayed-closing' : 'busy';
}
