/** The keys of the configuration that are about content: `content`, and the pipelines of rules. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, statSync } from 'node:fs';
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import {
  MINIFY_TYPES,
  pipelineOf,
  REGISTERED,
  SCRIPT_TYPES,
  type ContentStep,
  type Pipeline,
} from '../content/steps.js';
import type { ContentLimits } from '../content/service.js';
import { builtFile } from '../host/paths.js';
import { readTrusted } from '../host/trusted-file.js';
import type { RawContent, RawContentStep } from './config-schema.js';
import { parseDuration, parseSize } from './units.js';

const DEFAULTS = { memory: '64MiB', largest: '4MiB', timeout: '5s', processes: 2, processMemory: '512MiB' };
/** To load a module and look at what it exports. */
const CHECK_MS = 10_000;
const WRITABLE_BY_OTHERS = 0o022;

export function toContentLimits(raw: RawContent = {}): ContentLimits {
  const { memory, largest, timeout, processes, processMemory } = { ...DEFAULTS, ...raw };
  return {
    kept: parseSize(String(memory)) ?? 0,
    largest: parseSize(String(largest)) ?? 0,
    timeout: parseDuration(timeout) ?? 0,
    processes,
    memory: parseSize(String(processMemory)) ?? 0,
  };
}

/** What is wrong with a step, and where within it. */
interface StepProblem {
  readonly key: string | undefined;
  readonly message: string;
  readonly hint: string;
}

class StepError extends Error {
  readonly problem: StepProblem;

  constructor(key: string | undefined, message: string, hint: string) {
    super(message);
    this.problem = { key, message, hint };
  }
}

function imageStep(given: Exclude<RawContentStep, string>['image'] = {}): ContentStep {
  return { ...REGISTERED.image, ...given };
}

function minifyStep({ scripts = false }: Exclude<RawContentStep, string>['minify'] = {}): ContentStep {
  return scripts ? { ...REGISTERED.minify, types: [...MINIFY_TYPES, ...SCRIPT_TYPES] } : REGISTERED.minify;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The file that a command names: as it is, beside the configuration, or on PATH. */
function findProgram(written: string, folder: string): string {
  const candidates = written.includes('/')
    ? [isAbsolute(written) ? written : resolve(folder, written)]
    : (process.env['PATH'] ?? '').split(delimiter).map((path) => join(path, written));
  const found = candidates.find(isProgram);
  if (found === undefined) {
    throw new StepError('command', `${written} is not a program`, 'Name an executable file, or one on PATH.');
  }
  const { uid, mode } = statSync(found);
  if ((uid !== 0 && uid !== process.geteuid?.()) || (mode & WRITABLE_BY_OTHERS) !== 0) {
    const message = `${found}: others than root and this user may change it`;
    throw new StepError('command', message, `chown root ${found}; chmod go-w ${found}`);
  }
  return found;
}

/** The module's text is what tells two versions of it apart. */
function readModule(path: string): string {
  const read = readTrusted(path);
  if ('problem' in read) {
    throw new StepError('module', `${path} ${read.problem.message}`, read.problem.hint);
  }
  const worker = builtFile('content', 'worker.js');
  const checked = spawnSync(process.execPath, [worker, '--check', path], {
    encoding: 'utf8',
    timeout: CHECK_MS,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (checked.status !== 0) {
    const message = checked.stderr.trim() || 'it could not be loaded';
    throw new StepError(
      'module',
      message,
      'It has to export a function as its default: docs/transcoding.md.',
    );
  }
  return createHash('sha256').update(read.text).digest('base64url').slice(0, 16);
}

type OwnStep = Exclude<RawContentStep, string>;

function lowerCase(names: readonly string[] = []): string[] {
  return names.map((name) => name.toLowerCase());
}

function ownStep(raw: OwnStep, folder: string): ContentStep {
  const types = lowerCase(raw.types);
  const vary = lowerCase(raw.vary);
  if (types.length === 0) {
    throw new StepError(undefined, 'it has no `types`', 'Say for which media types it is: [text/plain].');
  }
  if (raw.command !== undefined) {
    const [program = '', ...args] = raw.command;
    const command = [findProgram(program, folder), ...args];
    const name = raw.name ?? basename(program);
    return { kind: 'command', name, types, vary, command, mediaType: raw.mediaType?.toLowerCase() };
  }
  const path = resolve(folder, raw.module ?? '');
  const name = raw.name ?? basename(path).replace(/\.[cm]?js$/, '');
  return { kind: 'module', name, types, vary, path, version: readModule(path), options: raw.options ?? {} };
}

const KINDS = ['image', 'minify', 'command', 'module'] as const;
const OF_OWN_STEPS = ['types', 'vary', 'name', 'mediaType', 'options'] as const;

function toStep(raw: RawContentStep, folder: string): ContentStep {
  if (raw === 'minify') return minifyStep();
  if (raw === 'image') return imageStep();
  if (typeof raw === 'string') throw new StepError(undefined, `${raw} is no transform`, 'minify or image');
  const kinds = KINDS.filter((kind) => raw[kind] !== undefined);
  if (kinds.length !== 1) {
    const message = kinds.length === 0 ? 'it says nothing to do' : `it says ${kinds.join(' and ')} at once`;
    throw new StepError(undefined, message, `Each step has one of ${KINDS.join(', ')}.`);
  }
  if (raw.command !== undefined || raw.module !== undefined) return ownStep(raw, folder);
  const foreign = OF_OWN_STEPS.find((key) => raw[key] !== undefined);
  if (foreign !== undefined) {
    throw new StepError(foreign, `\`${foreign}\` is for steps with command or module`, 'Leave it out.');
  }
  return raw.image === undefined ? minifyStep(raw.minify) : imageStep(raw.image);
}

export interface PipelineProblem {
  /** Keys from the list of steps to the value. */
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly hint: string;
}

/** The pipeline that a rule names; files are looked for beside the configuration, `base`. */
export function toPipeline(
  steps: readonly RawContentStep[],
  base: string,
): { readonly pipeline: Pipeline } | { readonly problems: readonly PipelineProblem[] } {
  const made: ContentStep[] = [];
  const problems: PipelineProblem[] = [];
  for (const [index, raw] of steps.entries()) {
    try {
      made.push(toStep(raw, dirname(base)));
    } catch (error) {
      if (!(error instanceof StepError)) throw error;
      const { key, message, hint } = error.problem;
      problems.push({ path: key === undefined ? [index] : [index, key], message, hint });
    }
  }
  return problems.length > 0 ? { problems } : { pipeline: pipelineOf(made) };
}

/** One step as `up --check` shows it. */
function describeStep(step: ContentStep): string {
  switch (step.kind) {
    case 'image':
      return `image to ${step.maxWidth}x${step.maxHeight} in quality ${step.quality}`;
    case 'minify':
      return step.types.length > MINIFY_TYPES.length ? 'minify with scripts' : 'minify';
    case 'command':
      return `command ${step.command.join(' ')} for ${step.types.join(', ')}`;
    case 'module':
      return `module ${step.path} for ${step.types.join(', ')}`;
  }
}

export function describePipeline({ steps }: Pipeline): string {
  return steps.map(describeStep).join('; then ');
}
