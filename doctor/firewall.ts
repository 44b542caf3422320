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
import { readSetting } from './settings.js';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const TUNNELS: ReadonlySet<Json> = new Set<Json>([4, 41, 'ipip', 'ipencap', 'ip', 'ipv6']);
const NO_TUNNEL = 'IP protocol 4 or 41, which tunnels are';
const NO_UDP_TUNNEL = `UDP port ${UDP_TUNNEL_PORT}, which tunnels go on in where protocol 4 or 41 does not pass`;
/** Those from beyond the first window of a client whose acknowledgments are in a tunnel. */
const INVALID = 'packets of state invalid, which those beside a tunnel can be';
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

const PLACES: ReadonlySet<Json | undefined> = new Set(['iif', 'oif', 'iifname', 'oifname', 'saddr', 'daddr']);

/** Whether a rule is about tunnels, or about whatever comes from or goes to some places. */
function includesTunnels(rule: readonly Json[]): boolean {
  const ofPlaces = matches(rule).every((match) => {
    const left = member(match, 'left');
    return PLACES.has(member(member(left, 'meta'), 'key') ?? member(member(left, 'payload'), 'field'));
  });
  return ofPlaces || meansTunnels(rule);
}

function meansEstablished(rule: readonly Json[]): boolean {
  return matches(rule).some(
    (match) =>
      text(member(member(member(match, 'left'), 'ct'), 'key')) === 'state' &&
      values(match).includes('established'),
  );
}

function meansMark(rule: readonly Json[]): boolean {
  return matches(rule).some((match) => JSON.stringify(member(match, 'left')).includes('"mark"'));
}

/** Something that drops what it should not, and what to do about it. */
interface Finding {
  readonly what: string;
  readonly mend: string;
}

const LET_PASS = `Let IP protocols 4 and 41, UDP port ${UDP_TUNNEL_PORT} and TCP option 253 pass.`;
const BE_LIBERAL =
  'sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1 (it does not see what acknowledges answers; without it they come in a tunnel, the first after a pause).';
const letIn = (chain: string): string =>
  `On a node let its own connections in: nft insert rule ${chain} meta mark and ${MASK} == ${MARK} accept`;

/** What a rule may do beside dropping and drop everything all the same. */
const UNCONDITIONAL = new Set(['drop', 'reject', 'counter', 'log']);

const dropsAll = (rule: readonly Json[]): boolean =>
  drops(rule) &&
  rule.every((expression) => Object.keys(expression as object).every((key) => UNCONDITIONAL.has(key)));

/** The rules before everything else is dropped, by a rule or the policy; undefined where it is not. */
function exceptions({ policy, rules }: Chain): Chain['rules'] | undefined {
  const last = rules.findIndex(dropsAll);
  if (last >= 0) return rules.slice(0, last);
  return policy === 'drop' ? rules : undefined;
}

/** What a chain drops with everything that it does not name. */
function restFinding(chain: Chain): Finding[] {
  const { label, hook } = chain;
  const accepting = exceptions(chain)?.filter((rule) => has(rule, 'accept'));
  if (accepting === undefined || accepting.some((rule) => matches(rule).length === 0)) return [];
  const what = `chain ${label} drops what it does not name, and accepts no`;
  if (hook === 'forward' && !accepting.some(includesTunnels))
    return [{ what: `${what} protocol 4 or 41 (tunnels that pass here)`, mend: LET_PASS }];
  if (hook === 'forward' && accepting.some(meansEstablished))
    return [{ what: `${what} ${INVALID}`, mend: BE_LIBERAL }];
  if (hook === 'input' && !accepting.some(meansMark))
    return [{ what: `${what} mark ${MARK}/${MASK} (taken connections)`, mend: letIn(label) }];
  return [];
}

function ruleFinding(rule: readonly Json[]): Finding[] {
  if (meansUnknownOption(rule) && (drops(rule) || has(rule, 'reset')))
    return [{ what: 'TCP options it does not know', mend: LET_PASS }];
  if (!drops(rule)) return [];
  if (meansTunnels(rule)) return [{ what: NO_TUNNEL, mend: LET_PASS }];
  if (meansUdpTunnels(rule)) return [{ what: NO_UDP_TUNNEL, mend: LET_PASS }];
  return meansInvalid(rule) ? [{ what: INVALID, mend: BE_LIBERAL }] : [];
}

function chainFindings(chain: Chain): Finding[] {
  const rules = chain.rules
    .flatMap(ruleFinding)
    // Connection tracking on a tunnel's ends sees what is in it: it comes before the tunnel, or behind it.
    .filter(({ mend }) => mend !== BE_LIBERAL || (chain.hook !== 'input' && chain.hook !== 'output'))
    .map(({ what, mend }) => ({ what: `chain ${chain.label} drops or strips ${what}`, mend }));
  return [...rules, ...restFinding(chain)];
}

/** Findings about the output of `nft -j list ruleset`. */
export function nftFindings(json: string): Finding[] {
  return chainsOf(JSON.parse(json) as Json).flatMap(chainFindings);
}

/** Findings about the output of `iptables-save` or `ip6tables-save`. */
export function iptablesFindings(saved: string): Finding[] {
  return saved.split('\n').flatMap((line) => {
    if (!/ -j (DROP|REJECT|TCPOPTSTRIP)\b/.test(line)) return [];
    const what = `iptables: ${line.trim()}`;
    if (/ --(ct)?state \S*INVALID/.test(line))
      return /^-A (INPUT|OUTPUT)\b/.test(line) ? [] : [{ what, mend: BE_LIBERAL }];
    const suspicious =
      / -p (4|41|ipencap|ipip|ipv6)\b/.test(line) ||
      new RegExp(` -p (17|udp)\\b.* --dports? \\S*\\b${UDP_TUNNEL_PORT}\\b`).test(line) ||
      / --tcp-option 25[34]\b/.test(line) ||
      / -j TCPOPTSTRIP\b.*\b25[34]\b/.test(line);
    return suspicious ? [{ what, mend: LET_PASS }] : [];
  });
}

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
    const all = [
      ...(nft === undefined ? [] : nftFindings(nft)),
      ...saved.flatMap((one) => (one === undefined ? [] : iptablesFindings(one))),
    ];
    const liberal = readSetting('netfilter/nf_conntrack_tcp_be_liberal') === '1';
    const found = all.filter(({ mend }) => !liberal || mend !== BE_LIBERAL);
    if (found.length === 0)
      return ok('firewall', 'no rule here looks as if it were in the way (a heuristic)');
    // The longest last: it ends with a command.
    const mends = [...new Set(found.map(({ mend }) => mend))].sort((one, other) => one.length - other.length);
    return warn('firewall', `by a heuristic: ${found.map(({ what }) => what).join('; ')}`, mends.join(' '));
  } catch (error) {
    return warn('firewall', `rules not understood: ${messageOf(error)}`, 'Look at them: nft list ruleset');
  }
}
