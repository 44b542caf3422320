/**
 * Which connections a node takes: rules as people write them, and the flat rows a data path evaluates per SYN.
 * In both, the first match wins, and what matches nothing passes.
 */
import { prefixContains, type IpAddress, type Prefix } from '../core/address.js';
import { isNamed } from './server-names.js';

/** Both ends included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** A part holds when any of its entries does, or when it has none; a rule matches when all its parts hold. */
export interface Rule<Action extends string = string> {
  readonly sources: readonly Prefix[];
  readonly destinations: readonly Prefix[];
  readonly ports: readonly PortRange[];
  /**
   * Patterns of server-names.ts; absent: any connection, whether it is TLS or not. No SYN has a name, so such a rule is
   * decided after it has taken the connection, and can no longer pass it.
   */
  readonly serverNames?: ReadonlySet<string>;
  /** `pass` leaves the connection alone; any other word takes it. */
  readonly action: Action;
  /** Bits of what is accepted and offered; absent: whatever the node can do. */
  readonly capabilities?: number;
  /** Lets SYNs pass that ask for transforms of which none would be accepted: the next node may do them. */
  readonly yields?: boolean;
}

/** The connection a SYN asks for. */
export interface PolicySubject {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

/** One row of the take-or-pass table; an absent prefix matches every address of both families. */
export interface PolicyRow {
  readonly source: Prefix | undefined;
  readonly destination: Prefix | undefined;
  readonly portFrom: number;
  readonly portTo: number;
  readonly take: boolean;
  /** As in {@link Rule}. */
  readonly capabilities?: number;
  readonly yields?: boolean;
}

const ANY_PORT: PortRange = { from: 0, to: 0xffff };

function holds<Entry>(part: readonly Entry[], test: (entry: Entry) => boolean): boolean {
  return part.length === 0 || part.some(test);
}

function ruleMatches(rule: Rule, subject: PolicySubject): boolean {
  const port = subject.destinationPort;
  return (
    holds(rule.sources, (prefix) => prefixContains(prefix, subject.source)) &&
    holds(rule.destinations, (prefix) => prefixContains(prefix, subject.destination)) &&
    holds(rule.ports, (range) => range.from <= port && port <= range.to)
  );
}

/**
 * The rules that a connection may come under by what its SYN says, in order, up to the first that wants nothing more. The
 * first of them says whether the SYN is taken.
 */
export function candidateRules<Own extends Rule>(rules: readonly Own[], subject: PolicySubject): Own[] {
  const candidates: Own[] = [];
  for (const rule of rules) {
    if (!ruleMatches(rule, subject)) continue;
    candidates.push(rule);
    if (rule.serverNames === undefined) break;
  }
  return candidates;
}

/** The candidate that a connection comes under; `serverName` is undefined when it is not TLS or names none. */
export function decideRule<Own extends Rule>(
  candidates: readonly Own[],
  serverName: string | undefined,
): Own | undefined {
  return candidates.find(
    ({ serverNames }) =>
      serverNames === undefined || (serverName !== undefined && isNamed(serverNames, serverName)),
  );
}

/** The row that decides on a connection, if any does: the reference for what data paths do with them. */
export function matchingRow(rows: readonly PolicyRow[], subject: PolicySubject): PolicyRow | undefined {
  const port = subject.destinationPort;
  return rows.find(
    ({ source, destination, portFrom, portTo }) =>
      (source === undefined || prefixContains(source, subject.source)) &&
      (destination === undefined || prefixContains(destination, subject.destination)) &&
      portFrom <= port &&
      port <= portTo,
  );
}

/** Whether the rows take a connection that asks for nothing. */
export function rowsTake(rows: readonly PolicyRow[], subject: PolicySubject): boolean {
  return matchingRow(rows, subject)?.take ?? false;
}

function orAny<Entry, Any>(part: readonly Entry[], any: Any): readonly (Entry | Any)[] {
  return part.length === 0 ? [any] : part;
}

function flattenRule(rule: Rule): PolicyRow[] {
  const rows: PolicyRow[] = [];
  const { capabilities, yields } = rule;
  const asks = {
    ...(capabilities === undefined ? {} : { capabilities }),
    ...(yields === true ? { yields } : {}),
  };
  for (const source of orAny(rule.sources, undefined)) {
    for (const destination of orAny(rule.destinations, undefined)) {
      // A packet is of one family: prefixes of different ones never match together.
      if (source && destination && source.address.family !== destination.address.family) continue;
      for (const { from, to } of orAny(rule.ports, ANY_PORT)) {
        rows.push({ source, destination, portFrom: from, portTo: to, take: rule.action !== 'pass', ...asks });
      }
    }
  }
  return rows;
}

/**
 * Rows that take exactly the connections the rules take; a rule with server names takes whatever may have one. A rule becomes the product of its alternatives; since those
 * all have the rule's action, their order among themselves does not matter, and rules keep theirs.
 */
export function flattenRules(rules: readonly Rule[]): PolicyRow[] {
  return rules.flatMap(flattenRule);
}
