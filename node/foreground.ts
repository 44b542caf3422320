/**
 * Runs one node in this process until it is told to stop: what `tpot-node up` does.
 *
 * ```
 *   name taken ─▶ data path up ─▶ "tpot-node NAME ready" ─▶ SIGTERM, SIGINT or `down` ─▶ drain ─▶ exit 0
 *                                                             SIGHUP or `reload` ─▶ configuration read again
 *                                                             a second signal ─▶ end at once, exit 0
 *                       an error nobody caught ─▶ everything out of the kernel ─▶ exit 70
 * ```
 */
import { lookup } from 'node:dns/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';
import type { DiskStore } from '../cache/disk/store.js';
import { systemClock } from '../core/clock.js';
import { formatIp, ip } from '../core/address.js';
import { TpotError } from '../core/errors.js';
import { createLogger, type Logger } from '../core/log.js';
import { lockAddresses } from './address-lock.js';
import { AdminServer } from './admin.js';
import { answerCache } from './cache-admin.js';
import { openDisk } from './cache-disk.js';
import { addressList, foreignAddresses } from './config-explain.js';
import { ConfigError, type NodeConfig } from './config.js';
import { confine } from './confine.js';
import { EbpfDataPath } from './data-path-ebpf.js';
import { descriptorRoom } from './descriptors.js';
import { HttpService } from './http/service.js';
import { TpotNode } from './node.js';
import { reload, type ReloadReport } from './reload.js';
import { warm, type WarmRequest, type WarmResult } from './warm.js';

const EXIT_INTERNAL = 70;
/** How long the way out after an internal error may take. */
const CRASH_MS = 3000;
/** How long what is being stored may take at the end; what is not complete by then is not there at the next start. */
const DISK_MS = 2000;

function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new TpotError(
    'no-permission',
    'a node needs root: it loads BPF programs and takes connections of others',
    {
      hint: 'Use sudo. `tpot-node up --check` works without.',
    },
  );
}

/** An address this machine does not have can end no tunnel: every connection taken would be lost. */
function requireOwnAddresses(config: NodeConfig): void {
  const problems = foreignAddresses(config).map((address) => ({
    where: 'address',
    message: `${address} is not an address of this machine (in this network namespace)`,
    hint: '`ip address` lists them; leave `address` out to use the first global one.',
  }));
  if (problems.length > 0) throw new ConfigError(problems);
}

/** Resolves with the exit status once the node has been stopped, by a signal or by its administrator. */
function untilStopped(
  node: TpotNode,
  { stopAsked, hangUp }: { readonly stopAsked: Promise<void>; readonly hangUp: () => void },
  logger: Logger,
): Promise<number> {
  const hadTerminal = isatty(0);
  return new Promise((resolve) => {
    let asked = false;
    const stop = (): void => {
      if (asked) logger.warn('stopping-now');
      const stopped = asked ? node.stopNow() : node.stop();
      asked = true;
      stopped.then(() => resolve(0), crash);
    };
    const crash = (error: unknown): void => {
      logger.error('internal-error', { error: error instanceof Error ? error.stack : String(error) });
      const gone = Promise.race([node.stopNow(), delay(CRASH_MS)]);
      gone.catch(() => undefined).finally(() => resolve(EXIT_INTERNAL));
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    // A terminal that has gone says the same as a request to reload; who had one has nobody left to talk to.
    process.on('SIGHUP', () => (hadTerminal && !isatty(0) ? stop() : hangUp()));
    process.on('uncaughtException', crash); // what no promise handler caught arrives here, too
    void stopAsked.then(stop);
  });
}

/** All addresses that the machine's resolver knows of a name, in canonical form. */
async function addressesOfName(name: string): Promise<string[]> {
  const found = await lookup(name, { all: true });
  return found.map(({ address }) => formatIp(ip(address)));
}

function httpOf(config: NodeConfig, disk: DiskStore | undefined, logger: Logger): HttpService {
  return new HttpService({
    name: config.name,
    cacheBytes: config.cacheBytes,
    spliceAbove: config.spliceAbove,
    tapAbove: config.tapAbove,
    cachePolicy: config.cachePolicy,
    disk,
    lookup: config.verifyHost ? addressesOfName : undefined,
    content: config.content,
    logger,
    clock: systemClock,
    limits: {
      headersTimeout: config.headersTimeoutMs,
      idleTimeout: config.idleTimeoutMs,
      stallTimeout: config.stallTimeoutMs,
    },
  });
}

/**
 * Runs a node from start to end and resolves with the exit status. `load` reads the configuration, now and at each
 * reload, from `configFile` if there is one; `ready` is called when the node takes connections.
 *
 * @throws TpotError when it cannot start; nothing is left behind then.
 */
export async function runInForeground(
  load: () => NodeConfig,
  configFile: string | undefined,
  ready: () => void,
): Promise<number> {
  requireRoot();
  const config = load();
  requireOwnAddresses(config);
  const logger = createLogger((line) => process.stderr.write(line), systemClock);
  confine(config, configFile, logger);
  const disk = await openDisk(config, systemClock, logger);
  const http = httpOf(config, disk, logger);
  const node = new TpotNode(config, {
    room: descriptorRoom(logger),
    createDataPath: (options) => new EbpfDataPath(options, logger),
    http,
    logger,
    clock: systemClock,
  });
  let askToStop = (): void => undefined;
  const stopAsked = new Promise<void>((resolve) => {
    askToStop = resolve;
  });
  const warming = (asked: WarmRequest): Promise<WarmResult> =>
    warm(asked, {
      serve: (socket, destination) => node.serve(socket, destination),
      lookup: addressesOfName,
      node: http.identifier,
    });
  const reloading = (): ReloadReport => reload(node, load, logger);
  const admin = await AdminServer.open(config.name, {
    status: () => node.status(),
    conns: () => node.conns(),
    stats: () => node.stats(),
    drain: () => askToStop(),
    reload: reloading,
    forgetBlackHoles: (destination) => node.forgetBlackHoles(destination),
    cache: (request, response) => answerCache({ cache: http.cache, warm: warming }, request, response),
    get drainTimeoutMs() {
      return node.config.drainTimeoutMs;
    },
  });
  let unlock = (): void => undefined;
  try {
    unlock = lockAddresses(config.name, Object.values(config.addresses));
    const stopped = untilStopped(node, { stopAsked, hangUp: reloading }, logger);
    await node.start();
    logger.info('ready', { name: config.name, addresses: addressList(config).join(',') });
    ready();
    const status = await stopped;
    await Promise.race([disk?.close(), delay(DISK_MS)]);
    return status;
  } finally {
    unlock();
    admin.close();
  }
}
