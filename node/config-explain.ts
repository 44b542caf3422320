/** What `up --check` prints: every resolved value, each rule as a sentence, and what looks unintended. */
import { createHash } from 'node:crypto';
import { namesOf } from '../transcode/capabilities.js';
import type { AdmissionChoice } from '../cache/policy.js';
import { formatIp, formatPrefix, type IpAddress } from '../core/address.js';
import type { PortRange } from '../tpot/policy.js';
import { addressesOfOthers } from './addresses.js';
import type { Action, NodeConfig, NodeRule } from './config.js';
import { describePipeline } from './content-settings.js';
import { formatDuration, formatPortRange, formatSize } from './units.js';

const DOES: Readonly<Record<Action, string>> = {
  cache: 'is taken: HTTP is answered from the cache, anything else is spliced',
  splice: 'is taken, and joined in the kernel',
  relay: 'is taken and relayed',
  pass: 'passes untouched',
};

function either(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`;
}

function ports(ranges: readonly PortRange[]): string {
  const several = ranges.length > 1 || ranges.some(({ from, to }) => from !== to);
  return `port${several ? 's' : ''} ${either(ranges.map(formatPortRange))}`;
}

/** What a rule stores otherwise than the node does. */
function stores({ secondRequest, keepHits }: AdmissionChoice = {}): string {
  const words: string[] = [];
  if (secondRequest !== undefined) {
    words.push(secondRequest ? 'only what is asked for twice is stored' : 'all that may be is stored');
  }
  if (keepHits !== undefined)
    words.push(`what the next node has is ${keepHits ? 'stored, too' : 'not stored'}`);
  return words.map((text) => `; ${text}`).join('');
}

function matchesAll({ sources, destinations, ports: ranges, serverNames }: NodeRule): boolean {
  return sources.length + destinations.length + ranges.length === 0 && serverNames === undefined;
}

function streamsOf({ capabilities }: NodeRule): string {
  if (capabilities === undefined) return '';
  return `, its transforms: ${namesOf(capabilities).join(', ') || 'none'}`;
}

/** One English sentence, and one about content where it is transformed. */
export function describeRule(rule: NodeRule): string {
  const content =
    rule.content === undefined ? '' : ` Responses go through ${describePipeline(rule.content)}.`;
  return `${describeMatch(rule)}${content}`;
}

function describeMatch(rule: NodeRule): string {
  const does = `${DOES[rule.action]}${streamsOf(rule)}${stores(rule.admission)}.`;
  if (matchesAll(rule)) return `Every other connection ${does}`;
  const words = ['A connection'];
  if (rule.sources.length > 0) words.push(`from ${either(rule.sources.map(formatPrefix))}`);
  if (rule.destinations.length > 0) words.push(`to ${either(rule.destinations.map(formatPrefix))}`);
  if (rule.ports.length > 0) words.push(`${rule.destinations.length > 0 ? 'on' : 'to'} ${ports(rule.ports)}`);
  if (rule.serverNames !== undefined) words.push(`with the TLS server name ${either([...rule.serverNames])}`);
  return `${words.join(' ')} ${does}`;
}

/** What to know of rules with server names, and what looks unintended in them. */
function aboutNames(rules: readonly NodeRule[]): string[] {
  if (rules.every(({ serverNames }) => serverNames === undefined)) return [];
  const portless = rules.flatMap(({ serverNames, ports: ranges }, index) =>
    serverNames !== undefined && ranges.length === 0 ? [index + 1] : [],
  );
  return [
    '',
    'A rule with a server name takes every connection that it may match, looks at the first bytes, and leaves it to',
    'the rules behind when the name is another one. What then passes, or comes under no rule, is spliced.',
    ...portless.map(
      (rule) =>
        `warning: rule ${rule} takes connections to every port to look for its name; give it a \`dport\`.`,
    ),
  ];
}

function describeRules(rules: readonly NodeRule[]): string[] {
  const last = rules.findIndex(matchesAll);
  const lines = rules.map((rule, index) => {
    const unreachable =
      last >= 0 && index > last ? `  (never reached: rule ${last + 1} matches everything)` : '';
    return `  ${index + 1}. ${describeRule(rule)}${unreachable}`;
  });
  if (last < 0) lines.push('  otherwise: The connection passes untouched.');
  return lines;
}

function addressesOf({ addresses }: NodeConfig): IpAddress[] {
  return [addresses[4], addresses[6]].filter((address): address is IpAddress => address !== undefined);
}

/** The node's addresses in text, IPv4 first. */
export function addressList(config: NodeConfig): string[] {
  return addressesOf(config).map(formatIp);
}

/** Addresses that tunnels could never reach, since this machine does not have them. */
export function foreignAddresses(config: NodeConfig): string[] {
  return addressesOfOthers(addressesOf(config)).map(formatIp);
}

/** How many prefixes a bypass list has: too many to print. */
function describeBypass({ bypass }: NodeConfig): string {
  return bypass.length === 0 ? 'nothing' : `${bypass.length} combinations of prefix and ports, never taken`;
}

/** Enough to see whether two machines have the same keys; nothing that helps to guess one. */
function describeKeys({ keys, requireKey }: NodeConfig): string {
  if (keys.length === 0) return 'none: requests and replies have no MAC';
  const shown = keys.map(({ id, secret }) => {
    const fingerprint = createHash('sha256').update('tpot-node key').update(secret).digest('hex').slice(0, 8);
    return `${id} (${fingerprint})`;
  });
  const others = shown.length > 1 ? `, ${shown.slice(1).join(', ')} verify too` : '';
  const required = requireKey ? 'requests without a MAC pass' : 'requests without a MAC are taken, too';
  return `${shown[0] ?? ''} signs${others}; ${required}`;
}

/** Every key with its resolved value as text, but the rules. */
export function configValues(config: NodeConfig): [string, string][] {
  return [
    ['name', config.name],
    ['address', addressList(config).join(', ')],
    ['interfaces', config.interfaces?.join(', ') ?? 'every non-loopback interface'],
    ['bypass', describeBypass(config)],
    [
      'source',
      config.source === 'node'
        ? "node: next legs have this node's address"
        : "client: next legs have their client's address and port",
    ],
    ['mode', `${config.mode} (a client is answered at once, the next leg opens when it is needed)`],
    ['hops', `${config.hops} more nodes may take a connection that came without a request`],
    [
      'trust',
      `next hops inside ${config.trust.map(formatPrefix).join(', ') || 'no prefix: none is believed'}`,
    ],
    ['keys', describeKeys(config)],
    [
      'edge',
      config.edge
        ? 'true: SYNs without a request are taken too'
        : 'false: only SYNs with a request are taken',
    ],
    ...tunnelValues(config),
    ...cacheValues(config),
    ...limitValues(config),
    [
      'transforms.streams',
      config.transforms.bits === 0
        ? 'none: nothing between this node and others is transformed'
        : `${namesOf(config.transforms.bits).join(', ')}: with nodes that agree`,
    ],
    ['transforms.store', formatSize(config.transforms.storeBytes)],
    ['transforms.connections', `${config.transforms.connections}; above it new ones are not transformed`],
    [
      'transforms.passOn',
      config.transforms.passOn
        ? 'true: who asks for transforms that this node would not do goes on to the next one, instead of being relayed'
        : 'false',
    ],
    [
      'transforms.estimate',
      config.transforms.estimate
        ? 'true: samples what transforms would save where the next node has none'
        : 'false',
    ],
    ...contentValues(config),
    ['splice.idle', `${formatDuration(config.spliceIdleMs)} without a packet end a spliced connection`],
    ['limits.headersTimeout', formatDuration(config.headersTimeoutMs)],
    ['limits.idleTimeout', formatDuration(config.idleTimeoutMs)],
    ['drainTimeout', formatDuration(config.drainTimeoutMs)],
  ];
}

function tunnelValues({ udp, returnTunnel }: NodeConfig): [string, string][] {
  return [
    [
      'udpEncapsulation',
      udp === undefined
        ? 'false: where IP in IP does not pass, connections are plain'
        : `port ${udp.port}: offered for paths on which IP in IP does not pass`,
    ],
    [
      'returnTunnel',
      returnTunnel
        ? 'true: where plain segments to a source stay without an answer, they go in a tunnel'
        : 'false: segments to a source are always plain',
    ],
  ];
}

function limitValues(config: NodeConfig): [string, string][] {
  return [
    ['limits.connections', String(config.maxConnections)],
    [
      'limits.perClient',
      config.maxPerClient === 0
        ? '0: one client may have all of them'
        : `${config.maxPerClient} of one client (an IPv4 address, an IPv6 /64); above it SYNs pass`,
    ],
    ['limits.splices', `${config.maxSplices} connections; above it they stay relayed`],
  ];
}

function longBodyValues({ spliceAbove, tapAbove }: NodeConfig): [string, string][] {
  return [
    [
      'cache.spliceAbove',
      spliceAbove === 0
        ? '0: every response body passes through this process'
        : `${formatSize(spliceAbove)}: longer bodies that are not stored leave for the kernel`,
    ],
    [
      'cache.tapAbove',
      tapAbove === 0
        ? '0: every response that is stored passes through this process'
        : `${formatSize(tapAbove)}: longer bodies leave for the kernel and are stored from a copy`,
    ],
  ];
}

function cacheValues(config: NodeConfig): [string, string][] {
  const policy = config.cachePolicy;
  return [
    ['cache.memory', formatSize(config.cacheBytes)],
    [
      'cache.disk',
      config.cacheDisk === undefined
        ? 'none: what is stored ends with the process'
        : `${formatSize(config.cacheDisk.maxBytes)} in ${config.cacheDisk.path}`,
    ],
    ...longBodyValues(config),
    ['cache.targeted', policy.targets.join(', ') || 'no field'],
    ['cache.staleIfDown', formatDuration(policy.disconnectedSeconds * 1000)],
    [
      'cache.admit',
      policy.secondRequest ? 'second-request: only what is asked for twice is stored' : 'always',
    ],
    ['cache.noVarySearch', policy.noVarySearch ? 'true' : 'false: every query is another resource'],
    ['cache.keepHits', policy.keepHits ? 'true' : 'false: what the next node has is not stored here'],
    ['cache.stallTimeout', formatDuration(config.stallTimeoutMs)],
    ['cache.verifyHost', config.verifyHost ? 'true: addresses of one name share what is stored' : 'false'],
  ];
}

function contentValues({ content, rules }: NodeConfig): [string, string][] {
  if (rules.every((rule) => rule.content === undefined)) return [];
  const { kept, largest, timeout, processes, memory } = content;
  return [
    ['content.memory', `${formatSize(kept)} of transformed contents`],
    ['content.largest', `${formatSize(largest)}: longer contents pass as they are`],
    ['content.timeout', formatDuration(timeout)],
    ['content.processes', String(processes)],
    ['content.processMemory', formatSize(memory)],
  ];
}

/** Lines of text, newline included. */
export function explainConfig(config: NodeConfig, source: string): string {
  const width = Math.max(...configValues(config).map(([key]) => key.length));
  const warnings = foreignAddresses(config).map(
    (address) => `warning: ${address} is not an address of this machine; \`up\` will refuse to start here.`,
  );
  return [
    `${source}: valid`,
    '',
    ...configValues(config).map(([key, value]) => `  ${key.padEnd(width)}  ${value}`),
    '',
    'Rules, the first that matches wins:',
    ...describeRules(config.rules),
    ...aboutNames(config.rules),
    ...(warnings.length > 0 ? ['', ...warnings] : []),
    '',
  ].join('\n');
}
