/**
 * The interface of content transforms: what a step of a pipeline is given, and what it gives back. A module of the
 * configuration exports a {@link ContentFunction} as its default; examples/content/first-words.mjs is one.
 */

/** What a transform may know of the response. */
export interface ContentSubject {
  /** Media type without parameters, in lower case. */
  readonly mediaType: string;
  /** Parameter `charset` of the origin's Content-Type, in lower case; undefined: it has none. */
  readonly charset: string | undefined;
  /** `http://host:port/path?query`. */
  readonly uri: string;
  /** Request fields by lower-case name: those that the step's `vary` names, and no others. */
  readonly fields: Readonly<Record<string, string>>;
}

export interface TransformedContent {
  readonly content: Uint8Array;
  /** When it is another one than before. */
  readonly mediaType?: string;
}

/** The new content, or undefined where there is nothing to do. What throws leaves the response as it came. */
export type ContentFunction = (
  content: Buffer,
  subject: ContentSubject,
  /** `options` of the step in the configuration. */
  options: Readonly<Record<string, unknown>>,
) => TransformedContent | undefined | Promise<TransformedContent | undefined>;
