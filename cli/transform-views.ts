/** What `stats`, `status` and `conns` show of transforms. */
import type { ConnectionRow } from '../node/connections.js';
import type { NodeStats, NodeStatus } from '../node/node.js';
import { formatBytes, section, table } from './output.js';

type Report = NodeStats['transforms'];
type PairRow = Report['pairs'][number];

/** What is left, in percent; `-` of nothing. */
function left(wire: number, plain: number): string {
  return plain === 0 ? '-' : `${((100 * wire) / plain).toFixed(1)} %`;
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(2)} s`;

/** Milliseconds by which a frame left later than its last byte came, on average. */
function delayOf({ framesSent, packMilliseconds, chunkMilliseconds, waitMilliseconds }: PairRow): string {
  const spent = packMilliseconds + chunkMilliseconds + waitMilliseconds;
  return framesSent === 0 ? '-' : `${(spent / framesSent).toFixed(2)} ms`;
}

/** Levels at which open legs are compressed just now, with how many legs where these are several. */
function levelsOf({ levels }: PairRow, transform: string): string {
  const legs = transform === 'dedup' ? [] : Object.entries(levels);
  return legs.map(([level, many]) => (many === 1 ? level : `${level} (${many})`)).join(', ') || '-';
}

function pairsTable(pairs: readonly PairRow[]): string {
  if (pairs.length === 0) return 'no leg has been transformed';
  const heading = ['NODE', 'BY', 'CONNS', 'SENT', 'LEFT', 'RECEIVED', 'LEFT', 'CPU', 'DELAY'];
  const rows = pairs.map((pair) => [
    `${pair.direction} ${pair.node}`,
    pair.transforms.join(', '),
    String(pair.connections),
    formatBytes(pair.plainSent),
    left(pair.wireSent, pair.plainSent),
    formatBytes(pair.plainReceived),
    left(pair.wireReceived, pair.plainReceived),
    seconds(pair.packMilliseconds + pair.chunkMilliseconds + pair.unpackMilliseconds),
    delayOf(pair),
  ]);
  return table(heading, rows);
}

/** Of what was sent: each transform with what went in and what came out. */
function byTransform(pairs: readonly PairRow[]): string[] {
  const rows = pairs.flatMap((pair) =>
    pair.byTransform.map(({ transform, bytesIn, bytesOut, cpuSeconds }) => [
      `${pair.direction} ${pair.node}`,
      transform,
      formatBytes(bytesIn),
      formatBytes(bytesOut),
      left(bytesOut, bytesIn),
      `${cpuSeconds.toFixed(2)} s`,
      levelsOf(pair, transform),
    ]),
  );
  return rows.length === 0 ? [] : [table(['NODE', 'TRANSFORM', 'IN', 'OUT', 'LEFT', 'CPU', 'LEVEL'], rows)];
}

function estimatesTable({ estimates }: Report): string[] {
  if (estimates.length === 0) return [];
  const rows = estimates.map(({ node, legs, received, sampled, wouldSave }) => [
    node,
    String(legs),
    formatBytes(received),
    formatBytes(sampled),
    formatBytes(wouldSave),
  ]);
  const heading = ['NEXT HOP', 'LEGS', 'RECEIVED', 'SAMPLED', 'WOULD HAVE SAVED'];
  return [`legs without transforms:\n${table(heading, rows)}`];
}

export function transformStats(report: Report): string[] {
  const { transforms, pairs, store, levelsLowered, estimates } = report;
  if (transforms.length === 0 && estimates.length === 0) return [];
  return [
    [`transforms:`, pairsTable(pairs), ...byTransform(pairs)].join('\n'),
    section('chunk store', { ...store }),
    ...(levelsLowered === 0 ? [] : [section('compression', { 'levels lowered by': levelsLowered })]),
    ...estimatesTable(report),
  ];
}

/** A section of `status`; nothing where nothing is configured. */
export function transformStatus({ transforms: { offered, saturated, refused } }: NodeStatus): string[] {
  if (offered.length === 0 && !saturated && refused === 0) return [];
  const why = saturated ? 'nothing: this process is too busy' : 'nothing: as many connections as may be';
  return [section('transforms', { offered: offered.join(', ') || why, refused })];
}

/** In `conns`: what is left of the bytes of each leg that is transformed. */
export function transformedLegs({ clientTransforms, nextTransforms }: ConnectionRow): string | null {
  const legs = [
    ['client', clientTransforms],
    ['next', nextTransforms],
  ] as const;
  const told = legs.flatMap(([leg, one]) =>
    one === null ? [] : [`${leg} ${left(one.wireBytes, one.plainBytes)}`],
  );
  return told.length === 0 ? null : told.join(', ');
}
