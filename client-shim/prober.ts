/**
 * Single connections that ask for a node, made by this process: what `trace` and `doctor` learn about a path from.
 *
 * ```
 *   Prober: a shim of its own, for a cgroup that this process enters only to make a socket
 *     open ─▶ connect(2) ─▶ SYN with the request ─▶ who answered? (socket storage, TCP_INFO) ─▶ Probe ─▶ reset
 * ```
 */
import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { formatIp, fromMapped, type IpAddress, type Prefix } from '../core/address.js';
import { TpotError } from '../core/errors.js';
import { silentLogger } from '../core/log.js';
import { AF_INET, AF_INET6, bind, close, resetOnClose, tcpSocket } from '../host/libc.js';
import { enterCgroup, ownCgroup } from '../host/mounts.js';
import { tcpInfo } from '../host/tcp.js';
import type { Key } from '../tpot/key.js';
import { reasonText } from '../bpf/programs.js';
import type { ReasonCode } from '../tpot/reasons.js';
import { Shim } from './shim.js';

/** What came of a request when its reply was dropped because of its MAC. */
const UNKEYED = 'drop-reply-unkeyed' satisfies ReasonCode;
/** Long enough for the third transmission of the SYN, which goes without the request, and its answer. */
const PROBE_TIMEOUT_MS = 5000;
const ANY_TRUST: readonly Prefix[] = [
  { address: { family: 4, bytes: new Uint8Array(4) }, length: 0 },
  { address: { family: 6, bytes: new Uint8Array(16) }, length: 0 },
];

export interface ProbeRequest {
  readonly address: IpAddress;
  readonly port: number;
  readonly hops: number;
  readonly capabilities: number;
  /** To take the same way as an earlier probe where routers spread by ports; undefined: the kernel chooses. */
  readonly localPort?: number | undefined;
}

/** What came of one SYN. */
export interface ProbeAnswer {
  /** Whether a SYN with the request has left. */
  readonly asked: boolean;
  /** Reason code of the source (tpot/reasons.ts): `reply-accepted` when a node took the connection. */
  readonly reason: string;
  readonly node: IpAddress | undefined;
  /** As the reply has them; an IPv6 reply has none. */
  readonly capabilities: number;
  /** Undefined when the connection stands; `timeout`, or the name of the error. */
  readonly error: string | undefined;
  /** SYN to SYN-ACK, as the kernel measured it. */
  readonly milliseconds: number | undefined;
  readonly localPort: number | undefined;
}

/** An answer, and the connection it was the answer to. */
export interface Probe {
  readonly answer: ProbeAnswer;
  readonly socket: Socket;
  /** Our FIN, sent in the tunnel if there is one, has been acknowledged. */
  finAcknowledged(): boolean;
  /** Ends the connection with RST, which leaves no port in TIME_WAIT. */
  reset(): void;
}

/** Why the connection failed; undefined once it stands. */
function connected(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('timeout'), PROBE_TIMEOUT_MS);
    const settle = (error: string | undefined): void => {
      clearTimeout(timer);
      resolve(error);
    };
    socket.once('connect', () => settle(undefined));
    // The listener stays: an error that nobody listens to ends the process.
    socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
  });
}

export class Prober {
  readonly #shim: Shim;
  readonly #home: string;
  readonly #cgroup: string;
  readonly #close = (): void => this.close();
  #closed = false;

  /**
   * Loads and attaches; errors as those of `tpot-node run`. {@link close}, or the end of the process, undoes it. `keys`:
   * with any, requests are signed with the first and no other replies believed.
   */
  constructor(keys: readonly Key[] = []) {
    if (process.geteuid?.() !== 0) {
      throw new TpotError('no-permission', 'asking for nodes loads BPF programs, which needs root', {
        hint: 'Use sudo.',
      });
    }
    this.#home = ownCgroup();
    this.#cgroup = join(this.#home, `tpot-probe.${process.pid}.${randomBytes(3).toString('hex')}`);
    this.#shim = new Shim({ cgroup: this.#cgroup, hops: 0, trust: ANY_TRUST, keys }, silentLogger);
    process.once('exit', this.#close);
  }

  /** Asks once. Never rejects for what the network does. */
  async open(request: ProbeRequest): Promise<Probe> {
    const { address, port } = request;
    const fd = this.#socket(address, request.localPort);
    this.#shim.ask(fd, request);
    // `manualStart` keeps Node from reading before the socket is connected; net.Socket has it, its types do not.
    const settings: { fd: number; manualStart: boolean; allowHalfOpen: boolean } = {
      fd,
      manualStart: true,
      allowHalfOpen: true,
    };
    const socket = new Socket(settings);
    const settled = connected(socket);
    const [requests, unkeyed] = [this.#count('request-sent'), this.#count(UNKEYED)];
    socket.connect({ host: formatIp(address), port });
    const error = await settled;
    return {
      answer: {
        asked: this.#count('request-sent') > requests,
        ...this.#answer(fd, socket, error),
        ...(this.#count(UNKEYED) > unkeyed ? { reason: UNKEYED } : {}),
      },
      socket,
      finAcknowledged: () => !socket.destroyed && tcpInfo(fd).finAcknowledged,
      reset: () => void socket.destroy(),
    };
  }

  /** How often each thing happened to the probes, by reason code. */
  counters(): Record<string, number> {
    return this.#shim.counters();
  }

  /** Resolves when what the last connections had to say has left through their tunnels. */
  async drained(): Promise<void> {
    for (let tries = 0; tries < 20 && this.#shim.openTunnels() > 0; tries++) await delay(5);
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off('exit', this.#close);
    this.#shim.close();
  }

  /** A socket belongs to the cgroup in which it was made. */
  #socket(address: IpAddress, localPort: number | undefined): number {
    enterCgroup(this.#cgroup);
    let fd: number;
    try {
      fd = tcpSocket(address.family === 4 ? AF_INET : AF_INET6);
    } finally {
      enterCgroup(this.#home);
    }
    resetOnClose(fd); // net.Socket's own reset sends a FIN first
    if (localPort === undefined) return fd;
    try {
      bind(fd, new Uint8Array(address.bytes.length), localPort);
      return fd;
    } catch {
      close(fd); // somebody has the port now: the kernel chooses another
      return this.#socket(address, undefined);
    }
  }

  #count(reason: ReasonCode): number {
    return this.counters()[reason] ?? 0;
  }

  #answer(fd: number, socket: Socket, error: string | undefined): Omit<ProbeAnswer, 'asked'> {
    const noted = socket.destroyed ? undefined : this.#shim.noted(fd);
    const node = noted?.nextHop.some((byte) => byte !== 0) === true ? fromMapped(noted.nextHop) : undefined;
    return {
      reason: noted === undefined ? 'none' : reasonText(noted.legReason),
      node,
      capabilities: noted?.replyCapabilities ?? 0,
      error,
      milliseconds: error === undefined ? tcpInfo(fd).rttMicroseconds / 1000 : undefined,
      localPort: socket.localPort,
    };
  }
}
