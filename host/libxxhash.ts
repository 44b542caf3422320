/** XXH3 (xxHash 0.8) as Debian's libxxhash.so.0 does it, which apt itself depends on. Node has no checksum as fast. */
import koffi from 'koffi';

function bind() {
  const lib = koffi.load('libxxhash.so.0');
  return {
    // They return 64 bits, of which the lower 32 are asked for: a number, where all of them would be a bigint.
    hash: lib.func('uint32_t XXH3_64bits(const void *bytes, size_t length)') as (
      bytes: Buffer,
      length: number,
    ) => number,
    createState: lib.func('void *XXH3_createState()') as () => object | null,
    reset: lib.func('int XXH3_64bits_reset(void *state)') as (state: object) => number,
    update: lib.func('int XXH3_64bits_update(void *state, const void *bytes, size_t length)') as (
      state: object,
      bytes: Buffer,
      length: number,
    ) => number,
    digest: lib.func('uint32_t XXH3_64bits_digest(void *state)') as (state: object) => number,
  };
}

/** The lower 32 bits of XXH3-64 over all parts, one after the other. */
export type Xxh3 = (parts: readonly Buffer[]) => number;

function make(): Xxh3 | undefined {
  try {
    const { hash, createState, reset, update, digest } = bind();
    const state = createState(); // one is enough: calls are synchronous
    if (state === null) return undefined;
    return (parts) => {
      const [first] = parts;
      if (parts.length === 1 && first !== undefined) return hash(first, first.length);
      reset(state);
      for (const part of parts) update(state, part, part.length);
      return digest(state);
    };
  } catch {
    return undefined;
  }
}

let made: { readonly xxh3: Xxh3 | undefined } | undefined;

/** `undefined` where the library is missing. */
export function libxxhash(): Xxh3 | undefined {
  return (made ??= { xxh3: make() }).xxh3;
}
