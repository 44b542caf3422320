/** Bytes per second and core of every transform, beside zstd in a pipe and ssh -C. */
import type { Figure } from '../draw/figure.js';
import { ratioSpread, spreadOf, type Spread } from '../measure/statistics.js';
import { ensurePackages } from '../peers/packages.js';
import type { Findings, ResultTable, Target } from '../result.js';
import type { Bench, BenchOptions } from './bench.js';
import { decimals, range } from './format.js';
import { corpora, type Corpus } from './transcode-corpora.js';
import {
  CONTENDERS,
  sampleTranscode,
  type TranscodePlan,
  type TranscodeSample,
} from './transcode-samples.js';

const FULL: TranscodePlan = { rounds: 5, most: 16 * 1024 * 1024 };
const QUICK: TranscodePlan = { rounds: 2, most: 2 * 1024 * 1024 };
const BASELINE = 'zstd -3 in a pipe';
const LEG = 'leg: zstd';

const NOTES = [
  'SENDING and RECEIVING are bytes before the transform per second of processor time, user and system, on one core. Blocks are ' +
    'of 64 KiB, as a relay reads them, and each is flushed, so that its receiver can use it at once; a pipe does not flush.',
  '"leg" is a whole direction as nodes run it: chunks, compression where it is worth it, frames and checksums; its level is the ' +
    'lowest, as on a link that is faster than the processor. "again": both stores have the bytes.',
  'For zstd in a pipe and ssh -C it is the time of that process, reading and writing included; ssh encrypts too.',
];

const rate =
  (bytes: number) =>
  (seconds: number): number =>
    bytes / Math.max(seconds, 1e-6) / 1e6;

const sendingOf = ({ bytes, passes }: TranscodeSample): number[] =>
  passes.map(({ sending }) => rate(bytes)(sending));

function receivingOf({ bytes, passes }: TranscodeSample): Spread | undefined {
  const rates = passes.flatMap(({ receiving }) => (receiving === undefined ? [] : [rate(bytes)(receiving)]));
  return rates.length === 0 ? undefined : spreadOf(rates);
}

function leftOf({ bytes, passes }: TranscodeSample): number {
  return spreadOf(passes.map(({ out }) => out / bytes)).median;
}

function tableOf(samples: readonly TranscodeSample[], { name, source, bytes }: Corpus): ResultTable {
  const own = samples.filter(({ corpus }) => corpus === name);
  const base = own.find(({ contender }) => contender === BASELINE);
  const rows = own.map((sample) => {
    const receiving = receivingOf(sample);
    return [
      sample.contender,
      `${decimals(100 * leftOf(sample), 1)} %`,
      range(spreadOf(sendingOf(sample)), 0),
      base === undefined ? '-' : range(ratioSpread(sendingOf(sample), sendingOf(base))),
      receiving === undefined ? '-' : range(receiving, 0),
    ];
  });
  return {
    title: `${name}: ${decimals(bytes.length / 1e6, 1)} MB of ${source}`,
    heading: ['CONTENDER', 'LEFT', 'SENDING MB/S', `÷ ${BASELINE}`, 'RECEIVING MB/S'],
    rows,
  };
}

function figureOf(
  samples: readonly TranscodeSample[],
  { name, title, label }: { name: string; title: string; label: string },
  quantity: (sample: TranscodeSample) => number,
): Figure {
  const contenders = [...new Set(samples.map(({ contender }) => contender))];
  const drawn = contenders.filter((one) => /^(zstd [19]|deflate 6|leg|zstd -3|ssh)/.test(one));
  const series = drawn.map((contender) => ({
    name: contender,
    points: samples
      .filter((sample) => sample.contender === contender)
      .map((sample) => ({ x: sample.corpus, y: quantity(sample) })),
  }));
  const x = { label: 'content', scale: 'categories' as const };
  return { name, title, subtitle: 'one core, median', kind: 'lines', x, y: { label, scale: 'log' }, series };
}

/** What has been compressed already must cost neither the link nor the processor. */
export function targetsOf(samples: readonly TranscodeSample[]): Target[] {
  const found = samples.find(({ corpus, contender }) => corpus === 'incompressible' && contender === LEG);
  if (found === undefined) return [];
  const left = leftOf(found);
  return [
    {
      what: 'incompressible data on a transformed leg',
      aim: '≤ 1.02 of its bytes',
      found: decimals(left, 4),
      met: left <= 1.02,
    },
  ];
}

export function describeTranscode(
  samples: readonly TranscodeSample[],
  found: readonly Corpus[],
  plan: TranscodePlan,
): Findings {
  const speed = { name: 'sending', title: 'Processor time of who sends', label: 'MB per second and core' };
  const size = { name: 'left', title: 'What is left', label: '% of the bytes' };
  return {
    settings: { rounds: plan.rounds, block: '64 KiB', 'bytes of each content, at most': plan.most },
    offloads: {},
    notes: NOTES,
    targets: targetsOf(samples),
    tables: found.map((corpus) => tableOf(samples, corpus)),
    figures: [
      figureOf(samples, speed, (sample) => spreadOf(sendingOf(sample)).median),
      figureOf(samples, size, (sample) => 100 * leftOf(sample)),
    ],
    samples,
  };
}

async function run({ quick, only, progress }: BenchOptions): Promise<Findings> {
  const plan = quick ? QUICK : FULL;
  await ensurePackages(['zstd', 'openssh-client', 'dropbear-bin'], progress);
  progress('reading what is to be compressed');
  const found = corpora(plan.most);
  const wanted = (name: string): boolean => only?.some((one) => name.startsWith(one)) ?? true;
  const contenders = CONTENDERS.filter(({ name }) => name === BASELINE || wanted(name));
  return describeTranscode(await sampleTranscode(plan, found, contenders, progress), found, plan);
}

export const transcodeBench: Bench = {
  name: 'transcode',
  summary: 'bytes per second and core of every transform, beside zstd in a pipe and ssh -C',
  run,
};
