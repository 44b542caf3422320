/**
 * The interface of content transforms. A module that exports one as its default, or a command that filters its input, can
 * be named in the configuration: see docs/transcoding.md.
 */

export interface ContentSubject {
  /** Media type of the response, without parameters, in lower case. */
  readonly mediaType: string;
  /** The request's Accept field; empty when there is none. */
  readonly accept: string;
  /** Absolute URI of the request. */
  readonly uri: string;
}

export interface TransformedContent {
  readonly content: Buffer;
  /** When it is another one than before. */
  readonly mediaType?: string;
}

export interface ContentTransform {
  /** By which rules name it. */
  readonly name: string;
  /** Media types it is for: `image/png`, or `image/*`. */
  readonly types: readonly string[];
  /** Request fields its result depends on. */
  readonly vary: readonly string[];
  /** The new content, or undefined to leave it as it is. A rejection leaves it, too, and is counted. */
  transform(
    content: Buffer,
    subject: ContentSubject,
    signal: AbortSignal,
  ): Promise<TransformedContent | undefined>;
}

export function isFor({ types }: ContentTransform, mediaType: string): boolean {
  return types.some((type) =>
    type.endsWith('/*') ? mediaType.startsWith(type.slice(0, -1)) : type === mediaType,
  );
}
