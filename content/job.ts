/** What a worker process is asked, and what it answers. */
import type { ContentStep } from './steps.js';

export interface ContentJob {
  /** The steps that may have something to do, in order. */
  readonly steps: readonly ContentStep[];
  readonly content: Uint8Array;
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

export interface ContentResult {
  readonly reports: readonly StepReport[];
  /** Absent where nothing has become smaller, and where a step failed. */
  readonly content?: Uint8Array;
  readonly mediaType?: string;
}
