/** What transforms did, in the text format of Prometheus (exposition format 0.0.4). */
import type { NodeStats } from '../node/node.js';

type Report = NodeStats['transforms'];
type Labels = Readonly<Record<string, string>>;

const escape = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

function line(name: string, labels: Labels, value: number): string {
  const written = Object.entries(labels).map(([key, text]) => `${key}="${escape(text)}"`);
  return `tpot_transform_${name}{${written.join(',')}} ${value}`;
}

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly values: readonly (readonly [Labels, number])[];
}

function pairMetrics({ pairs }: Report): Metric[] {
  const sides = pairs.map((pair) => ({ pair, labels: { peer: pair.node, direction: pair.direction } }));
  const both = (side: 'plain' | 'wire'): Metric['values'] =>
    sides.flatMap(({ pair, labels }) => [
      [{ ...labels, way: 'sent' }, side === 'plain' ? pair.plainSent : pair.wireSent] as const,
      [{ ...labels, way: 'received' }, side === 'plain' ? pair.plainReceived : pair.wireReceived] as const,
    ]);
  return [
    {
      name: 'plain_bytes_total',
      help: 'Bytes before the transforms.',
      type: 'counter',
      values: both('plain'),
    },
    { name: 'wire_bytes_total', help: 'Bytes on the wire.', type: 'counter', values: both('wire') },
    {
      name: 'connections',
      help: 'Transformed legs that are open.',
      type: 'gauge',
      values: sides.map(({ pair, labels }) => [labels, pair.open]),
    },
    {
      name: 'legs_at_level',
      help: 'Transformed legs that are open, by the level of their compressor.',
      type: 'gauge',
      values: sides.flatMap(({ pair, labels }) =>
        Object.entries(pair.levels).map(([level, many]) => [{ ...labels, level }, many] as const),
      ),
    },
    {
      name: 'frames_total',
      help: 'Frames sent.',
      type: 'counter',
      values: sides.map(({ pair, labels }) => [labels, pair.framesSent]),
    },
    {
      name: 'delay_seconds_total',
      help: 'Time by which frames left later than their bytes came.',
      type: 'counter',
      values: sides.map(({ pair, labels }) => [
        labels,
        (pair.packMilliseconds + pair.chunkMilliseconds + pair.waitMilliseconds) / 1000,
      ]),
    },
  ];
}

function kindMetrics({ pairs }: Report): Metric[] {
  const kinds = pairs.flatMap((pair) =>
    pair.byTransform.map((sums) => ({
      sums,
      labels: { peer: pair.node, direction: pair.direction, transform: sums.transform },
    })),
  );
  return [
    {
      name: 'bytes_total',
      help: 'Bytes that a transform replaced, and by how many.',
      type: 'counter',
      values: kinds.flatMap(({ sums, labels }) => [
        [{ ...labels, side: 'in' }, sums.bytesIn] as const,
        [{ ...labels, side: 'out' }, sums.bytesOut] as const,
      ]),
    },
    {
      name: 'cpu_seconds_total',
      help: 'Processor time of a transform, sending.',
      type: 'counter',
      values: kinds.map(({ sums, labels }) => [labels, sums.cpuSeconds]),
    },
  ];
}

function nodeMetrics({ saturated, levelsLowered, refused, store, estimates }: Report): Metric[] {
  return [
    {
      name: 'saturated',
      help: 'Nothing new is transformed.',
      type: 'gauge',
      values: [[{}, Number(saturated)]],
    },
    {
      name: 'levels_lowered',
      help: 'Levels, from the highest, that no compressor may use because the process is busy.',
      type: 'gauge',
      values: [[{}, levelsLowered]],
    },
    { name: 'refused_total', help: 'Legs that asked for nothing.', type: 'counter', values: [[{}, refused]] },
    { name: 'store_bytes', help: 'Bytes of the chunk store.', type: 'gauge', values: [[{}, store.bytes]] },
    {
      name: 'would_have_saved_bytes_total',
      help: 'Of legs without transforms, by sampling.',
      type: 'counter',
      values: estimates.map(({ node, wouldSave }) => [{ peer: node }, wouldSave]),
    },
  ];
}

/** Ends with a line feed; metrics without values are left out. */
export function transformMetrics(node: string, report: Report): string {
  const lines = [...pairMetrics(report), ...kindMetrics(report), ...nodeMetrics(report)]
    .filter(({ values }) => values.length > 0)
    .flatMap(({ name, help, type, values }) => [
      `# HELP tpot_transform_${name} ${help}`,
      `# TYPE tpot_transform_${name} ${type}`,
      ...values.map(([labels, value]) => line(name, { node, ...labels }, value)),
    ]);
  return `${lines.join('\n')}\n`;
}
