import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Decoder, encode } from './channel.js';
import { resultOf } from './job.js';

describe('messages', () => {
  it('arrive as they were sent, however they are cut', () => {
    const message = fc.record({ name: fc.string(), content: fc.uint8Array({ maxLength: 40 }) });
    fc.assert(
      fc.property(fc.array(message), fc.integer({ min: 1, max: 50 }), (sent, size) => {
        const all = Buffer.concat(sent.map(encode));
        const decoder = new Decoder(40);
        const got = [];
        for (let at = 0; at < all.length; at += size) got.push(...decoder.push(all.subarray(at, at + size)));
        expect(got).toEqual(sent.map(({ name, content }) => ({ name, content: Buffer.from(content) })));
      }),
    );
  });

  it('that are too long are an error before they are there', () => {
    expect(() => new Decoder(3).push(encode({ content: Buffer.alloc(4) }).subarray(0, 8))).toThrow('longer');
    expect(new Decoder(3).push(encode({}))).toEqual([{}]);
  });
});

describe('what a worker says', () => {
  const good = { name: 'a', bytesIn: 9, bytesOut: 5, milliseconds: 1.5, cpuMilliseconds: 1 };

  it('is taken when it can be', () => {
    const result = { reports: [good], content: Buffer.alloc(5), mediaType: 'a/b' };
    expect(resultOf(result, 9)).toEqual(result);
    expect(resultOf({ reports: [] }, 9)).toEqual({ reports: [] });
  });

  it.each([
    ['no reports', {}],
    ['a report of another shape', { reports: [{ ...good, bytesIn: 'x' }] }],
    ['a content that is not smaller', { reports: [], content: Buffer.alloc(9) }],
    [
      'a media type that would end the line',
      { reports: [], content: Buffer.alloc(1), mediaType: 'a/b\r\nx: y' },
    ],
  ])('is an error with %s', (_what, message) => {
    expect(() => resultOf(message, 9)).toThrow();
  });
});
