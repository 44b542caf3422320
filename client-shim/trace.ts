/**
 * Who is on the path (protocol rule 11): hops 1, 2, 3 … until the destination answers itself. Pure over the question
 * that is asked each time; prober.ts asks it with real connections.
 */
import { formatIp, type IpAddress } from '../core/address.js';
import type { Key } from '../tpot/key.js';
import { CAPABILITY } from '../tpot/option.js';
import { Prober, type ProbeAnswer } from './prober.js';

export interface TraceHop {
  readonly hop: number;
  readonly address: string;
  /** SYN to SYN-ACK. */
  readonly milliseconds: number;
  /** By name; null where the reply cannot say (IPv6). */
  readonly capabilities: readonly string[] | null;
}

/** Why there are no more hops; the first two mean that the chain is complete. */
export const TRACE_ENDS = {
  destination: 'the destination answered itself: no further node takes connections to it',
  refused: 'the connection was refused: no further node takes connections to it',
  hidden: 'this node does not know traces and takes every one: nodes behind it cannot be seen',
  max: 'as many nodes as were asked for; there may be more',
  'request-lost':
    'only a SYN without the request was answered: something on the path drops the option, or a node drops what it takes',
  'reply-invalid': 'a reply came whose address no tunnel can lead to',
  'reply-unkeyed':
    'a reply came without a right MAC: somebody on the path forges replies, or changes packets',
  'not-asked': 'no request left this machine',
  keyed: 'with keys no request is sent over IPv6, where a reply has no room for a MAC',
  unreachable: 'the network says that the destination cannot be reached',
  'no-answer': 'nothing came back',
} as const;

export type TraceEnd = keyof typeof TRACE_ENDS;

export interface Trace {
  readonly hops: readonly TraceHop[];
  readonly end: TraceEnd;
  /** Round trip of the last answer when the destination gave it. */
  readonly milliseconds: number | null;
  /** Whether `hops` are all nodes of the path. */
  readonly complete: boolean;
}

/** Sends a trace request with so many hops, if possible from the given port. */
export type AskTrace = (hops: number, localPort: number | undefined) => Promise<ProbeAnswer>;

const END_OF_ERROR: Readonly<Record<string, TraceEnd>> = {
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
};
const END_OF_REASON: Readonly<Record<string, TraceEnd>> = {
  'reply-none': 'destination',
  'request-omitted-retries': 'request-lost',
  'request-omitted-untrusted': 'reply-invalid',
  'drop-reply-unkeyed': 'reply-unkeyed',
};

function endOf(answer: ProbeAnswer): TraceEnd | undefined {
  if (!answer.asked) return answer.reason === 'request-omitted-keyed' ? 'keyed' : 'not-asked';
  if (answer.error !== undefined) return END_OF_ERROR[answer.error] ?? 'no-answer';
  if (answer.node !== undefined) return undefined;
  return END_OF_REASON[answer.reason] ?? 'not-asked';
}

function capabilityNames(capabilities: number): string[] {
  return Object.entries(CAPABILITY).flatMap(([name, bit]) => ((capabilities & bit) === 0 ? [] : [name]));
}

/**
 * A node that does not know traces takes whatever has hops. An IPv4 reply says so; over IPv6 it shows when the same
 * node answers again.
 */
function hides({ node, capabilities }: ProbeAnswer, previous: string | undefined): boolean {
  if (node?.family === 6) return formatIp(node) === previous;
  return (capabilities & CAPABILITY.trace) === 0;
}

/**
 * A port on which an earlier connection is still known somewhere gets no answer, or, where that one's reset was lost on a way
 * that lets no tunnel pass, a reset: nothing that the destination has said. A fresh port tells.
 */
async function askTwice(ask: AskTrace, hops: number, localPort: number | undefined): Promise<ProbeAnswer> {
  const answer = await ask(hops, localPort);
  return answer.error !== undefined && localPort !== undefined ? ask(hops, undefined) : answer;
}

/** Asks for one node after the other, at most `max`. */
export async function trace(ask: AskTrace, max: number): Promise<Trace> {
  const hops: TraceHop[] = [];
  const ended = (end: TraceEnd, milliseconds: number | null = null): Trace => ({
    hops,
    end,
    milliseconds,
    complete: end === 'destination' || end === 'refused',
  });
  let localPort: number | undefined;
  for (let hop = 1; hop <= max; hop++) {
    const answer = await askTwice(ask, hop, localPort);
    const end = endOf(answer);
    if (end !== undefined) return ended(end, answer.milliseconds ?? null);
    const { node, capabilities } = answer;
    if (node === undefined) return ended('not-asked');
    const hidden = hides(answer, hops.at(-1)?.address);
    if (node.family === 6 && hidden) return ended('hidden');
    const names = node.family === 6 ? null : capabilityNames(capabilities);
    hops.push({ hop, address: formatIp(node), milliseconds: answer.milliseconds ?? 0, capabilities: names });
    if (hidden) return ended('hidden');
    localPort = answer.localPort;
  }
  return ended('max');
}

/** {@link trace} with real connections, each reset as soon as it has been answered; signed where there are keys. */
export async function tracePath(
  target: { readonly address: IpAddress; readonly port: number },
  max: number,
  keys: readonly Key[] = [],
): Promise<Trace> {
  const prober = new Prober(keys);
  try {
    return await trace(async (hops, localPort) => {
      const probe = await prober.open({ ...target, hops, capabilities: CAPABILITY.trace, localPort });
      probe.reset();
      await prober.drained();
      return probe.answer;
    }, max);
  } finally {
    prober.close();
  }
}
