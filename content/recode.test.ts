import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Coding } from './content-coding.js';
import { decode, encode } from './recode.js';

const text = Buffer.from('all of it means the same, '.repeat(20_000));

describe.each<Coding>(['br', 'zstd', 'gzip', 'deflate'])('%s', (coding) => {
  it('comes off as it went on', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
        const content = Buffer.from(bytes);
        expect(decode(coding, encode(coding, content), content.length + 1).equals(content)).toBe(true);
      }),
      { numRuns: 30 },
    );
    for (const content of [text, randomBytes(700_000)]) {
      expect(decode(coding, encode(coding, content), content.length).equals(content)).toBe(true);
    }
    expect(encode(coding, text).length).toBeLessThan(text.length / 50);
  });

  it('is refused where it stands for more than may be made', () => {
    const bomb = encode(coding, Buffer.alloc(64 * 2 ** 20));
    const before = process.memoryUsage().arrayBuffers;
    expect(() => decode(coding, bomb, 100_000)).toThrow(
      expect.objectContaining({ code: 'decoded-too-large' }) as Error,
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 2 ** 20);
    expect(() => decode(coding, encode(coding, text), text.length - 1)).toThrow(/more than/);
  });

  it.each([
    ['cut short', (coded: Buffer) => coded.subarray(0, -1)],
    ['empty', () => Buffer.alloc(0)],
    ['another thing', () => Buffer.from('<html>')],
    ['followed by something', (coded: Buffer) => Buffer.concat([coded, Buffer.from('trail')])],
  ])('is refused where it is %s', (_what, harm) => {
    expect(() => decode(coding, harm(encode(coding, text)), 2 ** 20)).toThrow(
      expect.objectContaining({ code: 'undecodable' }) as Error,
    );
  });
});
