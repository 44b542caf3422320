/**
 * The configuration of a node: a YAML file, overridden by command-line options, completed with defaults.
 *
 * The file is checked against config.schema.json, which ships. Everything wrong is reported at once, each problem
 * with `file:line:column` and a hint.
 */
import { hostname } from 'node:os';
import { formatIp, ip, parsePrefix, type Family, type IpAddress, type Prefix } from '../core/address.js';
import type { ContentLimits } from '../content/service.js';
import type { Pipeline } from '../content/steps.js';
import { TpotError } from '../core/errors.js';
import { readTrusted } from '../host/trusted-file.js';
import type { AdmissionChoice } from '../cache/policy.js';
import type { BypassEntry } from '../tpot/bypass.js';
import type { Key } from '../tpot/key.js';
import { bitsOf } from '../transcode/capabilities.js';
import { flattenRules, type PortRange, type Rule } from '../tpot/policy.js';
import { parseServerName } from '../tpot/server-names.js';
import { UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';
import { globalAddresses } from './addresses.js';
import { resolveBypass } from './bypass-list.js';
import { toAdmission, toCacheSettings, type CacheSettings } from './cache-policy.js';
import { parseConfigText, type ConfigProblem, type ConfigSource } from './config-file.js';
import { checkShape, type ConfigPath, type RawConfig, type RawRule } from './config-schema.js';
import { toContentLimits, toPipeline } from './content-settings.js';
import { readKeys } from './key-list.js';
import { toTransformSettings, type TransformSettings } from './transform-settings.js';
import { parseDuration, parsePortRange } from './units.js';

/**
 * `cache`: answer HTTP from the cache, splice the rest. `splice`: join both legs in the kernel. `relay`: pass every byte
 * through this process. `pass`: do not take.
 */
export type Action = 'cache' | 'splice' | 'relay' | 'pass';

/** A rule, what of the responses that come under it is stored, and how they go to their clients. */
export interface NodeRule extends Rule<Action> {
  /** Absent: what the node stores in general. */
  readonly admission?: AdmissionChoice;
  readonly content?: Pipeline;
}

/** A port that was chosen must be free; without the default one the node starts all the same. */
export interface UdpOffer {
  readonly port: number;
  readonly required: boolean;
}

/** A configuration with every value resolved. Sizes in bytes, durations in milliseconds. */
export interface NodeConfig extends CacheSettings {
  readonly name: string;
  /** At least one. */
  readonly addresses: Partial<Record<Family, IpAddress>>;
  /** Whether they were given; otherwise they are what the interfaces had at the start. */
  readonly addressGiven: boolean;
  /** Undefined: every non-loopback interface. */
  readonly interfaces: readonly string[] | undefined;
  readonly rules: readonly NodeRule[];
  /** Never taken, whatever the rules say. */
  readonly bypass: readonly BypassEntry[];
  readonly mode: 'basic';
  /** Whose address and port the next leg has (protocol rule 10). */
  readonly source: 'node' | 'client';
  readonly hops: number;
  readonly trust: readonly Prefix[];
  /** Of requests and replies; the first signs. None: they have no MAC. */
  readonly keys: readonly Key[];
  /** Takes no request without a MAC. */
  readonly requireKey: boolean;
  readonly edge: boolean;
  /** Where tunnels in UDP end; undefined offers none. */
  readonly udp: UdpOffer | undefined;
  /** Segments to sources, and from next hops, may be in a tunnel where nothing else gets through. */
  readonly returnTunnel: boolean;
  readonly maxConnections: number;
  /** Connections of one client, spliced ones included; 0: no limit. */
  readonly maxPerClient: number;
  readonly maxSplices: number;
  readonly spliceIdleMs: number;
  /** From the first byte of an HTTP request to the end of its header section. */
  readonly headersTimeoutMs: number;
  /** How long nothing may move during an HTTP exchange. */
  readonly idleTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly transforms: TransformSettings;
  readonly content: ContentLimits;
}

/** What the command line may override; each is checked like the key it stands for. */
export interface ConfigOverrides {
  readonly name?: string | undefined;
  readonly address?: string | undefined;
  readonly interfaces?: readonly string[] | undefined;
}

/** Code `config-invalid`; `problems` has everything that is wrong, in the order of the file. */
export class ConfigError extends TpotError {
  override readonly name = 'ConfigError';
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super('config-invalid', problems.map(({ where, message }) => `${where}: ${message}`).join('\n'));
    this.problems = problems;
  }
}

/** The size of the data path's table (TPOT_POLICY_ROWS in bpf/tpot_consts.h). */
const MAX_POLICY_ROWS = 256;

const DEFAULTS = {
  hops: 8,
  trust: ['0.0.0.0/0', '::/0'],
  rules: [{ match: { dport: [80, 8080] }, action: 'cache' }, { action: 'relay' }] satisfies RawRule[],
  connections: 100_000,
  perClient: 0,
  splices: 131_072,
  spliceIdle: '24h',
  headersTimeout: '60s',
  idleTimeout: '600s',
  drainTimeout: '30s',
} as const;

const CONTENT_HINT = 'Only responses that this node understands can be transformed: write `action: cache`.';

const OPTION_OF_KEY: Readonly<Record<string, string>> = {
  name: '--name',
  address: '--address',
  interfaces: '--interface',
};

function list<T extends string | number>(value: T | readonly T[]): readonly T[] {
  return typeof value === 'object' ? value : [value];
}

/** To take it for the defaults would open a running node to everybody whom its rules had kept out. */
const NOTHING = {
  message: 'is empty, as a file is that is being written, and a pipe that is read again',
  hint: 'Write to another file and rename it; `{}` means the defaults.',
};

function readText(file: string): string {
  const read = readTrusted(file);
  const problem = 'problem' in read ? read.problem : read.text.trim() === '' ? NOTHING : undefined;
  if (problem !== undefined) throw new ConfigError([{ where: file, ...problem }]);
  return 'text' in read ? read.text : '';
}

function parseOverrides(overrides: ConfigOverrides): Pick<ConfigSource, 'raw' | 'problems'> {
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
  const checked = checkShape(given);
  if ('config' in checked) return { raw: checked.config, problems: [] };
  const where = (path: ConfigPath): string => OPTION_OF_KEY[String(path[0])] ?? 'command line';
  return {
    raw: {},
    problems: checked.problems.map(({ path, message, hint }) => ({ where: where(path), message, hint })),
  };
}

function toPrefixes(written: string | readonly string[] = []): Prefix[] {
  return list(written).flatMap((text) => parsePrefix(text) ?? []);
}

function toPorts(written: number | string | readonly (number | string)[] = []): PortRange[] {
  return list(written).flatMap((port) => parsePortRange(String(port)) ?? []);
}

function toServerNames(written: string | readonly string[]): ReadonlySet<string> {
  return new Set(list(written).flatMap((text) => parseServerName(text) ?? []));
}

function toRule(rule: RawRule, passOn: boolean, content?: Pipeline): NodeRule {
  const { match = {}, action, transforms } = rule;
  const admission = toAdmission(rule);
  // Who has a name to look at, or a cache to serve from, has more to do than to carry bytes.
  const yields = passOn && (action === 'relay' || action === 'splice') && match.sni === undefined;
  return {
    sources: toPrefixes(match.src),
    destinations: toPrefixes(match.dst),
    ports: toPorts(match.dport),
    ...(match.sni === undefined ? {} : { serverNames: toServerNames(match.sni) }),
    action,
    ...(admission === undefined ? {} : { admission }),
    ...(content === undefined ? {} : { content }),
    ...(transforms === undefined ? {} : { capabilities: bitsOf(transforms) }),
    ...(yields ? { yields } : {}),
  };
}

/** The rules, and what is wrong with their pipelines. */
function toRules(
  raw: readonly RawRule[],
  file: string,
  { locate, passOn }: Pick<ConfigSource, 'locate'> & { readonly passOn: boolean },
): { readonly rules: NodeRule[]; readonly problems: ConfigProblem[] } {
  const problems: ConfigProblem[] = [];
  const rules = raw.map((rule, index) => {
    if (rule.content === undefined) return toRule(rule, passOn);
    const problem = (path: ConfigPath, message: string, hint: string): void => {
      problems.push({ where: locate(['rules', index, 'content', ...path]), message, hint });
    };
    if (rule.action !== 'cache') {
      problem([], `\`rules[${index}]\` has \`content\`, but its action is ${rule.action}`, CONTENT_HINT);
    }
    const made = toPipeline(rule.content, file);
    if ('pipeline' in made) return toRule(rule, passOn, made.pipeline);
    for (const { path, message, hint } of made.problems) {
      problem(path, `\`rules[${index}].content[${path[0] ?? 0}]\`: ${message}`, hint);
    }
    return toRule(rule, passOn);
  });
  return { rules, problems };
}

/** The host's name cut down to what a node's name may be. */
function defaultName(): string {
  const label = (hostname().split('.')[0] ?? '').replaceAll(/[^A-Za-z0-9_-]/g, '-').replace(/^[_-]+/, '');
  return label.slice(0, 63) || 'node';
}

function toAddresses(raw: RawConfig): Partial<Record<Family, IpAddress>> {
  if (raw.address === undefined) return globalAddresses(raw.interfaces);
  const addresses: Partial<Record<Family, IpAddress>> = {};
  for (const text of list(raw.address)) {
    const address = ip(text);
    addresses[address.family] = address;
  }
  return addresses;
}

/** A name comes behind the handshake, when the node has answered for the destination. */
function passByName(index: number, locate: ConfigSource['locate']): ConfigProblem {
  return {
    where: locate(['rules', index, 'action']),
    message: `\`rules[${index}]\` cannot pass by \`sni\`: the name is only known once the connection has been taken`,
    hint: 'Write `action: splice`, which hands the connection to the kernel as it is, or leave `sni` out.',
  };
}

/** Only what is answered from the cache can be stored. */
function admitsNothing(index: number, action: Action, locate: ConfigSource['locate']): ConfigProblem {
  return {
    where: locate(['rules', index, 'action']),
    message: `\`rules[${index}]\` says what is stored, but its action is ${action}, which stores nothing`,
    hint: 'Write `action: cache`, or leave `admit` and `keepHits` out.',
  };
}

/** What a schema cannot say. */
function contradictions(
  raw: RawConfig,
  rules: readonly NodeRule[],
  locate: ConfigSource['locate'],
): ConfigProblem[] {
  const found: ConfigProblem[] = [];
  const addresses = raw.address === undefined ? [] : list(raw.address).map(ip);
  if (addresses.length === 2 && addresses[0]?.family === addresses[1]?.family) {
    const message = `\`address\` has two addresses of one family: ${addresses.map(formatIp).join(', ')}`;
    found.push({ where: locate(['address']), message, hint: 'Give at most one IPv4 and one IPv6 address.' });
  }
  for (const [index, rule] of rules.entries()) {
    if (rule.serverNames !== undefined && rule.action === 'pass') found.push(passByName(index, locate));
    if (rule.admission !== undefined && rule.action !== 'cache') {
      found.push(admitsNothing(index, rule.action, locate));
    }
    if (flattenRules([rule]).length > 0) continue;
    const message = `\`rules[${index}]\` can never match: src and dst are of different families`;
    found.push({
      where: locate(['rules', index]),
      message,
      hint: 'Use prefixes of one family in src and dst.',
    });
  }
  const rows = flattenRules(rules).length;
  if (rows > MAX_POLICY_ROWS) {
    const message = `\`rules\` make ${rows} combinations of src, dst and dport, more than the ${MAX_POLICY_ROWS} possible`;
    found.push({ where: locate(['rules']), message, hint: 'Use wider prefixes or port ranges.' });
  }
  return found;
}

function toUdpOffer(written: RawConfig['udpEncapsulation']): UdpOffer | undefined {
  if (written === false) return undefined;
  const port = typeof written === 'object' ? written.port : undefined;
  return { port: port ?? UDP_TUNNEL_PORT, required: port !== undefined };
}

type Limits = Pick<
  NodeConfig,
  'maxConnections' | 'maxPerClient' | 'maxSplices' | 'spliceIdleMs' | 'headersTimeoutMs' | 'idleTimeoutMs'
>;

function toLimits({ limits, splice }: RawConfig): Limits {
  return {
    maxConnections: limits?.connections ?? DEFAULTS.connections,
    maxPerClient: limits?.perClient ?? DEFAULTS.perClient,
    maxSplices: limits?.splices ?? DEFAULTS.splices,
    spliceIdleMs: parseDuration(splice?.idle ?? DEFAULTS.spliceIdle) ?? 0,
    headersTimeoutMs: parseDuration(limits?.headersTimeout ?? DEFAULTS.headersTimeout) ?? 0,
    idleTimeoutMs: parseDuration(limits?.idleTimeout ?? DEFAULTS.idleTimeout) ?? 0,
  };
}

function complete(
  raw: RawConfig,
  rules: readonly NodeRule[],
  bypass: readonly BypassEntry[],
  keys: readonly Key[],
): NodeConfig {
  return {
    name: raw.name ?? defaultName(),
    addresses: toAddresses(raw),
    addressGiven: raw.address !== undefined,
    interfaces: raw.interfaces,
    rules,
    bypass,
    mode: 'basic',
    source: raw.source ?? 'node',
    hops: raw.hops ?? DEFAULTS.hops,
    trust: toPrefixes(raw.trust ?? DEFAULTS.trust),
    keys,
    requireKey: raw.keys?.require ?? false,
    edge: raw.edge ?? false,
    udp: toUdpOffer(raw.udpEncapsulation),
    returnTunnel: raw.returnTunnel ?? true,
    ...toCacheSettings(raw.cache),
    ...toLimits(raw),
    transforms: toTransformSettings(raw.transforms),
    content: toContentLimits(raw.content),
    drainTimeoutMs: parseDuration(raw.drainTimeout ?? DEFAULTS.drainTimeout) ?? 0,
  };
}

function requireAddress(config: NodeConfig, where: string): void {
  if (config.addresses[4] !== undefined || config.addresses[6] !== undefined) return;
  const interfaces = config.interfaces === undefined ? 'any interface' : config.interfaces.join(', ');
  const message = `no \`address\` is given, and there is no global address on ${interfaces}`;
  throw new ConfigError([{ where, message, hint: 'Give one with --address or the key `address`.' }]);
}

/**
 * Resolves the configuration of a node. Without a file the defaults hold: cache on ports 80 and 8080, relay the rest.
 *
 * @throws ConfigError with everything that is wrong.
 */
export function loadConfig(file: string | undefined, overrides: ConfigOverrides = {}): NodeConfig {
  const name = file ?? 'defaults';
  const fromFile = parseConfigText(name, file === undefined ? '' : readText(file));
  const fromOptions = parseOverrides(overrides);
  const problems = [...fromFile.problems, ...fromOptions.problems];
  if (problems.length > 0) throw new ConfigError(problems);
  const passOn = fromFile.raw.transforms?.passOn ?? true;
  const { rules, problems: ofContent } = toRules(fromFile.raw.rules ?? DEFAULTS.rules, name, {
    locate: fromFile.locate,
    passOn,
  });
  const bypass = resolveBypass(fromFile.raw.bypass ?? {}, name, fromFile.locate(['bypass']));
  const keys = readKeys(fromFile.raw.keys?.file, name);
  const found = [
    ...ofContent,
    ...contradictions(fromFile.raw, rules, fromFile.locate),
    ...bypass.problems,
    ...keys.problems,
  ];
  if (found.length > 0) throw new ConfigError(found);
  const config = complete({ ...fromFile.raw, ...fromOptions.raw }, rules, bypass.entries, keys.keys);
  requireAddress(config, name);
  return config;
}
