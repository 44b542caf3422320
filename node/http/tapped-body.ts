/**
 * A large response that is to be stored: its connection leaves for the kernel in the middle of it, and the rest comes
 * as a copy of what passes there (node/taps.ts).
 *
 * ```
 *            relayed by this process          │  passes in the kernel
 *   origin ─▶ ContentCopy ─▶ Fill ─▶ client   │  origin ─────────────────▶ client
 *                             │               │     └─ copy ─▶ TappedBody ─▶ the same Fill ─▶ stored
 * ```
 *
 * Only where its client is the only one who reads it: what is copied may turn out not to be complete, and others would be
 * cut off. Who asks while it passes fetches on its own.
 */
import type { IncomingMessage } from 'node:http';
import type { Fill } from '../../cache/fill.js';
import type { Flight } from '../../cache/flight.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { ResponseCopy } from '../data-path.js';
import { ChunkReader, LengthReader, type BodyReader } from './body-reader.js';
import type { ContentCopy } from './content-copy.js';
import type { Upstream } from './upstream.js';

/** Where the content of a fill comes from. */
export interface FillSource {
  readonly upstream: Upstream;
  readonly message: IncomingMessage;
  readonly flight: Flight;
  readonly content: ContentCopy;
}

export class TappedBody implements ResponseCopy {
  readonly #source: FillSource;
  readonly #fill: Fill;
  readonly #head: ResponseHead;
  readonly #chunks: ChunkReader | undefined;
  /** How many read the fill when nobody but the client of this response does. */
  readonly #ownReaders: number;
  #reader: BodyReader | undefined;
  #legible = true;

  /** `raw`: the client gets the origin's own chunks, which are shown to {@link see}; otherwise it reads the fill. */
  constructor(source: FillSource, fill: Fill, head: ResponseHead, raw: boolean) {
    this.#source = source;
    this.#fill = fill;
    this.#head = head;
    this.#chunks = raw ? new ChunkReader() : undefined;
    this.#ownReaders = raw ? 0 : 1;
  }

  /** Bytes of a chunked body that the client got from here. */
  see(bytes: Buffer): void {
    const reading = this.#chunks?.read(bytes, () => undefined);
    if (reading !== 'more') this.#legible = false;
  }

  /** Whether nobody else reads it, and it may still be stored. */
  get alone(): boolean {
    return this.#fill.readers === this.#ownReaders && !this.#fill.overflowed && this.#legible;
  }

  /** Whether the client has been sent all that there is. */
  get sent(): boolean {
    return this.#fill.behind === 0;
  }

  begin(): void {
    this.#source.content.stop();
    this.#source.flight.goOnUnshared();
    const length = Number(this.#head.fields.get('content-length')?.[0]);
    this.#reader = this.#chunks ?? new LengthReader(length - this.#fill.length);
  }

  content(bytes: Buffer): 'more' | 'complete' | 'unwanted' {
    const reading = this.#reader?.read(bytes, (content) => {
      this.#fill.push(content, () => undefined);
    });
    if (this.#fill.overflowed || reading === undefined || reading === 'bad') {
      this.lost();
      return 'unwanted';
    }
    if (reading === 'complete') this.#fill.finish();
    return reading;
  }

  lost(): void {
    this.#source.flight.fail();
  }
}
