/** What a bench finds out, as data: it is printed, saved as JSON, drawn as SVG and shown in docs/performance.md. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawFigure } from './draw/chart.js';
import type { Figure } from './draw/figure.js';
import type { Machine } from './measure/machine.js';
import type { Offloads } from './measure/offloads.js';

export type Cell = string | number | null;

export interface ResultTable {
  readonly title: string;
  readonly heading: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A target of the project and what was measured for it. */
export interface Target {
  readonly what: string;
  readonly aim: string;
  readonly found: string;
  readonly met: boolean;
}

/** What a bench gives; {@link BenchResult} adds what holds for all of them. */
export interface Findings {
  /** How it was measured, in words: rounds, seconds, load. */
  readonly settings: Readonly<Record<string, string | number>>;
  /** By packet size. */
  readonly offloads: Readonly<Record<string, Offloads>>;
  readonly notes: readonly string[];
  readonly targets: readonly Target[];
  readonly tables: readonly ResultTable[];
  readonly figures: readonly Figure[];
  /** Every sample. */
  readonly samples: unknown;
}

export interface BenchResult extends Findings {
  readonly format: 1;
  readonly bench: string;
  readonly quick: boolean;
  /** ISO 8601. */
  readonly started: string;
  readonly seconds: number;
  readonly machine: Machine;
}

/** Writes `BENCH.json` and an SVG for each figure; gives their paths, the JSON first. */
export function saveResult(result: BenchResult, directory: string): string[] {
  mkdirSync(directory, { recursive: true });
  const json = join(directory, `${result.bench}.json`);
  writeFileSync(json, `${JSON.stringify(result, undefined, 1)}\n`);
  const pictures = result.figures.map((figure) => {
    const file = join(directory, `${result.bench}-${figure.name}.svg`);
    writeFileSync(file, drawFigure(figure));
    return file;
  });
  return [json, ...pictures];
}
