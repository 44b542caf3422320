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
import { acceptedCodings, codingOf, type Recoding } from './content-coding.js';
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
  /** Undefined: the content has no coding, and gets none. */
  readonly recoding: Recoding | undefined;
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

function recodingOf({ request, response }: Exchange): Recoding | undefined {
  const from = codingOf(response);
  return from === undefined || from === 'identity' ? undefined : { from, to: acceptedCodings(request, from) };
}

/** Tells the results of plans apart that may be kept. */
function keyOf({ pipeline, type, recoding, uri, fields }: Plan, hash: string): string {
  const { mediaType, charset = '' } = type;
  return [hash, pipeline.id, mediaType, charset, JSON.stringify([fields, recoding]), uri].join('\n');
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
    const recoding = recodingOf(exchange);
    const unfit = untouchable(exchange) ?? (recoding?.to.length === 0 ? 'encoded' : undefined);
    const why = fits ? (unfit ?? this.#tooLarge(length)) : 'type';
    if (why !== undefined) {
      this.count(why);
      return undefined;
    }
    const steps = applicable(pipeline.steps, type.mediaType);
    const field = (name: string): string => (exchange.request.get(name) ?? []).join(', ');
    const fields = steps.map((step) => choice(step, field));
    const names = [...steps.flatMap((step) => step.vary), ...(recoding ? ['accept-encoding'] : [])];
    const vary = [...new Set(names)].sort();
    return { pipeline, steps, type, recoding, uri, fields, vary };
  }

  /**
   * The content as a plan makes it, or that it stays; never rejects. `hash` is the content's {@link digest} where the result
   * may be kept for others.
   */
  async variant(plan: Plan, content: () => Buffer, hash: string | undefined): Promise<Kept> {
    if (hash === undefined) return (await this.#make(plan, content())).kept;
    const key = keyOf(plan, hash);
    const known = this.#variants.get(key);
    if (known !== undefined) {
      if (typeof known === 'string') this.count(known);
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
    const { steps, type, recoding, uri, fields } = plan;
    let result: ContentResult;
    try {
      result = await this.#pool.run({ steps, content, recoding, ...type, uri, fields });
    } catch (error) {
      return this.#unmade(uri, error);
    }
    for (const report of result.reports) this.#steps.add(report);
    const failed = result.reports.find((report) => report.failed !== undefined);
    if (failed !== undefined) {
      this.#fail('failed', uri, { step: failed.name, error: failed.failed ?? '' });
      return { kept: 'failed', again: 'later' };
    }
    if (result.content === undefined) {
      const why = result.unseen ?? 'no-gain';
      this.count(why);
      return { kept: why, again: 'never' };
    }
    const made = Buffer.from(result.content); // a copy: what arrived may lie in a larger buffer
    const variant: Variant = {
      content: made,
      mediaType: result.mediaType,
      coding: result.coding,
      tag: digest(made).slice(0, TAG_LENGTH),
    };
    return { kept: variant, again: 'never' };
  }

  #unmade(uri: string, error: unknown): { kept: Untouched; again: 'later' | 'at once' } {
    const code = error instanceof TpotError ? error.code : '';
    if (code === 'content-busy') {
      this.count('busy');
      return { kept: 'busy', again: 'at once' };
    }
    const why = code === 'content-timeout' ? 'timeout' : 'failed';
    this.#fail(why, uri, { error: messageOf(error) });
    return { kept: why, again: 'later' };
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
