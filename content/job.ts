/** What a worker process is asked, and what it answers. */
import { TpotError } from '../core/errors.js';
import { isAnyCoding, type AnyCoding, type Recoding } from './content-coding.js';
import type { ContentStep } from './steps.js';

export interface ContentJob {
  /** The steps that may have something to do, in order. */
  readonly steps: readonly ContentStep[];
  readonly content: Uint8Array;
  /** Its content coding, which the steps do not see; undefined: it has none. */
  readonly recoding: Recoding | undefined;
  readonly mediaType: string;
  readonly charset: string | undefined;
  readonly uri: string;
  /** For each step, the request fields that it may know. */
  readonly fields: readonly Readonly<Record<string, string>>[];
}

/** What one step has done, or, with `failed`, why it could not. */
export interface StepReport {
  readonly name: string;
  readonly bytesIn: number;
  /** The same as `bytesIn` where it changed nothing. */
  readonly bytesOut: number;
  readonly milliseconds: number;
  readonly cpuMilliseconds: number;
  readonly failed?: string;
}

/** Why no step has seen the content. */
const UNSEEN = ['undecodable', 'decoded-too-large'] as const;
export type Unseen = (typeof UNSEEN)[number];

export interface ContentResult {
  readonly reports: readonly StepReport[];
  /** Absent where nothing has become smaller, and where a step failed. */
  readonly content?: Uint8Array;
  readonly mediaType?: string;
  /** The content's coding, where it had one before. */
  readonly coding?: AnyCoding;
  readonly unseen?: Unseen;
}

export function isUnseen(word: unknown): word is Unseen {
  return UNSEEN.some((one) => one === word);
}

/** `type/subtype`, nothing else. */
export const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/;

function isReport(report: unknown): report is StepReport {
  if (typeof report !== 'object' || report === null) return false;
  const { name, failed, ...numbers } = report as Readonly<Record<string, unknown>>;
  const { bytesIn, bytesOut, milliseconds, cpuMilliseconds } = numbers;
  const counted = [bytesIn, bytesOut, milliseconds, cpuMilliseconds].every(Number.isFinite);
  return counted && typeof name === 'string' && (failed === undefined || typeof failed === 'string');
}

/**
 * What a worker has said, as far as it can be true of a content of `length` bytes.
 *
 * @throws TpotError `content-worker`
 */
export function resultOf(message: object, length: number): ContentResult {
  const said = message as Partial<Record<keyof ContentResult, unknown>>;
  const { reports, content, mediaType, coding, unseen } = said;
  const smaller = content === undefined || (content instanceof Uint8Array && content.length < length);
  const typed = mediaType === undefined || (typeof mediaType === 'string' && MEDIA_TYPE.test(mediaType));
  const coded = coding === undefined || isAnyCoding(coding);
  const seen = unseen === undefined || isUnseen(unseen);
  if (!Array.isArray(reports) || !reports.every(isReport) || !smaller || !typed || !coded || !seen) {
    throw new TpotError('content-worker', 'the process said what cannot be');
  }
  return message as ContentResult;
}
