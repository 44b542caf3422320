/**
 * The process in which content is transformed, one response at a time. Decoders of pictures, modules and commands work on
 * bytes that strangers chose: this process has no capabilities, cannot gain any, and is killed when it takes too long.
 *
 * `node worker.js BYTES SECONDS`: the most that a step may give back, and the processor time of a command. It reads
 * {@link ContentJob} from stdin, writes {@link ContentResult} to stdout (channel.ts), and ends when stdin does.
 *
 * `node worker.js --check FILE`: exits 0 when the file is a module that exports a function, otherwise says why not.
 */
import { readFileSync, writeSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { messageOf, TpotError } from '../core/errors.js';
import {
  CAP,
  capabilitySet,
  dropCapabilities,
  endWithParent,
  ownCapabilities,
  rootMayRead,
} from '../host/capabilities.js';
import { exec } from '../host/libc.js';
import { Decoder, encode } from './channel.js';
import { filterThrough, type CommandLimits } from './command.js';
import type { AnyCoding } from './content-coding.js';
import {
  isUnseen,
  MEDIA_TYPE,
  type ContentJob,
  type ContentResult,
  type StepReport,
  type Unseen,
} from './job.js';
import * as recoding from './recode.js';
import { isFor, type ContentStep, type ModuleStep } from './steps.js';
import type { ContentFunction, ContentSubject, TransformedContent } from './transform.js';

/** Of /proc/self/stat; what every architecture that Node runs on has. */
const TICKS_PER_SECOND = 100;

/** Processor time of this process and of the commands that have ended, in milliseconds. */
function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  const stat = readFileSync('/proc/self/stat', 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const children = Number(fields[13]) + Number(fields[14]); // cutime, cstime (proc(5))
  return (user + system) / 1000 + (children * 1000) / TICKS_PER_SECOND;
}

async function loadModule(path: string, version: string): Promise<ContentFunction> {
  const loaded = (await import(`${pathToFileURL(path).href}?${version}`)) as { readonly default?: unknown };
  if (typeof loaded.default === 'function') return loaded.default as ContentFunction;
  throw new TpotError('module-invalid', `${path} exports no function as its default`, {
    hint: 'See docs/transcoding.md for an example.',
  });
}

const modules = new Map<string, Promise<ContentFunction>>();

async function runModule(
  content: Buffer,
  subject: ContentSubject,
  { path, version, options }: ModuleStep,
): Promise<TransformedContent | undefined> {
  const key = `${path} ${version}`;
  const loading = modules.get(key) ?? loadModule(path, version);
  modules.set(key, loading);
  return (await loading)(content, subject, options);
}

async function run(
  step: ContentStep,
  content: Buffer,
  subject: ContentSubject,
  limits: CommandLimits,
): Promise<TransformedContent | undefined> {
  switch (step.kind) {
    case 'minify':
      return (await import('./minify.js')).minify(content, subject);
    case 'image':
      return (await import('./image.js')).distilImage(content, subject, step);
    case 'command':
      return filterThrough(content, subject, step, limits);
    case 'module':
      return runModule(content, subject, step);
  }
}

/** Whether a module gave what it should, and not more than it may. */
function checked(made: unknown, { largest }: CommandLimits): TransformedContent | undefined {
  if (made === undefined) return undefined;
  const { content, mediaType } = (made ?? {}) as Partial<Record<keyof TransformedContent, unknown>>;
  if (!(content instanceof Uint8Array) || !(mediaType === undefined || typeof mediaType === 'string')) {
    throw new TpotError('module-invalid', 'it gave no { content: Uint8Array, mediaType?: string }');
  }
  if (content.length > largest) throw new TpotError('too-large', `it gave more than ${largest} bytes`);
  if (mediaType !== undefined && !MEDIA_TYPE.test(mediaType)) {
    throw new TpotError('module-invalid', `${JSON.stringify(mediaType)} is no media type`);
  }
  return { content, ...(mediaType === undefined ? {} : { mediaType: mediaType.toLowerCase() }) };
}

/** Times work on one content, for its report. */
function stopwatch(name: string, bytesIn: number): (bytesOut: number, failed?: string) => StepReport {
  const [started, cpu] = [performance.now(), cpuMilliseconds()];
  return (bytesOut, failed) => ({
    name,
    bytesIn,
    bytesOut,
    milliseconds: performance.now() - started,
    cpuMilliseconds: cpuMilliseconds() - cpu,
    ...(failed === undefined ? {} : { failed }),
  });
}

/** A content on its way through the steps. */
interface Passing {
  content: Buffer;
  mediaType: string;
  readonly reports: StepReport[];
}

/** Runs the steps one after another; `false`: one failed. */
async function passThrough(job: ContentJob, passing: Passing, limits: CommandLimits): Promise<boolean> {
  const { steps, charset, uri, fields } = job;
  for (const [index, step] of steps.entries()) {
    const { content, mediaType, reports } = passing;
    if (!isFor(step, mediaType)) continue;
    const report = stopwatch(step.name, content.length);
    const subject: ContentSubject = { mediaType, charset, uri, fields: fields[index] ?? {} };
    try {
      const made = checked(await run(step, content, subject, limits), limits);
      const better = made !== undefined && made.content.length < content.length ? made : undefined;
      reports.push(report(better?.content.length ?? content.length));
      if (better === undefined) continue;
      passing.content = Buffer.from(better.content);
      passing.mediaType = better.mediaType ?? mediaType;
    } catch (error) {
      reports.push(report(content.length, messageOf(error)));
      return false;
    }
  }
  return true;
}

/** Formats that no coding makes smaller. */
const COMPACT = /^(?:image\/(?!svg)|audio\/|video\/)/;

/** Puts on the best coding that the client takes, unless the content is smaller without. */
function recode({ content, mediaType, reports }: Passing, to: readonly AnyCoding[]): ContentResult {
  const [best = 'identity'] = to;
  const bare = to.includes('identity');
  if (best === 'identity' || (bare && COMPACT.test(mediaType)))
    return { reports, content, coding: 'identity' };
  const report = stopwatch(`encode ${best}`, content.length);
  const coded = recoding.encode(best, content);
  reports.push(report(coded.length));
  const worth = coded.length < content.length || !bare;
  return worth ? { reports, content: coded, coding: best } : { reports, content, coding: 'identity' };
}

/** The content as the steps are to see it, or why they cannot. */
function opened(original: Buffer, job: ContentJob, largest: number): Passing | Unseen {
  const { mediaType } = job;
  if (job.recoding === undefined) return { content: original, mediaType, reports: [] };
  const { from } = job.recoding;
  const report = stopwatch(`decode ${from}`, original.length);
  try {
    const content = recoding.decode(from, original, largest);
    return { content, mediaType, reports: [report(content.length)] };
  } catch (error) {
    const { code } = error as TpotError;
    return isUnseen(code) ? code : 'undecodable';
  }
}

async function work(job: ContentJob, limits: CommandLimits): Promise<ContentResult> {
  const original = Buffer.from(job.content.buffer, job.content.byteOffset, job.content.length);
  const passing = opened(original, job, limits.largest);
  if (typeof passing === 'string') return { reports: [], unseen: passing };
  const { reports, content: before } = passing;
  const whole = await passThrough(job, passing, limits);
  if (!whole || passing.content.length >= before.length) return { reports };
  const result: ContentResult =
    job.recoding === undefined ? { reports, content: passing.content } : recode(passing, job.recoding.to);
  if ((result.content?.length ?? 0) >= original.length) return { reports };
  return { ...result, ...(passing.mediaType === job.mediaType ? {} : { mediaType: passing.mediaType }) };
}

/**
 * Goes on as a process of the same program without capabilities: they belong to threads, and Node has several before the
 * first line of a program runs.
 */
function confine(): void {
  const done = process.env['TPOT_CONTENT_CONFINED'] !== undefined;
  delete process.env['TPOT_CONTENT_CONFINED'];
  if (done || ownCapabilities().effective === 0n) return;
  // Only where modes do not let root read this program.
  const readable = rootMayRead(fileURLToPath(import.meta.url));
  dropCapabilities(capabilitySet(readable ? [] : [CAP.dacReadSearch]));
  process.env['TPOT_CONTENT_CONFINED'] = '1';
  exec(process.execPath, [...process.execArgv, ...process.argv.slice(1)]);
}

async function check(path: string): Promise<void> {
  try {
    await loadModule(path, '');
    process.exit(0);
  } catch (error) {
    process.stderr.write(messageOf(error));
    process.exit(1);
  }
}

function writeAll(bytes: Buffer): void {
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
}

function serve(limits: CommandLimits): void {
  // What modules print goes where this process's own words go: stdout is the channel.
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const decoder = new Decoder(Infinity);
  process.stdin.on('data', (chunk: Buffer) => {
    for (const job of decoder.push(chunk)) {
      const { id = 0 } = job;
      void work(job as unknown as ContentJob, limits).then((result) => writeAll(encode({ ...result, id })));
    }
  });
  process.stdin.once('end', () => process.exit(0));
}

const [first = '', second = ''] = process.argv.slice(2);
confine();
if (first === '--check') {
  await check(second);
} else {
  endWithParent();
  serve({ largest: Number(first), cpuSeconds: Number(second) });
}
