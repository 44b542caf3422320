/**
 * Content transforms of one exchange: whether what is about to go to the client goes as a pipeline makes it.
 *
 * ```
 *   stored response ─┐                    ┌─ no plan ───────────────────────────────▶ the original, as if nothing were here
 *   arriving (Fill) ─┼─▶ select (content/)┤
 *   passed on ───────┘                    └─ plan ─▶ whole and small enough in time? ─▶ variant ─▶ 200 or 304 of its own
 *                                                          └─ no, or not smaller ───▶ the original, from its beginning
 * ```
 *
 * The cache never sees a variant: originals are stored and validated, variants are kept by content/variants.ts.
 */
import type { IncomingMessage } from 'node:http';
import type { CacheStatus } from '../../cache/cache-status.js';
import { endToEnd, indexFields, without } from '../../cache/fields.js';
import { Fill, FillBudget, type FillReader } from '../../cache/fill.js';
import type { RequestHead } from '../../cache/key.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { StoredHead, StoredResponse } from '../../cache/stored.js';
import { evaluateConditions } from '../../cache/validation.js';
import { TRANSFORMED, headersOfUnknown, transformedHeaders, type Untouched } from '../../content/eligible.js';
import { digest, type ContentService, type Plan } from '../../content/service.js';
import type { Pipeline } from '../../content/steps.js';
import type { Variant } from '../../content/variants.js';
import { ContentCopy } from './content-copy.js';
import { writeHead, type Delivery } from './deliver.js';
import { IN_304, NOT_MODIFIED } from './deliver-stored.js';
import { lengthLast, nodeFields } from './headers.js';

/** A header section whose content may be transformed: stored, or as the next hop sent it. */
type Head = Pick<StoredHead, 'status' | 'statusMessage' | 'httpVersion' | 'rawHeaders' | 'fields'> & {
  readonly framing?: ResponseHead['framing'];
};

/** How a response is announced. */
export interface Told {
  /** Seconds; undefined: it comes from the next hop now. */
  readonly age: () => number | undefined;
  readonly status: CacheStatus;
}

interface Arrival {
  readonly head: Head;
  readonly fill: Fill;
  readonly told: Told;
  /** Whether others may get what becomes of it. */
  readonly shared: boolean;
}

/** Contents that wait for their end in fills of this file, as a multiple of the largest one that may be transformed. */
const WAITING_FILLS = 16;

/** Hashes of stored contents; as long-lived as they are. */
const hashes = new WeakMap<readonly Buffer[], string>();
/** What is collected of a fill, once for all clients who share it. */
const collected = new WeakMap<Fill, Promise<Collected>>();
const budgets = new WeakMap<ContentService, FillBudget>();

function hashOf(body: readonly Buffer[]): string {
  const known = hashes.get(body);
  if (known !== undefined) return known;
  const hash = digest(joined(body));
  hashes.set(body, hash);
  return hash;
}

/** Whether all of its content is in memory. */
function isWhole({ body, bodyLength, pieces }: StoredResponse): boolean {
  return pieces === undefined && body.reduce((sum, block) => sum + block.length, 0) === bodyLength;
}

function joined(blocks: readonly Buffer[]): Buffer {
  return blocks.length === 1 ? (blocks[0] ?? Buffer.alloc(0)) : Buffer.concat(blocks);
}

/** A whole content and its hash, or why there is none; `cut` when the response broke off, which its readers will see. */
type Collected = { readonly content: Buffer; readonly hash: string } | Untouched | 'cut';

/** What there is to say of a content by now; undefined: more is to come. Takes what it has read into `parts`. */
function progress(fill: Fill, reader: FillReader, parts: Buffer[], largest: number): Collected | undefined {
  for (;;) {
    if (fill.overflowed || fill.length > largest) return 'too-large';
    const next = reader.next();
    if (next === 'wait') return undefined;
    if (next === 'failed') return 'cut';
    if (next === 'end') break;
    parts.push(next);
  }
  if (reader.trailers.length > 0) return 'framing';
  const content = joined(parts);
  return { content, hash: digest(content) };
}

function collect(fill: Fill, largest: number, timeout: number): Promise<Collected> {
  const known = collected.get(fill);
  if (known !== undefined) return known;
  const collecting = new Promise<Collected>((resolve) => {
    const parts: Buffer[] = [];
    const settle = (outcome: Collected): void => {
      clearTimeout(timer);
      reader.leave();
      resolve(outcome);
    };
    const wake = (): void => {
      const outcome = progress(fill, reader, parts, largest);
      if (outcome !== undefined) settle(outcome);
    };
    const reader = fill.read(wake);
    const timer = setTimeout(() => settle('too-slow'), timeout).unref();
    wake();
  });
  collected.set(fill, collecting);
  return collecting;
}

export class Distiller {
  readonly #content: ContentService;
  readonly #pipeline: Pipeline;
  readonly #request: RequestHead;
  readonly #authority: string;
  readonly #delivery: Delivery;

  /** `authority` is that of the connection, where the request names none. */
  constructor(
    content: ContentService,
    pipeline: Pipeline,
    request: RequestHead,
    authority: string,
    delivery: Delivery,
  ) {
    this.#content = content;
    this.#pipeline = pipeline;
    this.#request = request;
    this.#authority = authority;
    this.#delivery = delivery;
  }

  /** A stored response that answers in full. Calls `original` where it goes as it is. */
  async stored(entry: StoredResponse, told: Told, original: () => void): Promise<void> {
    const plan = isWhole(entry) ? this.#plan(entry, entry.bodyLength) : undefined;
    const kept = plan && (await this.#content.variant(plan, () => joined(entry.body), hashOf(entry.body)));
    if (plan === undefined || kept === undefined || typeof kept === 'string') original();
    else this.#send(entry, plan, kept, told);
  }

  /** A response for the cache, whose content comes in `fill`; others may get what becomes of it, too. */
  arriving(head: Head, fill: Fill, told: Told, original: () => void): void {
    const plan = this.#plan(head, lengthOf(head));
    if (plan === undefined) original();
    else void this.#arrive(plan, { head, fill, told, shared: true }, original);
  }

  /** A response that is not for the cache: what becomes of it is for this client alone. `false`: it goes as it is. */
  passedOn(
    head: ResponseHead,
    message: IncomingMessage,
    told: Told,
    original: (fill: Fill) => void,
  ): boolean {
    const plan = this.#plan(head, lengthOf(head));
    if (plan === undefined) return false;
    const events = { overflowed: () => undefined, abandoned: () => undefined, completed: () => undefined };
    const fill = new Fill(this.#content.limits.largest, this.#budget(), events);
    new ContentCopy(fill, message, () => fill.fail());
    void this.#arrive(plan, { head, fill, told, shared: false }, () => original(fill));
    return true;
  }

  /** The header section of an answer to HEAD whose GET might be transformed. */
  withoutContent(head: ResponseHead): ResponseHead {
    const plan = this.#plan(head, lengthOf(head));
    if (plan === undefined) return head;
    const rawHeaders = headersOfUnknown(head.rawHeaders, head.fields, plan.vary);
    return { ...head, rawHeaders, fields: indexFields(rawHeaders) };
  }

  #budget(): FillBudget {
    const known = budgets.get(this.#content);
    if (known !== undefined) return known;
    const budget = new FillBudget(WAITING_FILLS * this.#content.limits.largest);
    budgets.set(this.#content, budget);
    return budget;
  }

  async #arrive(plan: Plan, { head, fill, told, shared }: Arrival, original: () => void): Promise<void> {
    const hold = fill.read(() => undefined); // keeps the beginning for `original`
    this.#delivery.response.once('close', () => hold.leave());
    const variant = await this.#whole(plan, fill, shared);
    if (variant === undefined) original();
    else this.#send(head, plan, variant, told);
    hold.leave();
  }

  async #whole(plan: Plan, fill: Fill, shared: boolean): Promise<Variant | undefined> {
    const { largest, timeout } = this.#content.limits;
    const outcome = await collect(fill, largest, timeout);
    if (typeof outcome === 'string') {
      if (outcome !== 'cut') this.#content.count(outcome);
      return undefined;
    }
    const { content, hash } = outcome;
    const kept = await this.#content.variant(plan, () => content, shared ? hash : undefined);
    return typeof kept === 'string' ? undefined : kept;
  }

  #plan(head: Head, length: number | undefined): Plan | undefined {
    if (head.framing === 'close') {
      this.#content.count('framing');
      return undefined;
    }
    const { method, fields, target } = this.#request;
    const exchange = { method, request: fields, status: head.status, response: head.fields };
    const uri = `http://${fields.get('host')?.[0] ?? this.#authority}${target}`;
    return this.#content.select(this.#pipeline, exchange, { uri, length });
  }

  #send(head: Head, plan: Plan, variant: Variant, { age, status }: Told): void {
    const { request, response, node } = this.#delivery;
    if (response.destroyed || request.socket.destroyed) return;
    const { content, mediaType, coding, tag } = variant;
    const raw = without(endToEnd(head.rawHeaders, head.fields), (name) => name === 'trailer');
    const change = { length: content.length, mediaType, coding, vary: plan.vary, tag };
    const headers = transformedHeaders(raw, head.fields, change);
    const seconds = age();
    if (seconds !== undefined) headers.push('Age', String(seconds));
    headers.push(...nodeFields(node, head.httpVersion, { ...status, detail: TRANSFORMED }));
    // There is no Last-Modified to compare a date with: only tags count.
    const conditions = evaluateConditions(this.#request.fields, indexFields(headers), Infinity, 0);
    if (conditions === 'not-modified') {
      const kept = without(headers, (name) => !IN_304.has(name));
      if (writeHead(this.#delivery, NOT_MODIFIED, kept)) response.end();
      return;
    }
    if (!writeHead(this.#delivery, head, lengthLast(headers))) return;
    response.end(request.method === 'HEAD' ? undefined : content);
  }
}

function lengthOf({ fields }: Head): number | undefined {
  const length = fields.get('content-length')?.[0];
  return length === undefined ? undefined : Number(length);
}
