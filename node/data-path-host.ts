/** What the eBPF data path needs from the host: pins, a cgroup, a routing table, and warnings about settings. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fromMapped, toMapped, type Family } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { commandSync } from '../host/exec.js';
import { enterCgroup, makeCgroup, ownCgroup, pinDirectory, removeCgroup } from '../host/mounts.js';
import { runtimeDirectory } from '../host/paths.js';
import { TpotSpliceFlag, type TpotFlow } from '../bpf/generated/maps.js';
import { pinnedMap } from '../bpf/pinned.js';
import { DELIVERY_MARK, DELIVERY_MASK, LAYOUT_VERSION, TpotPrograms } from '../bpf/programs.js';
import { clientOf } from '../tpot/client.js';
import { reverseKernelFlow } from './splice-entry.js';

/** Number of the routing table in which every destination is local, and of the rule that leads there. */
const TABLE = '5450';

const versionDirectory = `v${LAYOUT_VERSION}`;

/** Unpins everything of this node, links included: what no other process holds leaves the kernel. */
export function removePins(name: string): void {
  rmSync(pinDirectory('nodes', name), { recursive: true, force: true });
}

/**
 * The sizes that the maps get. A table that an earlier process left with another size keeps that size while there is
 * something in it, since its connections live by it; an empty one gives way.
 */
function sizesOver(
  pins: string,
  wanted: Readonly<Record<string, number>>,
  logger: Logger,
): Record<string, number> {
  const sizes: Record<string, number> = { ...wanted };
  for (const [map, entries] of Object.entries(wanted)) {
    const found = pinnedMap(join(pins, map));
    if (found === undefined || found.maxEntries === entries) continue;
    if (found.empty) {
      rmSync(join(pins, map), { force: true });
      continue;
    }
    sizes[map] = found.maxEntries;
    logger.warn('table-size-kept', {
      map,
      wanted: entries,
      found: found.maxEntries,
      hint: 'The limit takes effect at a start without connections from before.',
    });
  }
  return sizes;
}

/**
 * Loads the programs over the maps that an earlier process of this node left, so that its last connections keep
 * their tunnels; what has another layout is removed instead. `wanted`: sizes by map name.
 */
export function loadAdopting(
  name: string,
  logger: Logger,
  wanted: Readonly<Record<string, number>> = {},
): TpotPrograms {
  const all = pinDirectory('nodes', name);
  const pins = join(all, versionDirectory);
  const stale = existsSync(all) ? readdirSync(all).filter((entry) => entry !== versionDirectory) : [];
  for (const entry of stale) rmSync(join(all, entry), { recursive: true, force: true });
  const adopting = existsSync(pins);
  try {
    const maxEntries = sizesOver(pins, wanted, logger);
    const programs = TpotPrograms.load({ pinDirectory: pins, maxEntries });
    if (adopting) adopt(programs, logger);
    else programs.declareUnused();
    return programs;
  } catch (error) {
    if (!adopting) {
      removePins(name);
      throw error;
    }
    logger.warn('pins-not-adopted', { name, error: messageOf(error) });
    removePins(name);
    const programs = TpotPrograms.load({ pinDirectory: pins, maxEntries: wanted });
    programs.declareUnused();
    return programs;
  }
}

/** One connection of this client is over (bpf/tpot_client.h). */
function clientLeft(programs: TpotPrograms, { source }: TpotFlow): void {
  const clients = programs.map('tpotClients');
  const client = { address: toMapped(clientOf(fromMapped(source))) };
  const connections = clients.get(client) ?? 0;
  if (connections > 1) clients.set(client, connections - 1);
  else clients.delete(client);
}

/**
 * Entries of connections that closed while no program was told, as when a node goes down and its spliced connections stay:
 * they have no socket, and nobody else would ever remove them.
 */
function removeStale(programs: TpotPrograms): void {
  const [taken, tunnels, splices] = [
    programs.map('tpotTaken'),
    programs.map('tpotTunnels'),
    programs.map('tpotSplices'),
  ];
  for (const [flow, { counted }] of [...taken.entries()]) {
    if (programs.hasSocket(flow)) continue;
    taken.delete(flow);
    if (counted !== 0) clientLeft(programs, flow);
  }
  for (const out of [...tunnels.keys()]) {
    const arriving = reverseKernelFlow(out);
    const { flags = TpotSpliceFlag.HOLD } = splices.get(arriving) ?? {};
    const spliced = (flags & TpotSpliceFlag.HOLD) === 0;
    if (!spliced && !programs.hasSocket(arriving)) tunnels.delete(out);
  }
}

/** Recounts the tables: their fill is what is in them now. */
function adopt(programs: TpotPrograms, logger: Logger): void {
  removeStale(programs);
  const taken = [...programs.map('tpotTaken').keys()].length;
  const tunnels = [...programs.map('tpotTunnels').keys()].length;
  programs
    .map('tpotGauges')
    .set(0, { taken: BigInt(taken), tunnels: BigInt(tunnels), unused: 0, padding: 0 });
  logger.info('pins-adopted', { taken, tunnels });
}

/** The cgroup that scopes the socket program to the node's own sockets. */
export class NodeCgroup {
  readonly path: string;
  readonly #parent: string;

  constructor(name: string) {
    const own = ownCgroup();
    const leaf = `tpot-node.${name}`;
    // A second data path in one process (tests) is in the first one's cgroup already.
    this.#parent = own.endsWith(`/${leaf}`) ? dirname(own) : own;
    this.path = join(this.#parent, leaf);
    makeCgroup(this.path);
  }

  enter(): void {
    enterCgroup(this.path);
  }

  /** Idempotent. Stays when somebody else is in it. */
  leave(): void {
    enterCgroup(this.#parent);
    removeCgroup(this.path);
  }
}

/**
 * `ip rule` and `local` route that bring marked packets to the node's sockets, whatever their destination. Nodes in
 * one network namespace share them: each leaves a marker file with its pid, and the last one out removes them.
 */
export class DeliveryRoutes {
  readonly #families: readonly Family[];
  readonly #markers: string;
  readonly #marker: string;

  constructor(name: string, families: readonly Family[]) {
    this.#families = families;
    this.#markers = join(runtimeDirectory, 'routes', String(statSync('/proc/self/ns/net').ino));
    this.#marker = join(this.#markers, name);
  }

  install(): void {
    commandSync('ip', ['link', 'set', 'lo', 'up']); // local routes need it, and a fresh namespace has it down
    mkdirSync(this.#markers, { recursive: true });
    writeFileSync(this.#marker, String(process.pid));
    for (const family of this.#families) {
      const everything = family === 4 ? '0.0.0.0/0' : '::/0';
      commandSync('ip', [`-${family}`, 'route', 'replace', 'local', everything, 'dev', 'lo', 'table', TABLE]);
      if (!this.#hasRule(family)) commandSync('ip', [`-${family}`, 'rule', 'add', ...this.#rule()]);
    }
  }

  /** Idempotent; never throws. */
  remove(): void {
    if (!existsSync(this.#marker)) return;
    rmSync(this.#marker, { force: true });
    if (readdirSync(this.#markers).some((other) => this.#isAlive(other))) return;
    rmSync(this.#markers, { recursive: true, force: true });
    for (const family of [4, 6] as const) {
      attempt(() => commandSync('ip', [`-${family}`, 'rule', 'del', ...this.#rule()]));
      attempt(() => commandSync('ip', [`-${family}`, 'route', 'flush', 'table', TABLE]));
    }
  }

  /**
   * Whether the node that left a marker still runs in this namespace. A killed one leaves its marker behind, and the
   * kernel gives the number of a namespace that has gone to a later one.
   */
  #isAlive(name: string): boolean {
    try {
      const pid = readFileSync(join(this.#markers, name), 'utf8');
      return statSync(`/proc/${pid}/ns/net`).ino === statSync('/proc/self/ns/net').ino;
    } catch {
      return false;
    }
  }

  #rule(): string[] {
    return [
      'pref',
      TABLE,
      'fwmark',
      `0x${DELIVERY_MARK.toString(16)}/0x${DELIVERY_MASK.toString(16)}`,
      'lookup',
      TABLE,
    ];
  }

  #hasRule(family: Family): boolean {
    return commandSync('ip', [`-${family}`, 'rule', 'show', 'pref', TABLE]).trim() !== '';
  }
}

function attempt(action: () => unknown): void {
  try {
    action();
  } catch {
    // what was to be removed is gone already
  }
}

function setting(path: string): string | undefined {
  try {
    return readFileSync(join('/proc/sys/net', path), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Settings that make a node useless or lossy, each with what to do about it. They are the operator's to change. */
export function warnAboutHost(interfaces: readonly string[], logger: Logger): void {
  if (setting('ipv4/ip_forward') === '0') {
    logger.warn('host-setting', {
      setting: 'net.ipv4.ip_forward',
      found: 0,
      effect: 'packets that the node passes are not forwarded',
      hint: 'sysctl -w net.ipv4.ip_forward=1',
    });
  }
  for (const name of ['all', ...interfaces]) {
    if (setting(`ipv4/conf/${name}/rp_filter`) !== '1') continue;
    logger.warn('host-setting', {
      setting: `net.ipv4.conf.${name}.rp_filter`,
      found: 1,
      effect: 'tunnelled packets of asymmetric routes are dropped',
      hint: `sysctl -w net.ipv4.conf.${name}.rp_filter=2`,
    });
  }
}
