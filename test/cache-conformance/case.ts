/** The form of a case: exchanges with what is expected of them, and short ways to write the usual ones. */

/** A field value; dates are made when they are sent: seconds from then. */
type Value = string | readonly string[] | { readonly date: number };
export type Headers = Readonly<Record<string, Value>>;

export interface Step {
  /** Seconds that pass before. */
  readonly after?: number;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Headers;
  /** What the origin answers if it is asked: 200 with {@link FRESH} and a body of its own unless said otherwise. */
  readonly origin?: {
    readonly status?: number;
    readonly headers?: Headers;
    readonly body?: string;
    /** It closes the connection instead. */
    readonly down?: boolean;
  };
  /** `hit`: it is not asked. `validated`: it is asked with the node's conditions. `fetched`: it is asked otherwise. */
  readonly expect: 'hit' | 'fetched' | 'validated';
  readonly status?: number;
  readonly body?: string;
  /** Fields of the response; `null` for one that must not be there. */
  readonly fields?: Readonly<Record<string, string | RegExp | null>>;
  /** Fields of the request at the origin. */
  readonly asked?: Readonly<Record<string, string | null>>;
}

export interface Case {
  readonly section: string;
  readonly behaviour: string;
  readonly steps: readonly Step[];
}

export const FRESH: Headers = { 'Cache-Control': 'max-age=60' };
export const get = (step: Partial<Step>): Step => ({ expect: 'hit', ...step });
/** Stores a response with these fields. */
export const stores = (headers: Headers = FRESH, more: Partial<Step> = {}): Step => ({
  expect: 'fetched',
  ...more,
  origin: { headers, body: 'first', ...more.origin },
});
export const hit: Step = { expect: 'hit', body: 'first' };
export const miss: Step = { expect: 'fetched', origin: { headers: FRESH, body: 'second' }, body: 'second' };

/** A response with these fields is used again, or is not. */
export const reused = (section: string, behaviour: string, headers: Headers, after = 1): Case => ({
  section,
  behaviour,
  steps: [stores(headers), { ...hit, after }],
});
export const notReused = (section: string, behaviour: string, headers: Headers, after = 1): Case => ({
  section,
  behaviour,
  steps: [stores(headers), { ...miss, after }],
});
