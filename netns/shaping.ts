/** Links that are thinner and longer than a veth pair. */
import { TpotError } from '../core/errors.js';
import { linkBetween } from './spec.js';
import type { Topology } from './topology.js';

export interface Shape {
  /** In each direction. */
  readonly kilobits: number;
  /** One way; only where the kernel has netem. */
  readonly delayMs: number;
}

/** What a token bucket lets through at once: two full frames. */
const BURST = '3200';
/** How long a packet may wait in its queue. */
const LATENCY = '200ms';
const QUEUE_PACKETS = 64;

/**
 * Shapes both directions of the link between two hosts; `undefined`: as it was made. Without netem (sch_netem) a token
 * bucket (tbf) gives the rate alone.
 *
 * @returns whether the link has the delay, too.
 * @throws TpotError `command-failed` where the kernel has neither.
 */
export async function shapeLink(
  topology: Topology,
  [a, b]: readonly [string, string],
  shape: Shape | undefined,
): Promise<boolean> {
  let delayed = true;
  for (const [host, peer] of [
    [a, b],
    [b, a],
  ] as const) {
    const device = linkBetween(topology.links, host, peer).own.interface;
    const tc = (...words: string[]): ReturnType<ReturnType<Topology['host']>['run']> =>
      topology.host(host).run('tc', ['qdisc', ...words]);
    await tc('del', 'dev', device, 'root'); // fails where there is none
    if (shape === undefined) continue;
    const rate = `${shape.kilobits}kbit`;
    const netem = ['netem', 'rate', rate, 'delay', `${shape.delayMs}ms`, 'limit', String(QUEUE_PACKETS)];
    if ((await tc('add', 'dev', device, 'root', ...netem)).code === 0) continue;
    delayed = false;
    const bucket = ['tbf', 'rate', rate, 'burst', BURST, 'latency', LATENCY];
    const { code, stderr } = await tc('add', 'dev', device, 'root', ...bucket);
    if (code !== 0) throw new TpotError('command-failed', `tc on ${device} of ${host}: ${stderr.trim()}`);
  }
  return delayed;
}
