/** What `up --check --to` prints: which rules a connection meets, in the order in which they are looked at. */
import { formatIp, ip, parseIp, type IpAddress } from '../core/address.js';
import { TpotError } from '../core/errors.js';
import { candidateRules, decideRule, type Rule } from '../tpot/policy.js';
import { hostName } from '../wire/tls-hello.js';
import type { Action } from './config.js';

/** A connection as the options name it; code `usage` for what cannot be one. */
export interface Question {
  /** `192.0.2.80:443`, `[2001:db8::1]:443`. */
  readonly to: string;
  readonly from?: string | undefined;
  readonly sni?: string | undefined;
}

function wrong(message: string, hint: string): TpotError {
  return new TpotError('usage', message, { hint });
}

function readAddress(option: string, text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw wrong(`${option}: ${text} is not an address`, 'Addresses only, no names.');
  return address;
}

function readDestination(text: string): { address: IpAddress; port: number } {
  const [, six, four, digits] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits ?? NaN);
  if (!(port <= 65_535)) {
    throw wrong(`--to: ${text} is not an address and a port`, 'Write 192.0.2.80:443 or [2001:db8::1]:443.');
  }
  return { address: readAddress('--to', six ?? four ?? ''), port };
}

function readName(text: string | undefined): string | undefined {
  const name = text === undefined ? undefined : hostName(text);
  if (text !== undefined && name === undefined) {
    throw wrong(
      `--sni: ${text} is not a host name`,
      'Write a name as a client sends it, such as www.example.net.',
    );
  }
  return name;
}

/**
 * Lines of text, newline included. Without `from`, the source is one that only the widest prefix contains.
 *
 * @throws TpotError `usage`
 */
export function traceRules(rules: readonly Rule<Action>[], question: Question): string {
  const { address, port } = readDestination(question.to);
  const any = ip(address.family === 4 ? '0.0.0.0' : '::');
  const source = question.from === undefined ? any : readAddress('--from', question.from);
  if (source.family !== address.family) {
    throw wrong('--from and --to are of different families', 'Give both as IPv4, or both as IPv6.');
  }
  const name = readName(question.sni);
  const subject = { source, destination: address, destinationPort: port };
  const candidates = candidateRules(rules, subject);
  const number = (rule: Rule<Action>): string => `rule ${rules.indexOf(rule) + 1}`;
  const what = [
    'A connection',
    ...(question.from === undefined ? [] : [`from ${formatIp(source)}`]),
    `to ${question.to}`,
    name === undefined ? 'without a TLS server name' : `with the TLS server name ${name}`,
  ].join(' ');
  return [`${what}:`, ...steps(candidates, name, number), ''].join('\n');
}

function steps(
  candidates: readonly Rule<Action>[],
  name: string | undefined,
  number: (rule: Rule<Action>) => string,
): string[] {
  const [first] = candidates;
  if (first === undefined) return ['  no rule takes it: it passes untouched'];
  if (first.serverNames === undefined) return [`  ${number(first)} decides at the SYN: ${first.action}`];
  const lines = [`  ${number(first)} takes the SYN, and is decided by the name`];
  const decided = decideRule(candidates, name);
  const until = decided === undefined ? candidates.length : candidates.indexOf(decided);
  lines.push(...candidates.slice(0, until).map((rule) => `  ${number(rule)} is for other names`));
  if (decided !== undefined && decided.action !== 'pass') {
    lines.push(`  ${number(decided)} decides: ${decided.action}`);
  } else {
    const last = decided === undefined ? 'no rule is left' : `${number(decided)} says pass`;
    lines.push(`  ${last}, and the connection has been taken: it is spliced (late-pass)`);
  }
  return lines;
}
