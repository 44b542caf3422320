/** The slow path of one connection: what happens in user space from its acceptance to its end. */
import { once } from 'node:events';
import { Socket } from 'node:net';
import type { Pipeline } from '../content/steps.js';
import { SystemCallError } from '../host/libc.js';
import { CAPABILITY } from '../tpot/option.js';
import { decideRule } from '../tpot/policy.js';
import type { AdmissionChoice } from '../cache/policy.js';
import type { Action, NodeRule } from './config.js';
import type { Connection, Endpoint } from './connections.js';
import type { DataPath, SpliceConditions, SpliceOutcome } from './data-path.js';
import { watchForHello, type Classify } from './first-bytes.js';
import { relayUntilBare, type Joined } from './plain-legs.js';
import { relay, reset, type RelayOptions } from './relay.js';
import { sniff, type SniffOutcome } from './sniff.js';
import { TRANSFORM_BITS } from '../transcode/capabilities.js';
import { settled, type Transforms } from './transforms.js';
import { TransformedLeg } from '../transcode/leg.js';

type Taking = Exclude<Action, 'pass'>;

/** What its rule says about a connection that has been taken. */
interface Decided extends Pick<HttpContext, 'admission'> {
  readonly action: Taking;
  readonly content?: Pipeline | undefined;
}

/** What an HTTP connection may use of the node. */
export interface HttpContext {
  readonly client: Endpoint;
  /** Legs come from the client's address: one client's must not carry another one's requests. */
  readonly clientLegs: boolean;
  /** How responses go to this client; undefined: as they come. */
  readonly content: Pipeline | undefined;
  /** The original destination: where misses are fetched from. */
  readonly destination: Endpoint;
  /** What of its responses is stored, where its rule says so. */
  readonly admission?: AdmissionChoice | undefined;
  /** A leg to the destination that is open or being opened, paused and unused; the service owns it. */
  readonly leg: Socket | undefined;
  /** Opens a (further) leg to the destination; it is connecting, and has an `error` listener. */
  openLeg(): Socket;
  /** The connection is HTTP no longer: from here on its bytes go to the leg, after `fromClient`, and the leg's to it. */
  join(leg: Socket, fromClient: Buffer): Promise<void>;
  /** In the middle of a response every byte may pass as it comes: both sockets go to the kernel when nothing is held. */
  leave(leg: Socket, conditions: SpliceConditions): Promise<SpliceOutcome>;
  /** Notes why a connection does not {@link leave}. */
  stays(reason: string): void;
}

/** What answers HTTP on taken connections; implemented in http/. */
export interface HttpServer {
  readonly classify: Classify;
  /**
   * Serves a connection until it is closed. `first` has been read from `client`, which is paused and has an `error`
   * listener; the service owns both sockets from here on.
   */
  serve(client: Socket, first: Buffer, context: HttpContext): Promise<void>;
}

export interface SessionPorts {
  readonly dataPath: Pick<DataPath, 'connect' | 'legInfo' | 'splice'>;
  readonly http: HttpServer;
  /** Told that a leg could not be opened because this process has as many files open as it may. */
  readonly noDescriptors: () => void;
  /** Hops for the request of the next leg when the connection came without a request. */
  readonly hops: number;
  /** Undefined: nothing is transformed. */
  readonly transforms?: Transforms | undefined;
  /** Whose address the next leg has. */
  readonly source: 'node' | 'client';
}

/** How a leg failed before it was connected, by the code of its error. */
export const LEG_FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'leg-refused',
  ECONNRESET: 'leg-reset',
  ETIMEDOUT: 'leg-timed-out',
  EHOSTUNREACH: 'leg-unreachable',
  ENETUNREACH: 'leg-unreachable',
  EMFILE: 'leg-no-descriptors',
  ENFILE: 'leg-no-descriptors',
  EADDRNOTAVAIL: 'leg-no-ports',
};

/** Every socket needs one, since an `error` nobody listens to ends the process; what follows it is a `close`. */
function ignore(): void {
  /* `close` is what counts */
}

/** A socket that fails the way an asynchronous connect does. */
function failedSocket(error: unknown): Socket {
  const socket = new Socket();
  socket.on('error', ignore);
  return socket.destroy(error as Error);
}

/** The errno's name, whoever made the call. */
function systemErrorOf(error: NodeJS.ErrnoException): string {
  return error instanceof SystemCallError ? error.errnoName : (error.code ?? '');
}

/** What the rule allows on the next leg. Who is to leave for the kernel cannot be transformed, unless the rule says so. */
function offersOf({ action, capabilities }: Connection): number {
  return capabilities ?? (action === 'splice' ? 0 : TRANSFORM_BITS);
}

function openLeg(
  connection: Connection,
  { dataPath, hops, source, noDescriptors, transforms }: SessionPorts,
): Socket {
  const { client, destination, taken } = connection;
  const capabilities = transforms?.offer(offersOf(connection)) ?? 0;
  const allowed = taken.hops === undefined ? hops : taken.hops - 1;
  let leg: Socket;
  try {
    leg = dataPath.connect({
      ...destination,
      hops: Math.max(0, allowed),
      capabilities,
      from: source === 'client' ? client : undefined,
    });
  } catch (error) {
    leg = failedSocket(error);
  }
  let connected = false;
  leg.once('connect', () => {
    connected = true;
    connection.legConnected(dataPath.legInfo(leg), () => (leg.destroyed ? undefined : dataPath.legInfo(leg)));
  });
  leg.once('end', () => connection.refreshLeg());
  leg.on('error', (error: NodeJS.ErrnoException) => {
    if (connected) return;
    const reason = LEG_FAILURES[systemErrorOf(error)] ?? 'leg-failed';
    connection.because(reason);
    if (reason === 'leg-no-descriptors') noDescriptors();
  });
  if (capabilities === 0 || transforms === undefined || leg.destroyed) return leg;
  const wrapped = transforms.ofLeg(leg, capabilities, destination, () => dataPath.legInfo(leg));
  wrapped.on('error', ignore);
  connection.nextLeg = wrapped;
  return wrapped;
}

/**
 * A leg that is connected, or failed: itself where it is transformed, and otherwise the socket it is made of.
 */
async function settle(leg: Socket, early: RelayOptions): Promise<[Socket, RelayOptions]> {
  if (!(leg instanceof TransformedLeg)) return [leg, early];
  const plain = await settled(leg);
  if (plain.early === undefined) return [plain.leg, early];
  return [plain.leg, { ...early, fromB: Buffer.concat([early.fromB ?? Buffer.alloc(0), plain.early]) }];
}

async function relayOnly(connection: Connection, opened: Socket, early: RelayOptions = {}): Promise<void> {
  const ends = await plainEnds(connection, opened, early);
  if (ends === undefined) return;
  const relaying = relay(ends.client, ends.leg, ends.read);
  // After the relay listens: whoever listens first sets the bytes flowing.
  if (ends.unwatched) void watch(connection);
  return relaying;
}

interface Ends extends Joined {
  /** Nobody has looked at the client's first bytes, nor does. */
  readonly unwatched: boolean;
}

/**
 * Two sockets of which neither is transformed. Where one is, for which `reason` is noted, they are relayed until nothing is
 * transformed any more; `undefined` when that is the end.
 */
async function plainEnds(
  connection: Connection,
  opened: Socket,
  early: RelayOptions,
  reason?: string,
): Promise<Ends | undefined> {
  const client = connection.socket;
  const [leg, read] = await settle(opened, early);
  const unwatched = early.fromA === undefined;
  if (!isTransformed(client) && !isTransformed(leg)) return { client, leg, read, unwatched };
  if (reason !== undefined) connection.because(reason);
  const relaying = relayUntilBare(client, leg, read);
  if (unwatched) void watch(connection);
  const bare = await relaying;
  if (bare === undefined) return undefined;
  connection.bare(bare.client);
  return { ...bare, unwatched: false };
}

const isTransformed = (socket: Socket): boolean => socket instanceof TransformedLeg;

/** Relays until the connection has left for the kernel, or to its end where it cannot. */
async function relayThenSplice(
  connection: Connection,
  opened: Socket,
  read: RelayOptions,
  { dataPath }: SessionPorts,
): Promise<void> {
  const ends = await plainEnds(connection, opened, read, 'relayed-transformed');
  if (ends === undefined) return;
  const { client, leg, read: early, unwatched } = ends;
  const letGo = new AbortController();
  const leave = async (): Promise<void> => {
    await looked;
    if (client.destroyed || leg.destroyed) return;
    const outcome = await dataPath.splice(client, leg, () => {
      connection.spliced();
      letGo.abort();
    });
    if (!outcome.spliced) connection.because(outcome.reason);
  };
  const relaying = relay(client, leg, { ...early, letGo: letGo.signal });
  const looked = unwatched ? watch(connection) : undefined;
  if (leg.connecting) leg.once('connect', () => void leave());
  else void leave();
  return relaying;
}

/** Notes what a connection that nobody waits for says of itself. */
async function watch(connection: Connection): Promise<void> {
  const found = await watchForHello(connection.socket);
  if (found.is === 'tls') connection.asked(found.hello);
  if (found.is.startsWith('tls')) connection.because(found.is);
}

/**
 * What to do with a connection whose first bytes are known. One that would pass by what they say has been taken: it is
 * spliced, which is next to passing.
 */
function decide(connection: Connection, candidates: readonly NodeRule[], found: SniffOutcome): Decided {
  const rule = decideRule(candidates, found.hello?.serverName);
  connection.capabilities = rule?.capabilities;
  const { action = 'pass', content, admission } = rule ?? {};
  if (action !== 'pass') return { action, content, admission };
  connection.because('late-pass');
  return { action: 'splice' };
}

async function leaveHttp(
  connection: Connection,
  leg: Socket,
  conditions: SpliceConditions,
  { dataPath }: SessionPorts,
): Promise<SpliceOutcome> {
  if (isTransformed(connection.socket) || isTransformed(leg))
    return { spliced: false, reason: 'relayed-transformed' };
  const leaving = (): void => {
    connection.because(conditions.copy === undefined ? 'long-body' : 'tapped');
    connection.spliced();
  };
  const outcome = await dataPath.splice(connection.socket, leg, leaving, conditions);
  if (!outcome.spliced && !conditions.over()) connection.because(outcome.reason);
  return outcome;
}

async function serve(
  connection: Connection,
  { first, leg }: SniffOutcome,
  { content, admission }: Decided,
  ports: SessionPorts,
): Promise<void> {
  const { destination, client: from, socket } = connection;
  const join = (to: Socket, fromA: Buffer): Promise<void> =>
    relayThenSplice(connection, to, { fromA }, ports);
  const open = (): Socket => openLeg(connection, ports);
  connection.action = 'cache';
  connection.state = 'serving';
  const clientLegs = ports.source === 'client';
  await ports.http.serve(socket, first, {
    client: from,
    clientLegs,
    content,
    destination,
    admission,
    leg,
    openLeg: open,
    join,
    leave: (to, conditions) => leaveHttp(connection, to, conditions, ports),
    stays: (reason) => connection.because(reason),
  });
}

async function sniffThenRun(
  connection: Connection,
  candidates: readonly NodeRule[],
  ports: SessionPorts,
): Promise<void> {
  const client = connection.socket;
  const open = (): Socket => openLeg(connection, ports);
  connection.state = 'sniffing';
  const found = await sniff(client, open, ports.http.classify);
  const { verdict, reason, hello, first, early, leg } = found;
  connection.because(reason);
  if (hello !== undefined) connection.asked(hello);
  if (verdict === 'end') {
    reset(client);
    if (leg !== undefined) reset(leg);
    return;
  }
  const decided = decide(connection, candidates, found);
  const { action } = decided;
  if (action === 'cache' && verdict === 'serve') return serve(connection, found, decided, ports);
  connection.relaying();
  const read = { fromA: first, fromB: early };
  if (action === 'relay') return relayOnly(connection, leg ?? open(), read);
  return relayThenSplice(connection, leg ?? open(), read, ports);
}

/** Whether S only wants to know who is here (protocol rule 11); an edge's clients have asked for nothing. */
function isTrace({ taken }: Connection): boolean {
  return taken.via !== 'edge' && (taken.capabilities & CAPABILITY.trace) !== 0;
}

/** A trace has had its answer with the SYN-ACK: nothing is opened for it, nothing it says is read. */
async function endTrace({ socket }: Connection): Promise<void> {
  if (socket.destroyed) return;
  const closed = once(socket, 'close');
  socket.destroySoon();
  await closed;
}

/**
 * Runs a connection to its end; never rejects for what a peer or the network does. `candidates` are the rules that it
 * may come under; what an earlier configuration took, and this one passes, is relayed.
 */
export async function runSession(
  connection: Connection,
  candidates: readonly NodeRule[],
  ports: SessionPorts,
): Promise<void> {
  connection.socket.on('error', ignore);
  if (isTrace(connection)) {
    connection.because('trace');
    connection.state = 'closing';
    return endTrace(connection);
  }
  const wrapped = ports.transforms?.ofClient(connection);
  wrapped?.on('error', ignore);
  if (wrapped !== undefined) connection.transformed(wrapped);
  const { action = 'pass', serverNames, capabilities } = candidates[0] ?? {};
  connection.capabilities = capabilities;
  if (action === 'cache' || serverNames !== undefined) {
    if (action !== 'pass') connection.action = action;
    return sniffThenRun(connection, candidates, ports);
  }
  if (action === 'splice') connection.action = action;
  // Nobody waits for first bytes: where the server speaks first it is heard at once.
  const leg = openLeg(connection, ports);
  if (action === 'splice') return relayThenSplice(connection, leg, {}, ports);
  return relayOnly(connection, leg);
}
