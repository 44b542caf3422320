/** Opening connections, through SOCKS 5 where the target says so. */
import { TpotError } from '../../core/errors.js';
import type { Poller } from './sockets.js';
import { abort, connectTo, FAILED, READABLE, receive, send, WRITABLE } from './sockets.js';
import type { Target } from './protocol.js';
import {
  SOCKS_GREETING,
  SOCKS_METHOD_LENGTH,
  SOCKS_REPLY_LENGTH,
  socksConnected,
  socksMethodAccepted,
  socksRequest,
} from './socks.js';

const DIAL_TIMEOUT_MS = 10_000;
const STEP_MS = 200;

type Stage = 'connecting' | 'method' | 'reply';

function failed(target: Target, what: string): TpotError {
  return new TpotError('dial-failed', `${target.address}:${target.port}: ${what}`);
}

/** Exactly so many bytes; undefined when none are there yet. The answers are shorter than any segment. */
function readAnswer(fd: number, target: Target, length: number): Uint8Array | undefined {
  const answer = Buffer.alloc(length);
  const got = receive(fd, answer);
  if (got < 0) return undefined;
  if (got < length) throw failed(target, 'the SOCKS server gave a short answer');
  return answer;
}

/** Takes sockets from connect() to where the destination can be talked to. */
export class Dialer {
  readonly #poller: Poller;
  readonly #target: Target;
  readonly #stages = new Map<number, Stage>();

  constructor(poller: Poller, target: Target) {
    this.#poller = poller;
    this.#target = target;
  }

  dial(): number {
    const { address, port } = this.#target.socks ?? this.#target;
    const fd = connectTo(address, port);
    this.#stages.set(fd, 'connecting');
    this.#poller.add(fd, WRITABLE);
    return fd;
  }

  isDialing(fd: number): boolean {
    return this.#stages.has(fd);
  }

  forget(fd: number): void {
    this.#stages.delete(fd);
  }

  /** The socket is ready for something; true when the connection stands. Throws when it cannot. */
  advance(fd: number, what: number): boolean {
    const stage = this.#stages.get(fd);
    if (stage === 'connecting') {
      if (what & FAILED) throw failed(this.#target, 'no connection');
      return this.#onConnected(fd);
    }
    return stage === 'method' ? this.#onMethod(fd) : this.#onReply(fd);
  }

  #onConnected(fd: number): boolean {
    if (this.#target.socks === undefined) return this.#done(fd);
    send(fd, SOCKS_GREETING);
    this.#poller.change(fd, READABLE);
    this.#stages.set(fd, 'method');
    return false;
  }

  #onMethod(fd: number): boolean {
    const answer = readAnswer(fd, this.#target, SOCKS_METHOD_LENGTH);
    if (answer === undefined) return false;
    if (!socksMethodAccepted(answer)) throw failed(this.#target, 'the SOCKS server wants a password');
    send(fd, socksRequest(this.#target.address, this.#target.port));
    this.#stages.set(fd, 'reply');
    return false;
  }

  #onReply(fd: number): boolean {
    const answer = readAnswer(fd, this.#target, SOCKS_REPLY_LENGTH);
    if (answer === undefined) return false;
    if (!socksConnected(answer)) throw failed(this.#target, `SOCKS reply ${answer[1] ?? 'missing'}`);
    return this.#done(fd);
  }

  #done(fd: number): boolean {
    this.#stages.delete(fd);
    return true;
  }
}

/** So many connections that stand, none of them watched by the poller any more. */
export function establish(poller: Poller, target: Target, count: number): number[] {
  const dialer = new Dialer(poller, target);
  const fds = Array.from({ length: count }, () => dialer.dial());
  const deadline = performance.now() + DIAL_TIMEOUT_MS;
  let standing = 0;
  try {
    while (standing < count) {
      if (performance.now() > deadline) throw failed(target, `${count - standing} connections do not stand`);
      poller.wait(STEP_MS, (fd, what) => {
        if (!dialer.isDialing(fd) || !dialer.advance(fd, what)) return;
        standing += 1;
        poller.remove(fd);
      });
    }
    return fds;
  } catch (error) {
    fds.forEach(abort);
    throw error;
  }
}
