import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkScanner, HeadScanner } from './chunked.js';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** The same bytes in pieces of these lengths. */
function pieces(whole: Buffer, lengths: readonly number[]): Buffer[] {
  const cut: Buffer[] = [];
  let at = 0;
  for (const length of [...lengths, whole.length]) {
    cut.push(whole.subarray(at, at + length));
    at += length;
  }
  return cut.filter(({ length }) => length > 0);
}

const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 40 });

describe('header sections', () => {
  it('end at an empty line, wherever the bytes are cut', () => {
    const head = bytes('\r\nHTTP/1.1 103 x\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nA: b\n c\r\n\r\n');
    const body = bytes('a\r\n\r\nb');
    fc.assert(
      fc.property(lengths, (cuts) => {
        const scanner = new HeadScanner();
        let before = 0;
        for (const piece of pieces(Buffer.concat([head, body]), cuts)) {
          const end = scanner.find(piece, 2);
          if (end >= 0) {
            expect(before + end).toBe(head.length);
            return;
          }
          before += piece.length;
        }
        expect.unreachable();
      }),
    );
  });
});

describe('a chunked body', () => {
  const chunk = fc.tuple(
    fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }),
    fc.constantFrom('', ';a=b', ' ; x="0"'),
    fc.boolean(),
  );
  const trailers = fc.constantFrom('', 'A: b\r\n', 'A: b\r\nC: 0\r\n');

  it('ends behind its trailers, wherever the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 4 }), trailers, lengths, (chunks, trailer, cuts) => {
        const written = chunks.map(([content, extension, upper]) => {
          const size = content.length.toString(16);
          return `${upper ? size.toUpperCase() : `0${size}`}${extension}\r\n${content}\r\n`;
        });
        const body = bytes(`${written.join('')}0\r\n${trailer}\r\n`);
        const scanner = new ChunkScanner();
        let taken = 0;
        for (const piece of pieces(Buffer.concat([body, bytes('HTTP/1.1')]), cuts))
          taken += scanner.push(piece);
        expect(taken).toBe(body.length);
      }),
      { numRuns: 500 },
    );
  });
});
