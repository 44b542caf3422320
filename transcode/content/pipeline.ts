/** Content transforms in the order that a rule names them, within limits. */
import { performance } from 'node:perf_hooks';
import { mediaType, transformedFields, untouchable, type Exchange, type Untouched } from './eligible.js';
import { isFor, type ContentSubject, type ContentTransform } from './transform.js';

export interface PipelineLimits {
  /** Bytes of a response; a larger one passes as it is. */
  readonly largest: number;
  /** Responses under work at once; another one passes as it is. */
  readonly atOnce: number;
  /** Milliseconds for one response. */
  readonly timeout: number;
}

export interface ContentStats {
  responses: number;
  bytesIn: number;
  bytesOut: number;
  milliseconds: number;
}

export interface Result {
  readonly content: Buffer;
  readonly fields: Map<string, string[]>;
  /** Names of the transforms that changed something. */
  readonly by: readonly string[];
}

export class ContentPipelines {
  readonly #limits: PipelineLimits;
  #busy = 0;
  /** By transform. */
  readonly stats = new Map<string, ContentStats>();
  readonly untouched = new Map<Untouched, number>();

  constructor(limits: PipelineLimits) {
    this.#limits = limits;
  }

  get largest(): number {
    return this.#limits.largest;
  }

  /**
   * The transforms that are for this response, in order; empty when it passes as it is. To be asked before the content is
   * collected: `length` is its Content-Length, if known.
   */
  select(
    transforms: readonly ContentTransform[],
    exchange: Exchange,
    length: number | undefined,
  ): readonly ContentTransform[] {
    if (transforms.length === 0) return [];
    const type = mediaType(exchange.responseFields);
    const fitting = transforms.filter((one) => isFor(one, type));
    const why = untouchable(exchange) ?? this.#why(fitting.length, length);
    if (why !== undefined) this.#count(why);
    return why === undefined ? fitting : [];
  }

  /** Applies what {@link select} chose; `undefined`: the content stays as it is. */
  async apply(
    transforms: readonly ContentTransform[],
    exchange: Exchange,
    content: Buffer,
    uri: string,
  ): Promise<Result | undefined> {
    this.#busy++;
    try {
      return await this.#run(transforms, exchange, content, uri);
    } catch {
      this.#count('failed');
      return undefined;
    } finally {
      this.#busy--;
    }
  }

  #why(fitting: number, length: number | undefined): Untouched | undefined {
    if (fitting === 0) return 'type';
    if (length !== undefined && length > this.#limits.largest) return 'size';
    return this.#busy >= this.#limits.atOnce ? 'busy' : undefined;
  }

  async #run(
    transforms: readonly ContentTransform[],
    exchange: Exchange,
    content: Buffer,
    uri: string,
  ): Promise<Result | undefined> {
    const signal = AbortSignal.timeout(this.#limits.timeout);
    const accept = (exchange.requestFields.get('accept') ?? []).join(',');
    let type = mediaType(exchange.responseFields);
    let now = content;
    const by: ContentTransform[] = [];
    for (const one of transforms) {
      const started = performance.now();
      const made = await within(
        one.transform(now, { mediaType: type, accept, uri } satisfies ContentSubject, signal),
        signal,
      );
      const better = made !== undefined && made.content.length < now.length ? made : undefined;
      this.#account(one.name, now.length, (better?.content ?? now).length, performance.now() - started);
      if (better === undefined) continue;
      by.push(one);
      now = better.content;
      type = better.mediaType ?? type;
    }
    if (by.length === 0) {
      this.#count('no-gain');
      return undefined;
    }
    const contentType = type === mediaType(exchange.responseFields) ? undefined : type;
    // A transform that was tried depends on its fields, whether it changed anything this time or not.
    const vary = [...new Set(transforms.flatMap((one) => one.vary))];
    const fields = transformedFields(exchange.responseFields, { length: now.length, contentType, vary });
    return { content: now, fields, by: by.map(({ name }) => name) };
  }

  #account(name: string, bytesIn: number, bytesOut: number, milliseconds: number): void {
    let sums = this.stats.get(name);
    if (sums === undefined) {
      this.stats.set(name, (sums = { responses: 0, bytesIn: 0, bytesOut: 0, milliseconds: 0 }));
    }
    sums.responses++;
    sums.bytesIn += bytesIn;
    sums.bytesOut += bytesOut;
    sums.milliseconds += milliseconds;
  }

  #count(why: Untouched): void {
    this.untouched.set(why, (this.untouched.get(why) ?? 0) + 1);
  }
}

/** Rejects when the time is over, whether the transform looks at the signal or not. */
function within<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const over = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', over, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', over));
  });
}
