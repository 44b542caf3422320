/**
 * The administration interface of a running node: HTTP over a unix socket, for root only.
 *
 * ```
 *   GET  /status  /conns  /stats     JSON, as `status|conns|stats --json` print it
 *   POST /drain                      202 { pid, drainTimeoutMs }; the node then stops as on SIGTERM
 *   POST /reload                     200, or 422 when the configuration is refused: a ReloadReport (reload.ts)
 *   DELETE /black-holes[/ADDRESS]    200 { cleared }; 400 for what is no address
 *                                    500 { error } for what fails
 *   /cache/…                         see cache-admin.ts
 *
 *   <runtime directory>/NAME.sock    mode 0600
 *   <runtime directory>/NAME.json    { pid, name, netns, started }
 * ```
 */
import { once } from 'node:events';
import { mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { parseIp, type IpAddress } from '../core/address.js';
import { messageOf, TpotError } from '../core/errors.js';
import { peerUser } from '../host/libc.js';
import { runtimeDirectory } from '../host/paths.js';
import type { Some } from './data-path.js';
import type { ReloadReport } from './reload.js';
import { descriptorOf } from './socket-descriptor.js';

/** What the node offers to its administrator. */
export interface AdminTarget {
  readonly status: () => unknown;
  /** Some at a time. */
  readonly conns: () => Some<unknown>;
  readonly stats: () => Promise<unknown>;
  /** Begins to stop; returns at once. */
  readonly drain: () => void;
  /** Reads the configuration again. */
  readonly reload: () => ReloadReport;
  /** Forgets one black hole or all; how many there were. */
  readonly forgetBlackHoles: (destination: IpAddress | undefined) => number;
  readonly drainTimeoutMs: number;
  /** Answers what is under `/cache`; `false` for what it does not know. */
  readonly cache: (request: IncomingMessage, response: ServerResponse) => boolean;
}

/** Who runs under a name. */
export interface NodeStateFile {
  readonly pid: number;
  readonly name: string;
  /** Inode of the network namespace, as `lsns` and `readlink /proc/PID/ns/net` show it. */
  readonly netns: number;
  /** ISO 8601. */
  readonly started: string;
}

export function socketPath(name: string, directory = runtimeDirectory): string {
  return join(directory, `${name}.sock`);
}

function statePath(name: string, directory: string): string {
  return join(directory, `${name}.json`);
}

/** Nobody listens: no socket, one that was left behind, or one whose node ended before it took the connection. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET']);

/** Whether somebody listens on a unix socket. A node that is too busy to answer still listens. */
export function isListening(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => {
      if (NOBODY.has(error.code)) resolve(false);
      else if (error.code === 'EAGAIN')
        resolve(true); // its backlog is full
      else reject(error);
    });
  });
}

/** `undefined` when there is none, or when it is being written. */
export function readStateFile(name: string, directory = runtimeDirectory): NodeStateFile | undefined {
  try {
    return JSON.parse(readFileSync(statePath(name, directory), 'utf8')) as NodeStateFile;
  } catch {
    return undefined;
  }
}

function networkNamespace(): number {
  return Number(/\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0] ?? 0);
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

/** A list as one JSON array, written as it comes and as the reader takes it. */
async function answerList(response: ServerResponse, list: Some<unknown>): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/json' });
  let separator = '[';
  for await (const some of list) {
    if (some.length === 0) continue;
    const text = some.map((one) => JSON.stringify(one)).join(',');
    if (!response.write(separator + text))
      await Promise.race([once(response, 'drain'), once(response, 'close')]);
    if (response.destroyed) return;
    separator = ',';
  }
  response.end(separator === '[' ? '[]\n' : ']\n');
}

/** A question that cannot be answered ends neither the node nor its connections. What was begun breaks off. */
function answerError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) response.destroy();
  else answer(response, 500, { error: messageOf(error) });
}

function answerLater(response: ServerResponse, answering: Promise<void>): void {
  answering.catch((error: unknown) => answerError(response, error));
}

const CLEAR = 'DELETE /black-holes';

/** The address in a target, which may be percent-encoded; undefined for what is none. */
function addressIn(path: string): IpAddress | undefined {
  try {
    return parseIp(decodeURIComponent(path));
  } catch {
    return undefined; // a percent sign that encodes nothing
  }
}

/** `which` is empty, or a slash and an address. */
function clearBlackHoles(target: AdminTarget, which: string, response: ServerResponse): void {
  const destination = which.startsWith('/') ? addressIn(which.slice(1)) : undefined;
  if (which !== '' && destination === undefined) answer(response, 400, { error: 'not-an-address' });
  else answer(response, 200, { cleared: target.forgetBlackHoles(destination) });
}

function handle(target: AdminTarget, request: IncomingMessage, response: ServerResponse): void {
  if (request.url?.startsWith('/cache/') === true && target.cache(request, response)) return;
  request.resume();
  const asked = `${request.method ?? ''} ${request.url ?? ''}`;
  if (asked === 'GET /status') answer(response, 200, target.status());
  else if (asked === 'GET /conns') answerLater(response, answerList(response, target.conns()));
  else if (asked === 'GET /stats')
    answerLater(
      response,
      target.stats().then((stats) => answer(response, 200, stats)),
    );
  else if (asked === 'POST /drain') {
    answer(response, 202, { pid: process.pid, drainTimeoutMs: target.drainTimeoutMs });
    target.drain();
  } else if (asked === 'POST /reload') {
    const report = target.reload();
    answer(response, report.reloaded ? 200 : 422, report);
  } else if (asked.startsWith(CLEAR)) clearBlackHoles(target, asked.slice(CLEAR.length), response);
  else answer(response, 404, { error: 'not-found' });
}

/** The socket's mode keeps everybody else out; should somebody change that, this still does. */
function refuseOthers(socket: Socket): void {
  const fd = descriptorOf(socket);
  const user = fd === undefined ? undefined : peerUser(fd);
  if (user !== 0 && user !== process.geteuid?.()) socket.destroy();
}

async function refuseTakenName(name: string, directory: string): Promise<void> {
  if (!(await isListening(socketPath(name, directory)))) return;
  const pid = readStateFile(name, directory)?.pid;
  const holder = pid === undefined ? 'a process' : `process ${pid}`;
  throw new TpotError('name-in-use', `a node named ${name} is running already: ${holder}`, {
    hint: `Stop it with \`tpot-node down --name ${name}\`, or give this one another name with --name.`,
  });
}

/** Binds and listens; the socket never exists with wider permissions than 0600. */
async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const before = process.umask(0o177);
    try {
      server.listen(path, resolve); // binds a path at once, in this call
    } finally {
      process.umask(before);
    }
  });
}

/** Serves the administration interface of one node until it is closed. */
export class AdminServer {
  readonly #name: string;
  readonly #directory: string;
  readonly #server: Server;

  private constructor(name: string, directory: string, server: Server) {
    this.#name = name;
    this.#directory = directory;
    this.#server = server;
  }

  /**
   * Takes a name. A socket that a killed node left is replaced; a living one is a `name-in-use` error with the
   * process that has it.
   */
  static async open(name: string, target: AdminTarget, directory = runtimeDirectory): Promise<AdminServer> {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    await refuseTakenName(name, directory);
    rmSync(socketPath(name, directory), { force: true });
    const server = createServer((request, response) => {
      try {
        handle(target, request, response);
      } catch (error) {
        answerError(response, error);
      }
    });
    server.on('connection', refuseOthers);
    await listen(server, socketPath(name, directory));
    const state: NodeStateFile = {
      pid: process.pid,
      name,
      netns: networkNamespace(),
      started: new Date().toISOString(),
    };
    writeFileSync(statePath(name, directory), `${JSON.stringify(state)}\n`, { mode: 0o644 });
    return new AdminServer(name, directory, server);
  }

  /** Gives the name back. */
  close(): void {
    rmSync(statePath(this.#name, this.#directory), { force: true });
    this.#server.close(); // removes the socket, too
    this.#server.closeAllConnections();
  }
}
