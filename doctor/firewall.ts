/**
 * Packet filter rules that may be in the way. A heuristic: rules are looked at one by one for what they name, jumps
 * and sets are not followed, and what runs elsewhere on the path cannot be seen at all.
 *
 * ```
 *   a node:      SYN ─ tc (taken, marked) ─ prerouting ─ input ─▶ listener     the destination's address, the node's mark
 *                tunnelled ─ tc (outer header off, marked) ─ prerouting ─ input ─▶ socket
 *   in between:  option and tunnel (protocol 4, 41) ─ forward ─▶               what a middlebox may drop
 * ```
 */
import { messageOf } from '../core/errors.js';
import { tryCommand } from '../host/exec.js';
import { DELIVERY_MARK, DELIVERY_MASK } from '../bpf/programs.js';
import { UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';
import { ok, warn, type Check } from './check.js';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const TUNNELS: ReadonlySet<Json> = new Set<Json>([4, 41, 'ipip', 'ipencap', 'ip', 'ipv6']);
const NO_TUNNEL = 'IP protocol 4 or 41, which tunnels are';
const NO_UDP_TUNNEL = `UDP port ${UDP_TUNNEL_PORT}, which tunnels go on in where protocol 4 or 41 does not pass`;
/** Options that nftables knows by name: a rule about one of these is not about ours. */
const KNOWN_OPTIONS = new Set([
  'maxseg',
  'window',
  'timestamp',
  'sack',
  'sack-perm',
  'eol',
  'noop',
  'nop',
  'mptcp',
]);
const HEX = 16;
const MARK = `0x${DELIVERY_MARK.toString(HEX)}`;
const MASK = `0x${DELIVERY_MASK.toString(HEX)}`;

interface Chain {
  readonly label: string;
  readonly hook: string | undefined;
  readonly policy: string | undefined;
  readonly rules: readonly (readonly Json[])[];
}

function member(value: Json | undefined, key: string): Json | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Readonly<Record<string, Json>>)[key]
    : undefined;
}

function text(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** Chains with their rules, from what `nft -j list ruleset` prints. */
function chainsOf(ruleset: Json): Chain[] {
  const listed = member(ruleset, 'nftables');
  const entries = Array.isArray(listed) ? (listed as readonly Json[]) : [];
  const key = (entry: Json, chain: string): string =>
    ['family', 'table', chain].map((part) => text(member(entry, part)) ?? '').join(' ');
  const rules = entries.flatMap((entry) => member(entry, 'rule') ?? []);
  return entries.flatMap((entry) => {
    const chain = member(entry, 'chain');
    if (chain === undefined) return [];
    const label = key(chain, 'name');
    const own = rules.filter((rule) => key(rule, 'chain') === label);
    const expressions = own.map((rule) => (member(rule, 'expr') ?? []) as readonly Json[]);
    return [
      { label, hook: text(member(chain, 'hook')), policy: text(member(chain, 'policy')), rules: expressions },
    ];
  });
}

const has = (rule: readonly Json[], ...verdicts: string[]): boolean =>
  rule.some((expression) => verdicts.some((verdict) => member(expression, verdict) !== undefined));
const matches = (rule: readonly Json[]): Json[] =>
  rule.flatMap((expression) => member(expression, 'match') ?? []);
const drops = (rule: readonly Json[]): boolean => has(rule, 'drop', 'reject');

/** The values on the right of a match: one, or those of a set. */
function values(match: Json): readonly Json[] {
  const right = member(match, 'right');
  const set = member(right, 'set') ?? right;
  return Array.isArray(set) ? (set as readonly Json[]) : [set ?? null];
}

function namesProtocol(match: Json): boolean {
  const left = member(match, 'left');
  const field = text(member(member(left, 'payload'), 'field'));
  const meta = text(member(member(left, 'meta'), 'key'));
  return field === 'protocol' || field === 'nexthdr' || meta === 'l4proto';
}

/** Whether a rule names the protocol of the tunnels, or names others and means all but those. */
function meansTunnels(rule: readonly Json[]): boolean {
  return matches(rule).some((match) => {
    if (!namesProtocol(match)) return false;
    const named = values(match).some((value) => TUNNELS.has(value));
    return member(match, 'op') === '!=' ? !named : named;
  });
}

/** Whether a value is a port or a range of ports with that of the tunnels in it. */
function holdsUdpPort(value: Json): boolean {
  const range = member(value, 'range');
  const [from, to] = Array.isArray(range) ? (range as readonly Json[]) : [value, value];
  return Number(from) <= UDP_TUNNEL_PORT && Number(to) >= UDP_TUNNEL_PORT;
}

/** Whether a rule names the port of tunnels in UDP, or names others and means all but those. */
function meansUdpTunnels(rule: readonly Json[]): boolean {
  return matches(rule).some((match) => {
    const payload = member(member(match, 'left'), 'payload');
    if (member(payload, 'protocol') !== 'udp' || member(payload, 'field') !== 'dport') return false;
    const named = values(match).some(holdsUdpPort);
    return member(match, 'op') === '!=' ? !named : named;
  });
}

function meansUnknownOption(rule: readonly Json[]): boolean {
  return rule.some((expression) => {
    const left = member(member(expression, 'match'), 'left') ?? member(expression, 'reset');
    const option = member(left, 'tcp option');
    return option !== undefined && !KNOWN_OPTIONS.has(text(member(option, 'name')) ?? '');
  });
}

function meansInvalid(rule: readonly Json[]): boolean {
  return matches(rule).some(
    (match) =>
      text(member(member(member(match, 'left'), 'ct'), 'key')) === 'state' &&
      values(match).includes('invalid'),
  );
}

function meansMark(rule: readonly Json[]): boolean {
  return matches(rule).some((match) => JSON.stringify(member(match, 'left')).includes('"mark"'));
}

/** What a chain drops by its policy, unless a rule of its own lets it pass. */
function policyFinding({ label, hook, policy, rules }: Chain): string[] {
  if (policy !== 'drop') return [];
  const accepting = rules.filter((rule) => has(rule, 'accept'));
  if (accepting.some((rule) => matches(rule).length === 0)) return [];
  if (hook === 'forward' && !accepting.some(meansTunnels)) {
    return [
      `chain ${label} drops what it does not name, and accepts no protocol 4 or 41 (tunnels that pass here)`,
    ];
  }
  if (hook === 'input' && !accepting.some(meansMark)) {
    return [
      `chain ${label} drops what it does not name, and accepts no mark ${MARK}/${MASK} (taken connections)`,
    ];
  }
  return [];
}

function chainFindings(chain: Chain): string[] {
  const rules = chain.rules.flatMap((rule) => {
    if (meansUnknownOption(rule) && (drops(rule) || has(rule, 'reset')))
      return ['TCP options it does not know'];
    if (!drops(rule)) return [];
    if (meansTunnels(rule)) return [NO_TUNNEL];
    if (meansUdpTunnels(rule)) return [NO_UDP_TUNNEL];
    return meansInvalid(rule) ? ['packets of state invalid, which those beside a tunnel can be'] : [];
  });
  return [...rules.map((what) => `chain ${chain.label} drops or strips ${what}`), ...policyFinding(chain)];
}

/** Findings about the output of `nft -j list ruleset`. */
export function nftFindings(json: string): string[] {
  return chainsOf(JSON.parse(json) as Json).flatMap(chainFindings);
}

/** Findings about the output of `iptables-save` or `ip6tables-save`. */
export function iptablesFindings(saved: string): string[] {
  return saved.split('\n').flatMap((line) => {
    if (!/ -j (DROP|REJECT|TCPOPTSTRIP)\b/.test(line)) return [];
    const suspicious =
      / -p (4|41|ipencap|ipip|ipv6)\b/.test(line) ||
      new RegExp(` -p (17|udp)\\b.* --dports? \\S*\\b${UDP_TUNNEL_PORT}\\b`).test(line) ||
      / --tcp-option 25[34]\b/.test(line) ||
      / -j TCPOPTSTRIP\b.*\b25[34]\b/.test(line) ||
      / --(ct)?state \S*INVALID/.test(line);
    return suspicious ? [`iptables: ${line.trim()}`] : [];
  });
}

const MEND =
  `Let IP protocols 4 and 41, UDP port ${UDP_TUNNEL_PORT} and TCP option 253 pass; on a node let its own connections in: ` +
  `nft add rule inet filter input meta mark and ${MASK} == ${MARK} accept`;

/** What a program prints; undefined when it is not there or fails. */
async function output(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { code, stdout } = await tryCommand(program, args);
    return code === 0 ? stdout : undefined;
  } catch {
    return undefined;
  }
}

export async function checkFirewall(): Promise<Check> {
  const nft = await output('nft', ['-j', 'list', 'ruleset']);
  const saved = [await output('iptables-save', []), await output('ip6tables-save', [])];
  if (nft === undefined && saved.every((one) => one === undefined)) {
    return warn(
      'firewall',
      'rules not read: neither nft nor iptables-save works here',
      'apt-get install nftables',
    );
  }
  try {
    const found = [
      ...(nft === undefined ? [] : nftFindings(nft)),
      ...saved.flatMap((one) => (one === undefined ? [] : iptablesFindings(one))),
    ];
    if (found.length === 0)
      return ok('firewall', 'no rule here looks as if it were in the way (a heuristic)');
    return warn('firewall', `by a heuristic: ${found.join('; ')}`, MEND);
  } catch (error) {
    return warn('firewall', `rules not understood: ${messageOf(error)}`, 'Look at them: nft list ruleset');
  }
}
