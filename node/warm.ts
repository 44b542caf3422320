/**
 * Fetching through the node's own cache, as a client would: a connection over the loopback interface, which the node serves as
 * if it had been taken on its way to the destination.
 */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { connect, createServer, isIP, type AddressInfo, type Socket } from 'node:net';
import { ip } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Endpoint } from './connections.js';

const LOOPBACK = '127.0.0.1';
/** Milliseconds without a byte. */
const SILENCE_MS = 60_000;

export interface WarmRequest {
  readonly url: string;
  /** Fields of the request, as `Accept-Encoding: gzip`, names and values alternating. */
  readonly headers: readonly string[];
  /** The destination's address; otherwise the first that the name has. */
  readonly address?: string | undefined;
}

/** What came of one URL. */
export interface WarmResult {
  readonly url: string;
  /** `host:port` that was asked. */
  readonly destination: string | null;
  readonly status: number | null;
  readonly bytes: number;
  /** This node's member of Cache-Status; null when the connection was not answered by its cache. */
  readonly cacheStatus: string | null;
  /** It is in the cache now. */
  readonly stored: boolean;
  readonly error: string | null;
}

export interface WarmPorts {
  /** Serves a socket as a connection to `destination`. */
  readonly serve: (socket: Socket, destination: Endpoint) => void;
  readonly lookup: (name: string) => Promise<readonly string[]>;
  /** The node's identifier in Cache-Status. */
  readonly node: string;
}

/** Both ends of a connection over loopback. */
async function pair(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, LOOPBACK);
  try {
    const accepted = new Promise<Socket>((resolve) => {
      server.on('connection', (socket: Socket) => {
        // Anybody on this machine could connect to the port.
        if (socket.remotePort === near.localPort) resolve(socket);
        else socket.destroy();
      });
    });
    await once(near, 'connect');
    return { near, far: await accepted };
  } catch (error) {
    near.destroy();
    throw error;
  } finally {
    server.close();
  }
}

async function destinationOf(
  { hostname, port }: URL,
  address: string | undefined,
  ports: WarmPorts,
): Promise<Endpoint> {
  const host = hostname.replace(/^\[|\]$/g, '');
  const found = address ?? (isIP(host) === 0 ? (await ports.lookup(host))[0] : host);
  if (found === undefined) throw new Error(`${host} has no address`);
  return { address: ip(found), port: port === '' ? 80 : Number(port) };
}

/** The member that this node has added, which is the last one. */
function ownStatus(message: IncomingMessage, node: string): string | undefined {
  const members = String(message.headers['cache-status'] ?? '').split(/,\s*/);
  const last = members.at(-1);
  return last !== undefined && (last === node || last.startsWith(`${node};`)) ? last : undefined;
}

async function fetchOver(
  near: Socket,
  { url, headers }: WarmRequest,
): Promise<{ message: IncomingMessage; bytes: number }> {
  const { host, pathname, search } = new URL(url);
  const fields = ['Host', host, 'User-Agent', 'tpot-node-warm', 'Accept', '*/*', ...headers];
  const outgoing = request({
    createConnection: () => near,
    path: pathname + search,
    headers: [...fields, 'Connection', 'close'],
  });
  outgoing.setTimeout(SILENCE_MS, () =>
    outgoing.destroy(new Error(`nothing came for ${SILENCE_MS / 1000} s`)),
  );
  outgoing.end();
  const [message] = (await once(outgoing, 'response')) as [IncomingMessage];
  let bytes = 0;
  for await (const chunk of message) bytes += (chunk as Buffer).length;
  return { message, bytes };
}

/** Fetches one URL to its end; what goes wrong is in the result. */
export async function warm(asked: WarmRequest, ports: WarmPorts): Promise<WarmResult> {
  const { url } = asked;
  const nothing = { url, destination: null, status: null, bytes: 0, cacheStatus: null, stored: false };
  try {
    const parsed = new URL(url);
    if (parsed.protocol !== 'http:') throw new Error('only http: URLs can be cached');
    const destination = await destinationOf(parsed, asked.address, ports);
    const { near, far } = await pair();
    ports.serve(far, destination);
    try {
      const { message, bytes } = await fetchOver(near, asked);
      const cacheStatus = ownStatus(message, ports.node) ?? null;
      const stored = cacheStatus !== null && /;\s*(?:hit|stored)\b/.test(cacheStatus);
      const status = message.statusCode ?? null;
      const error = cacheStatus === null ? 'the rules do not give this destination to the cache' : null;
      const host = `${asked.address ?? parsed.hostname}:${destination.port}`;
      return { url, destination: host, status, bytes, cacheStatus, stored, error };
    } finally {
      near.destroy();
    }
  } catch (error) {
    return { ...nothing, error: messageOf(error) };
  }
}
