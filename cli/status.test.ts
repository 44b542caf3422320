import { describe, expect, it } from 'vitest';
import { formatConns, formatStats, formatStatus } from './status.js';

describe('status for people', () => {
  const status = {
    name: 'p1',
    address: '198.18.1.1',
    addresses: ['198.18.1.1', '2001:db8::1'],
    state: 'running',
    pid: 42,
    uptimeSeconds: 61,
    connections: 2,
    counters: { taken: 2 },
    cache: { entries: 1 },
    kernel: { release: '6.1.0' },
    blackHoles: [],
    udpNodes: [],
    returnSources: [],
    transforms: { offered: [], saturated: false, refused: 0 },
  } as const;

  it('has a section per subject', () => {
    const text = formatStatus(status);
    expect(text).toContain('tpot-node p1:\n  state        running\n');
    expect(text).toContain('198.18.1.1, 2001:db8::1');
    expect(text).toContain('up           1m 1s');
    expect(text).toContain('cache:\n  entries  1');
    expect(text).toContain('black holes: none');
  });

  it('lists black holes', () => {
    const text = formatStatus({ ...status, blackHoles: [{ destination: '192.0.2.1', secondsLeft: 600 }] });
    expect(text).toMatch(/black holes .*:\nDESTINATION {2}LEFT\n192\.0\.2\.1 {4}10m$/);
  });
});

describe('connections for people', () => {
  it('are a table', () => {
    const row = {
      client: '198.18.0.2:40000',
      destination: '[2001:db8::9]:80',
      via: 'tunnel',
      returnTunnel: false,
      nextHop: null,
      nextVia: null,
      state: 'relaying',
      action: 'relay',
      reason: 'plain-no-reply',
      sni: null,
      alpn: null,
      clientTransforms: null,
      nextTransforms: null,
      bytesIn: 1536,
      bytesOut: 0,
      ageSeconds: 5,
    } as const;
    const [heading, line] = formatConns([row]).split('\n');
    expect(heading?.split(/ {2,}/)).toEqual([
      'CLIENT',
      'DESTINATION',
      'VIA',
      'NEXT HOP',
      'STATE',
      'ACTION',
      'REASON',
      'IN',
      'OUT',
      'AGE',
    ]);
    expect(line?.split(/ {2,}/).slice(-4)).toEqual(['plain-no-reply', '1.5 KiB', '0 B', '5s']);
  });

  it('may be none', () => expect(formatConns([])).toBe('no connections'));
});

const NO_TRANSFORMS = {
  transforms: [],
  open: 0,
  pairs: [],
  store: {
    ...{ bytes: 0, chunks: 0, evictions: 0, dictionaryBytes: 0 },
    ...{ heldBytes: 0, heldRefused: 0, waitingBytes: 0, waitingRefused: 0 },
  },
  saturated: false,
  levelsLowered: 0,
  refused: 0,
  estimates: [],
};

it('statistics show what pipelines have done, and what they left alone', () => {
  const connections = { open: 0, total: 0, bytesIn: 0, bytesOut: 0, byAction: {}, byReason: {} };
  const counts = { responses: 4, smaller: 3, failed: 1, bytesIn: 4096, bytesOut: 1024, cpuSeconds: 0.25 };
  const content = {
    steps: [{ name: 'image', ...counts, delayP50: 10.5, delayP99: 28.3 }],
    untouched: { 'no-transform': 7 },
    variants: { entries: 3, bytes: 1024, maxBytes: 4096, hits: 5, misses: 3, evictions: 0 },
  };
  const text = formatStats({ connections, counters: {}, cache: {}, transforms: NO_TRANSFORMS, content });
  expect(text).toMatch(/image +4 +3 +1 +4\.0 KiB +1\.0 KiB +25 % +0\.25 s +10\.5 ms +28\.3 ms/);
  expect(text).toContain('no-transform  7');
});

it('statistics have totals by action and reason', () => {
  const connections = {
    open: 1,
    total: 3,
    bytesIn: 10,
    bytesOut: 2048,
    byAction: { cache: 3 },
    byReason: { http: 3 },
  };
  const text = formatStats({
    connections,
    counters: {},
    cache: {},
    transforms: NO_TRANSFORMS,
    content: undefined,
  });
  expect(text).toContain('out    2.0 KiB');
  expect(text).toContain('by action:\n  cache  3');
  expect(text).toContain('by reason:\n  http  3');
});
