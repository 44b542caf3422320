import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkReader, LengthReader, type BodyReader, type Reading } from './body-reader.js';

/** What a reader makes of bytes that come in pieces. */
function readAll(reader: BodyReader, pieces: readonly Buffer[]): { content: Buffer; said: Reading } {
  const content: Buffer[] = [];
  let said: Reading = 'more';
  for (const piece of pieces) {
    if (said === 'more') said = reader.read(piece, (bytes) => content.push(Buffer.from(bytes)));
  }
  return { content: Buffer.concat(content), said };
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((to, index) => bytes.subarray(places[index - 1] ?? 0, to));
}

const parts = fc.array(
  fc.uint8Array({ minLength: 1, maxLength: 40 }).map((part) => Buffer.from(part)),
  { maxLength: 6 },
);
const extension = fc.constantFrom('', ';a=b', ' ; name="x y"');

describe('a chunked body', () => {
  it('gives its content and its end, however it is cut', () => {
    fc.assert(
      fc.property(parts, extension, fc.array(fc.nat()), fc.boolean(), (chunks, more, cuts, upper) => {
        const size = (length: number): string => {
          const hex = length.toString(16);
          return upper ? `0${hex.toUpperCase()}` : hex;
        };
        const encoded = Buffer.concat([
          ...chunks.flatMap((chunk) => [
            Buffer.from(`${size(chunk.length)}${more}\r\n`),
            chunk,
            Buffer.from('\r\n'),
          ]),
          Buffer.from('0\r\n\r\nHTTP/1.1 200 OK'),
        ]);
        const { content, said } = readAll(new ChunkReader(), cut(encoded, cuts));
        expect(said).toBe('complete');
        expect(content.equals(Buffer.concat(chunks))).toBe(true);
      }),
    );
  });

  it.each([
    ['5\nhello', 'a line without CR'],
    ['\r\n', 'no size'],
    ['x\r\n', 'no number'],
    ['5\r\nhello!', 'a chunk that does not end'],
    ['5\r\nhello\rx', 'CR alone'],
    ['-5\r\n', 'a sign'],
    ['1000000000000\r\n', 'more than there can be'],
    ['5;a\nb\r\n', 'an extension over two lines'],
    [`5;${'a'.repeat(5000)}`, 'an extension without an end'],
    ['0\r\nX: y\r\n\r\n', 'trailers'],
    ['0\r\n\rx', 'CR alone at the end'],
  ])('is refused: %j, %s', (text) => {
    expect(readAll(new ChunkReader(), [Buffer.from(text)]).said).toBe('bad');
  });

  it('without its end is not complete', () => {
    for (const text of ['', '5\r\nhel', '5\r\nhello\r\n', '0\r\n\r'])
      expect(readAll(new ChunkReader(), [Buffer.from(text)]).said).toBe('more');
  });
});

describe('a body of known length', () => {
  it('ends there, whatever follows', () => {
    const pieces = ['he', 'll', 'o HTTP/1.1'].map((text) => Buffer.from(text));
    expect(readAll(new LengthReader(5), pieces)).toEqual({ content: Buffer.from('hello'), said: 'complete' });
    expect(readAll(new LengthReader(50), pieces).said).toBe('more');
  });
});
