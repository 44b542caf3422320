/** What a lab is, and how one is run: topology up, nodes up, captures on, steps, checks, everything down. */
import { messageOf } from '../core/errors.js';
import { builtFile } from '../host/paths.js';
import type { CaseOutcome } from './cases.js';
import { startCapture, type Capture, type LinkCapture } from './capture.js';
import type { CheckResult } from './checks.js';
import type { Program } from './host.js';
import { parseOriginLog, type OriginEvent } from './origin-events.js';
import type { TopologySpec } from './spec.js';
import { createTopology, type Topology } from './topology.js';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A line for each name over time, to be drawn. */
export interface Plot {
  /** Part of the file's name. */
  readonly name: string;
  readonly title: string;
  readonly subtitle: string;
  readonly x: string;
  readonly y: string;
  readonly lines: readonly {
    readonly name: string;
    readonly points: readonly (readonly [number, number])[];
  }[];
}

/** What a lab's script works with. */
export interface LabRun {
  readonly topology: Topology;
  /** Writes a step into the report. */
  readonly step: (text: string) => void;
  readonly table: (table: Table) => void;
  readonly plot: (plot: Plot) => void;
  /** Figures for programs, under this name in `--json`. */
  readonly figures: (name: string, figures: object) => void;
  /** How many requests are wanted, where that can be chosen. */
  readonly requests: number | undefined;
  /** Puts a case into the report: a row of its table, and in `--json` an object. */
  readonly outcome: (outcome: CaseOutcome) => void;
  readonly check: (results: CheckResult | readonly CheckResult[]) => void;
  /** What the origin has told so far. */
  readonly originEvents: () => OriginEvent[];
  /** Ends the running capture, puts its files into the report and gives what was captured, by link. */
  captured(): Promise<Map<string, LinkCapture>>;
  /** Starts a further capture. */
  recapture(prefix: string): Promise<void>;
}

export interface Lab {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** Its number of requests can be chosen; this is what it is otherwise. */
  readonly requests?: number;
  readonly spec: TopologySpec;
  /** Runs with nodes, origin and captures up. What it throws becomes a check that does not hold. */
  run(run: LabRun): Promise<void>;
}

export interface LabReport {
  readonly lab: Lab;
  readonly id: string;
  readonly ok: boolean;
  readonly checks: readonly CheckResult[];
  readonly steps: readonly string[];
  readonly tables: readonly Table[];
  readonly cases: readonly CaseOutcome[];
  readonly plots: readonly Plot[];
  readonly figures: Readonly<Record<string, object>>;
  readonly captures: readonly LinkCapture[];
  readonly topology: Topology;
  readonly kept: boolean;
  readonly milliseconds: number;
}

export interface RunLabOptions {
  /** Leave hosts and nodes running. */
  readonly keep?: boolean;
  /** See {@link Lab.requests}. */
  readonly requests?: number | undefined;
  /** Told what is being done. */
  readonly progress?: (text: string) => void;
}

class Running implements LabRun {
  readonly topology: Topology;
  readonly checks: CheckResult[] = [];
  readonly steps: string[] = [];
  readonly tables: Table[] = [];
  readonly cases: CaseOutcome[] = [];
  readonly plots: Plot[] = [];
  readonly numbers: Record<string, object> = {};
  readonly captures: LinkCapture[] = [];
  readonly requests: number | undefined;
  readonly #progress: (text: string) => void;
  #capture: Capture | undefined;
  #origin: Program | undefined;

  constructor(topology: Topology, requests: number | undefined, progress: (text: string) => void) {
    this.topology = topology;
    this.requests = requests;
    this.#progress = progress;
  }

  // Properties, not methods: labs take them apart (`const { step, check } = run`).
  readonly step = (text: string): void => {
    this.#progress(text);
    this.steps.push(text);
  };

  readonly table = (table: Table): void => {
    this.tables.push(table);
  };

  readonly plot = (plot: Plot): void => {
    this.plots.push(plot);
  };

  readonly figures = (name: string, figures: object): void => {
    this.numbers[name] = figures;
  };

  readonly outcome = (outcome: CaseOutcome): void => {
    this.cases.push(outcome);
  };

  readonly check = (results: CheckResult | readonly CheckResult[]): void => {
    this.checks.push(...[results].flat());
  };

  readonly originEvents = (): OriginEvent[] =>
    this.#origin === undefined ? [] : parseOriginLog(this.#origin.stdout());

  async captured(): Promise<Map<string, LinkCapture>> {
    const capture = this.#capture;
    this.#capture = undefined;
    const captures = (await capture?.stop()) ?? new Map<string, LinkCapture>();
    this.captures.push(...captures.values());
    return captures;
  }

  async recapture(prefix: string): Promise<void> {
    this.#capture = await startCapture(this.topology, { prefix });
  }

  /** Everything a lab's script expects to be up. */
  async prepare(): Promise<void> {
    this.#progress('starting origin, nodes and captures');
    const [origin] = this.topology.hosts.filter(({ role }) => role === 'origin');
    this.#origin = origin?.spawn(process.execPath, [builtFile('netns', 'origin.js')], { label: 'origin' });
    await Promise.all([
      this.#origin?.output(/"ready"/),
      this.topology.startNodes(),
      startCapture(this.topology).then((capture) => (this.#capture = capture)),
    ]);
  }
}

/** A lab that cannot go on is a lab that failed: the report says why, and holds what was found until then. */
async function runScript(lab: Lab, running: Running): Promise<void> {
  try {
    await running.prepare();
    await lab.run(running);
  } catch (error) {
    running.check({ name: 'the lab ran to its end', ok: false, detail: messageOf(error) });
  }
  await running.captured(); // what a script that failed left open
}

/**
 * Runs a lab and removes everything it made, unless told to keep it.
 *
 * @throws TpotError when not even the topology could be made.
 */
export async function runLab(lab: Lab, options: RunLabOptions = {}): Promise<LabReport> {
  const { keep = false, requests = lab.requests, progress = () => undefined } = options;
  const started = performance.now();
  progress('making namespaces and links');
  const topology = await createTopology(lab.spec, { title: lab.name, keepFiles: true });
  try {
    const running = new Running(topology, requests, progress);
    await runScript(lab, running);
    const { checks, steps, tables, cases, plots, numbers: figures, captures } = running;
    const ok = checks.length > 0 && checks.every((check) => check.ok);
    if (keep) topology.keep();
    const milliseconds = Math.round(performance.now() - started);
    const found = { checks, steps, tables, cases, plots, figures, captures };
    return { lab, id: topology.id, ok, ...found, topology, kept: keep, milliseconds };
  } finally {
    progress('cleaning up');
    await topology.close();
  }
}
