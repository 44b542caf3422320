/**
 * Content transforms of a node: which responses they are for, what has been transformed already, and what it came to.
 *
 * ```
 *   header section ─▶ select ──▶ undefined: it stays as it is, and the reason is counted
 *                        └─────▶ plan ─▶ the content arrives ─▶ variant ─▶ kept? ──▶ it
 *                                                                  └─▶ a worker process ─▶ smaller: kept, and it
 *                                                                                      └─▶ otherwise the original
 * ```
 */
import { createHash } from 'node:crypto';
import type { Logger } from '../core/log.js';
import { messageOf, TpotError } from '../core/errors.js';
import { mediaTypeOf, untouchable, type Exchange, type MediaType, type Untouched } from './eligible.js';
import type { ContentResult } from './job.js';
import { StepTable, type StepStats } from './stats.js';
import { applicable, choice, isFor, type ContentStep, type Pipeline } from './steps.js';
import { Variants, type Kept, type Variant, type VariantStats } from './variants.js';
import { WorkerPool, type PoolLimits } from './worker-pool.js';

export interface ContentLimits extends PoolLimits {
  /** Bytes of transformed contents that are kept. */
  readonly kept: number;
}

/** What is to be done with one response. */
export interface Plan {
  readonly pipeline: Pipeline;
  /** Those that may have something to do. */
  readonly steps: readonly ContentStep[];
  readonly type: MediaType;
  readonly uri: string;
  /** Request fields that decide, by step. */
  readonly fields: readonly Readonly<Record<string, string>>[];
  /** Their names. */
  readonly vary: readonly string[];
}

/** What `stats` shows. */
export interface ContentReport {
  readonly steps: readonly StepStats[];
  /** Responses that stayed as they were, by reason. */
  readonly untouched: Readonly<Partial<Record<Untouched, number>>>;
  readonly variants: VariantStats;
}

const TAG_LENGTH = 16;
const MOST_REPORTED = 256;

export function digest(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('base64url');
}

export class ContentService {
  readonly limits: ContentLimits;
  readonly #logger: Logger;
  readonly #pool: WorkerPool;
  readonly #variants: Variants;
  readonly #steps = new StepTable();
  readonly #untouched = new Map<Untouched, number>();
  /** Kinds of failures that the log has. */
  readonly #reported = new Set<string>();
  /** Under work, by key: who asks meanwhile waits for the same. */
  readonly #making = new Map<string, Promise<Kept>>();

  constructor(limits: ContentLimits, logger: Logger) {
    this.limits = limits;
    this.#logger = logger;
    this.#pool = new WorkerPool(limits);
    this.#variants = new Variants(limits.kept);
  }

  /** What to do with a response, by its header section; `length` of its content if known. */
  select(
    pipeline: Pipeline,
    exchange: Exchange,
    { uri, length }: { readonly uri: string; readonly length: number | undefined },
  ): Plan | undefined {
    const type = mediaTypeOf(exchange.response);
    const fits = pipeline.steps.some((step) => isFor(step, type.mediaType));
    const why = fits ? (untouchable(exchange) ?? this.#tooLarge(length)) : 'type';
    if (why !== undefined) {
      this.count(why);
      return undefined;
    }
    const steps = applicable(pipeline.steps, type.mediaType);
    const field = (name: string): string => (exchange.request.get(name) ?? []).join(', ');
    const fields = steps.map((step) => choice(step, field));
    const vary = [...new Set(steps.flatMap((step) => step.vary))].sort();
    return { pipeline, steps, type, uri, fields, vary };
  }

  /**
   * The content as a plan makes it, or that it stays; never rejects. `hash` is the content's {@link digest} where the result
   * may be kept for others.
   */
  async variant(plan: Plan, content: () => Buffer, hash: string | undefined): Promise<Kept> {
    if (hash === undefined) return (await this.#make(plan, content())).kept;
    const { pipeline, type, uri, fields } = plan;
    const key = [hash, pipeline.id, type.mediaType, type.charset ?? '', JSON.stringify(fields), uri].join(
      '\n',
    );
    const known = this.#variants.get(key);
    if (known !== undefined) {
      if (known === 'original') this.count('no-gain');
      return known;
    }
    const underWay = this.#making.get(key);
    if (underWay !== undefined) return underWay;
    const making = this.#make(plan, content()).then(({ kept, again }) => {
      this.#making.delete(key);
      if (again !== 'at once') this.#variants.put(key, kept, { failed: again === 'later' });
      return kept;
    });
    this.#making.set(key, making);
    return making;
  }

  /** Counts a response that stays as it is. */
  count(why: Untouched): void {
    this.#untouched.set(why, (this.#untouched.get(why) ?? 0) + 1);
  }

  report(): ContentReport {
    return {
      steps: this.#steps.rows(),
      untouched: Object.fromEntries(this.#untouched),
      variants: this.#variants.stats(),
    };
  }

  /** Commands and modules may have changed: nothing that they made is used any more. */
  renew(): void {
    this.#reported.clear();
    this.#variants.clear();
    this.#pool.renew();
  }

  close(): void {
    this.#pool.close();
  }

  #tooLarge(length: number | undefined): Untouched | undefined {
    return length !== undefined && length > this.limits.largest ? 'too-large' : undefined;
  }

  async #make(plan: Plan, content: Buffer): Promise<{ kept: Kept; again: 'never' | 'later' | 'at once' }> {
    const { steps, type, uri, fields } = plan;
    let result: ContentResult;
    try {
      result = await this.#pool.run({ steps, content, ...type, uri, fields });
    } catch (error) {
      return { kept: 'original', again: this.#unmade(uri, error) };
    }
    for (const report of result.reports) this.#steps.add(report);
    const failed = result.reports.find((report) => report.failed !== undefined);
    if (failed !== undefined) {
      this.#fail('failed', uri, { step: failed.name, error: failed.failed ?? '' });
      return { kept: 'original', again: 'later' };
    }
    if (result.content === undefined) {
      this.count('no-gain');
      return { kept: 'original', again: 'never' };
    }
    const made = Buffer.from(result.content); // a copy: what arrived may lie in a larger buffer
    const variant: Variant = {
      content: made,
      mediaType: result.mediaType,
      tag: digest(made).slice(0, TAG_LENGTH),
    };
    return { kept: variant, again: 'never' };
  }

  #unmade(uri: string, error: unknown): 'later' | 'at once' {
    const code = error instanceof TpotError ? error.code : '';
    if (code === 'content-busy') {
      this.count('busy');
      return 'at once';
    }
    this.#fail(code === 'content-timeout' ? 'timeout' : 'failed', uri, { error: messageOf(error) });
    return 'later';
  }

  /** The log has the first of each kind since the configuration was read; `stats` has their number. */
  #fail(why: Untouched, uri: string, fields: Readonly<Record<string, string>>): void {
    this.count(why);
    const kind = `${why} ${fields['step'] ?? ''}`;
    if (this.#reported.has(kind) || this.#reported.size >= MOST_REPORTED) return;
    this.#reported.add(kind);
    this.#logger.warn('content-untransformed', { why, uri, ...fields });
  }
}
