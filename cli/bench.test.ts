import { describe, expect, it } from 'vitest';
import { formatBench } from './bench.js';
import { handWritten, performancePage } from '../bench/page.js';
import type { BenchResult } from '../bench/result.js';

const result: BenchResult = {
  format: 1,
  bench: 'splice',
  quick: false,
  started: '2026-01-02T03:04:05.000Z',
  seconds: 61,
  machine: {
    processor: 'CPU',
    cores: 2,
    memoryBytes: 8 * 1024 ** 3,
    kernel: '6.1',
    system: 'Debian',
    node: 'v20',
    background: 0.02,
  },
  settings: { rounds: 5 },
  offloads: { large: { 'tcp-segmentation-offload': 'on' }, mss: { 'tcp-segmentation-offload': 'off' } },
  notes: ['A note.'],
  targets: [{ what: 'throughput', aim: '≥ 0.97', found: '0.90', met: false }],
  tables: [{ title: 'all of it', heading: ['WHO', 'A|B'], rows: [['IP', null]] }],
  figures: [
    {
      name: 'figure9',
      title: 'Throughput',
      subtitle: '',
      kind: 'lines',
      x: { label: '', scale: 'linear' },
      y: { label: '', scale: 'linear' },
      series: [],
    },
  ],
  samples: [],
};

describe('the page', () => {
  const page = performancePage([result], 'performance', '');

  it('has targets, machine, offloads, figures and tables', () => {
    for (const text of [
      '| throughput | splice | ≥ 0.97 | 0.90 | **missed** |',
      '2026-01-02, 61 s, CPU, 2 processors, 8 GiB, Debian, Linux 6.1, Node v20.',
      '| tcp-segmentation-offload | on | off |',
      '![Throughput](performance/splice-figure9.svg)',
      '| WHO | A\\|B |\n| --- | ---: |\n| IP | - |',
      'A note.',
    ]) {
      expect(page).toContain(text);
    }
    expect(page).not.toMatch(/quick run|not to be quoted/);
  });

  it('says when its numbers are worth nothing', () => {
    const machine = { ...result.machine, background: 0.5 };
    const poor = performancePage([{ ...result, quick: true, machine }], 'performance', '');
    expect(poor).toMatch(/A quick run[^]*50 % of the machine was in use by others/);
  });

  it('keeps what was written by hand', () => {
    const edited = page.replace(handWritten(page), 'Because of **this**.');
    expect(handWritten(performancePage([result], 'performance', edited))).toBe('Because of **this**.');
  });
});

it('the terminal shows the same', () => {
  const text = formatBench(result);
  expect(text).toMatch(/^bench splice:\n/);
  expect(text).toContain('all of it:\nWHO  A|B\nIP   -');
  expect(text).toMatch(/MISSED {2}throughput {2}≥ 0.97 {2}0.90/);
});
