/** The table of live connections and the totals over all there have been. */
import type { Socket } from 'node:net';
import { formatIp, type IpAddress } from '../core/address.js';
import type { Clock } from '../core/clock.js';
import { TransformedLeg } from '../transcode/leg.js';
import type { ClientHello } from '../wire/tls-hello.js';
import type { LegInfo, Some, SplicedConnection, TakenInfo } from './data-path.js';
import { SplicedNames, tlsNames, type TlsNames } from './tls-names.js';

export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/** Bytes of a transformed leg, both directions together: before the transforms, and on the wire. */
export interface LegTransforms {
  readonly plainBytes: number;
  readonly wireBytes: number;
}

function transformsOf(leg: Socket | undefined): LegTransforms | null {
  if (!(leg instanceof TransformedLeg) || !leg.transformed) return null;
  const { plainSent, plainReceived, wireSent, wireReceived } = leg.stats;
  return { plainBytes: plainSent + plainReceived, wireBytes: wireSent + wireReceived };
}

/** One row of `conns`. Bytes: in is from the client, out is to the client. */
export interface ConnectionRow {
  /** `192.0.2.1:80` or `[2001:db8::1]:80`. */
  readonly client: string;
  readonly destination: string;
  /** `tunnel`: IP in IP. */
  readonly via: 'tunnel' | 'tunnel-udp' | 'edge';
  /** What goes to the client is in a tunnel, too: plain segments stayed without an answer. */
  readonly returnTunnel: boolean;
  /** The node the next leg is pinned to; null while unknown or when the leg is plain TCP. */
  readonly nextHop: string | null;
  /** How; null where `nextHop` is. */
  readonly nextVia: 'tunnel' | 'tunnel-udp' | null;
  readonly state: ConnectionState;
  readonly action: 'cache' | 'splice' | 'relay';
  readonly reason: string;
  /** What the ClientHello said; null where none was seen, or it named none. */
  readonly sni: string | null;
  readonly alpn: readonly string[] | null;
  /** Of the client's leg and of the next one; null where it is not transformed. */
  readonly clientTransforms: LegTransforms | null;
  readonly nextTransforms: LegTransforms | null;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly ageSeconds: number;
}

/**
 * `sniffing`: waits for the first bytes. `connecting`: the next leg is being opened. `relaying`: bytes pass both ways.
 * `spliced`: they pass in the kernel. `serving`: HTTP is answered here. `closing`: one direction has ended.
 */
export type ConnectionState = 'sniffing' | 'connecting' | 'relaying' | 'spliced' | 'serving' | 'closing';

/** Sums over connections, those that ended included. One connection can have several reasons. */
export interface ConnectionTotals {
  readonly open: number;
  readonly total: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly byAction: Readonly<Record<string, number>>;
  readonly byReason: Readonly<Record<string, number>>;
}

export function formatEndpoint({ address, port }: Endpoint): string {
  return address.family === 6 ? `[${formatIp(address)}]:${port}` : `${formatIp(address)}:${port}`;
}

function tunnelKind(udp: boolean | undefined): 'tunnel' | 'tunnel-udp' {
  return udp === true ? 'tunnel-udp' : 'tunnel';
}

/** Codes of tpot/reasons.ts. */
const TAKEN_REASON: Readonly<Record<TakenInfo['via'], string>> = {
  tunnel: 'taken',
  edge: 'taken-edge',
  'reply-stripped': 'taken-reply-stripped',
};

/** One live connection, kept up to date by its session. */
export class Connection {
  /** What the client sends and gets; a transformed leg where its node and this one have agreed on that. */
  socket: Socket;
  readonly client: Endpoint;
  readonly destination: Endpoint;
  readonly taken: TakenInfo;
  state: ConnectionState = 'connecting';
  action: 'cache' | 'splice' | 'relay' = 'relay';
  /** Of the node's transforms, those that its rule allows; undefined: as the action does. */
  capabilities: number | undefined;
  /** The latest leg towards the destination that may be transformed. */
  nextLeg: Socket | undefined;
  #clientLeg: Socket | undefined;
  /** What counters of the socket lack of the bytes it has carried: it was a transformed leg's before. */
  #framed = { in: 0, out: 0 };
  #left = false;
  readonly #openedAt: number;
  readonly #reasons: string[];
  #leg: LegInfo | undefined;
  #names: TlsNames | undefined;
  #lookAgain: () => LegInfo | undefined = () => undefined;
  readonly #leaves: (connection: Connection) => void;

  constructor(
    socket: Socket,
    ends: { client: Endpoint; destination: Endpoint },
    taken: TakenInfo,
    now: number,
    leaves: (connection: Connection) => void,
  ) {
    this.#leaves = leaves;
    this.socket = socket;
    this.client = ends.client;
    this.destination = ends.destination;
    this.taken = taken;
    this.#openedAt = now;
    this.#reasons = [TAKEN_REASON[taken.via]];
  }

  /** Every code that said how to treat this connection, in time order, none twice. */
  get reasons(): readonly string[] {
    return this.#reasons;
  }

  /** The client's leg is transformed: from here on everything goes through that. */
  transformed(leg: Socket): void {
    this.socket = leg;
    this.#clientLeg = leg;
    this.because('transformed');
  }

  /** Nothing is transformed any more: it goes on over the socket that the client's leg was made of. */
  bare(socket: Socket): void {
    this.because('transforms-ended');
    const leg = this.socket;
    if (socket === leg) return;
    this.#framed = {
      in: leg.bytesRead - (socket.bytesRead - socket.readableLength),
      out: leg.bytesWritten - socket.bytesWritten,
    };
    this.socket = socket;
  }

  /** Notes one more code. */
  because(reason: string): void {
    if (!this.#reasons.includes(reason)) this.#reasons.push(reason);
  }

  /**
   * Notes what became of the next leg, once it is connected. A tunnel that turns out not to pass changes that within
   * seconds: `lookAgain` tells, as long as the leg is there.
   */
  legConnected(leg: LegInfo, lookAgain?: () => LegInfo | undefined): void {
    this.#leg = leg;
    this.because(leg.reason);
    if (lookAgain !== undefined) this.#lookAgain = lookAgain;
    if (this.state === 'connecting') this.state = 'relaying';
  }

  /** Notes what became of the next leg since it was connected. */
  refreshLeg(): void {
    const leg = this.#left ? undefined : this.#lookAgain();
    if (leg === undefined || leg.reason === this.#leg?.reason) return;
    this.#leg = leg;
    this.because(leg.reason);
  }

  /** Notes what the client's first bytes asked for. */
  asked(hello: ClientHello): void {
    this.#names = tlsNames(hello);
  }

  /** What the first bytes asked for, if they were TLS. */
  get names(): TlsNames | undefined {
    return this.#names;
  }

  /** Whether the kernel carries it. */
  get hasLeft(): boolean {
    return this.#left;
  }

  /** Leaves for the kernel, whose table counts its bytes from now on, those before included. */
  spliced(): void {
    this.action = 'splice';
    this.because('spliced');
    this.#left = true;
    this.#leaves(this);
  }

  get bytesIn(): number {
    return this.#left ? 0 : this.socket.bytesRead + this.#framed.in;
  }

  get bytesOut(): number {
    return this.#left ? 0 : this.socket.bytesWritten + this.#framed.out;
  }

  /** Goes on as a relay over a leg that may be connected already. */
  relaying(): void {
    this.action = 'relay';
    this.state = this.#leg === undefined ? 'connecting' : 'relaying';
  }

  row(now: number): ConnectionRow {
    const halfClosed = this.socket.readableEnded || this.socket.writableEnded;
    return {
      client: formatEndpoint(this.client),
      destination: formatEndpoint(this.destination),
      via: this.taken.via === 'tunnel' ? tunnelKind(this.taken.udp) : 'edge',
      returnTunnel: this.taken.returned?.() === true,
      nextHop: this.#leg?.nextHop === undefined ? null : formatIp(this.#leg.nextHop),
      nextVia: this.#leg?.nextHop === undefined ? null : tunnelKind(this.#leg.reason === 'tunnelled-udp'),
      state: this.state === 'relaying' && halfClosed ? 'closing' : this.state,
      action: this.action,
      // What became of the leg says most; before there is one, the latest.
      reason: this.#leg?.reason ?? this.#reasons.at(-1) ?? '',
      sni: this.#names?.sni ?? null,
      alpn: this.#names?.alpn ?? null,
      clientTransforms: transformsOf(this.#clientLeg),
      nextTransforms: transformsOf(this.nextLeg),
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      ageSeconds: Math.floor((now - this.#openedAt) / 1000),
    };
  }
}

/** The row of a connection that is in the kernel's table alone. */
function splicedRow(one: SplicedConnection, known: SplicedNames): ConnectionRow {
  const client = formatEndpoint(one.client);
  const destination = formatEndpoint(one.destination);
  const names = known.get(client, destination);
  return {
    client,
    destination,
    via: one.tunnelled ? tunnelKind(one.udp) : 'edge',
    returnTunnel: one.returned,
    nextHop: one.nextHop === undefined ? null : formatIp(one.nextHop),
    nextVia: one.nextHop === undefined ? null : tunnelKind(one.nextHopUdp),
    state: one.closing ? 'closing' : 'spliced',
    action: 'splice',
    reason: 'spliced',
    sni: names?.sni ?? null,
    alpn: names?.alpn ?? null,
    clientTransforms: null,
    nextTransforms: null,
    bytesIn: one.bytesIn,
    bytesOut: one.bytesOut,
    ageSeconds: one.ageSeconds,
  };
}

class Sums {
  total = 0;
  bytesIn = 0;
  bytesOut = 0;
  byAction: Record<string, number> = {};
  byReason: Record<string, number> = {};

  clone(): Sums {
    const { total, bytesIn, bytesOut, byAction, byReason } = this;
    return Object.assign(new Sums(), {
      total,
      bytesIn,
      bytesOut,
      byAction: { ...byAction },
      byReason: { ...byReason },
    });
  }

  add({ action, reasons, bytesIn, bytesOut }: Connection): void {
    this.total++;
    this.bytesIn += bytesIn;
    this.bytesOut += bytesOut;
    this.byAction[action] = (this.byAction[action] ?? 0) + 1;
    for (const reason of reasons) this.byReason[reason] = (this.byReason[reason] ?? 0) + 1;
  }
}

export class ConnectionTable {
  readonly #clock: Clock;
  readonly #live = new Set<Connection>();
  readonly #ended = new Sums();
  readonly #idle: (() => void)[] = [];
  readonly #splicedNames = new SplicedNames();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#live.size;
  }

  /** Enters a connection that has just been taken. */
  open(socket: Socket, client: Endpoint, destination: Endpoint, taken: TakenInfo): Connection {
    const now = this.#clock.monotonic();
    const connection = new Connection(socket, { client, destination }, taken, now, this.#keepNames);
    this.#live.add(connection);
    return connection;
  }

  /** Takes a connection that has ended out of the table and into the totals. */
  close(connection: Connection): void {
    if (!this.#live.delete(connection)) return;
    this.#ended.add(connection);
    if (this.#live.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Resolves as soon as there is no connection. */
  idle(): Promise<void> {
    return this.#live.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  live(): Iterable<Connection> {
    return this.#live;
  }

  readonly #keepNames = ({ client, destination, names }: Connection): void => {
    this.#splicedNames.set(formatEndpoint(client), formatEndpoint(destination), names);
  };

  /** Those in user space, oldest first; one whose sockets are just closing is the kernel's. */
  rows(): ConnectionRow[] {
    const now = this.#clock.monotonic();
    return Array.from(this.#live)
      .filter((connection) => !connection.hasLeft)
      .map((connection) => {
        connection.refreshLeg();
        return connection.row(now);
      });
  }

  /** Those that the kernel carried when this was called, as they are read, then {@link rows} of that moment. */
  async *allRows(spliced: Some<SplicedConnection>): AsyncGenerator<ConnectionRow[]> {
    const rows = this.rows();
    for await (const some of spliced) yield some.map((one) => splicedRow(one, this.#splicedNames));
    yield rows;
  }

  totals(): ConnectionTotals {
    const sums = this.#ended.clone();
    for (const connection of this.#live) {
      connection.refreshLeg();
      sums.add(connection);
    }
    const { total, bytesIn, bytesOut, byAction, byReason } = sums;
    return { open: this.#live.size, total, bytesIn, bytesOut, byAction, byReason };
  }
}
