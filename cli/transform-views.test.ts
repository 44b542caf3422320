import { expect, it } from 'vitest';
import type { ConnectionRow } from '../node/connections.js';
import type { NodeStats, NodeStatus } from '../node/node.js';
import { transformMetrics } from './transform-metrics.js';
import { transformedLegs, transformStats, transformStatus } from './transform-views.js';

const stats = {
  ...{ plainSent: 2000, wireSent: 500, plainReceived: 0, wireReceived: 0, missed: 0, compressorFailures: 0 },
  ...{ referenced: 1000, referencedTo: 20, compressed: 1020, compressedTo: 480 },
  ...{ packMilliseconds: 3, chunkMilliseconds: 1, unpackMilliseconds: 0, waitMilliseconds: 4, framesSent: 4 },
};
const report: NodeStats['transforms'] = {
  transforms: ['dedup', 'zstd'],
  open: 1,
  pairs: [
    {
      ...stats,
      node: '198.18.0.1',
      direction: 'to',
      transforms: ['zstd', 'dedup'],
      connections: 1,
      open: 3,
      levels: { 3: 2, 9: 1 },
      byTransform: [
        { transform: 'zstd', bytesIn: 1020, bytesOut: 480, cpuSeconds: 0.003 },
        { transform: 'dedup', bytesIn: 1000, bytesOut: 20, cpuSeconds: 0.001 },
      ],
    },
  ],
  store: {
    ...{ bytes: 10, chunks: 1, evictions: 0, dictionaryBytes: 0 },
    ...{ heldBytes: 7, heldRefused: 0, waitingBytes: 0, waitingRefused: 0 },
  },
  saturated: false,
  levelsLowered: 1,
  refused: 2,
  estimates: [
    { node: 'destination', legs: 3, received: 9000, sampled: 900, sampledTo: 300, wouldSave: 6000 },
  ],
};

it('stats tell per pair and per transform what went in, what is left, and what it took', () => {
  const text = transformStats(report).join('\n');
  expect(text).toMatch(/to 198\.18\.0\.1 +zstd, dedup +1 .* 25\.0 % .* 2\.00 ms/);
  expect(text).toMatch(/dedup .* 2\.0 % +0\.00 s/);
  expect(text).toMatch(/zstd .* 47\.1 % +0\.00 s +3 \(2\), 9/);
  expect(text).toMatch(/levels lowered by +1/);
  expect(text).toMatch(/heldBytes +7/);
  expect(text).toMatch(/destination +3 /);
});

it('metrics are in the text format of Prometheus, with every name declared once', () => {
  const text = transformMetrics('p"1', report);
  const names = [...text.matchAll(/^# TYPE (\S+) (?:counter|gauge)$/gm)].map(([, name]) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const line of text
    .trimEnd()
    .split('\n')
    .filter((one) => !one.startsWith('#'))) {
    expect(line).toMatch(/^[a-z_]+\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\} [\d.e+-]+$/);
    expect(names).toContain(line.slice(0, line.indexOf('{')));
  }
  expect(text).toContain(
    'tpot_transform_bytes_total{node="p\\"1",peer="198.18.0.1",direction="to",transform="dedup",side="out"} 20\n',
  );
  expect(text).toContain(
    'tpot_transform_would_have_saved_bytes_total{node="p\\"1",peer="destination"} 6000\n',
  );
});

it('status says what is offered, or why nothing is', () => {
  const status = (transforms: NodeStatus['transforms']): string =>
    transformStatus({ transforms } as NodeStatus).join('');
  expect(status({ offered: [], saturated: false, refused: 0 })).toBe('');
  expect(status({ offered: ['zstd'], saturated: false, refused: 0 })).toMatch(/offered +zstd/);
  expect(status({ offered: [], saturated: true, refused: 3 })).toMatch(/nothing: this process is too busy/);
});

it('conns tell what is left on each transformed leg', () => {
  const row = { clientTransforms: null, nextTransforms: { plainBytes: 100, wireBytes: 20 } };
  expect(transformedLegs(row as ConnectionRow)).toBe('next 20.0 %');
  expect(transformedLegs({ clientTransforms: null, nextTransforms: null } as ConnectionRow)).toBeNull();
});
