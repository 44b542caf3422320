import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeHello,
  FORM,
  frameHeader,
  FrameError,
  FrameReader,
  HELLO_LENGTH,
  KIND,
  readHello,
  type Frame,
} from './frame.js';

const id = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes));
const frame = fc.record({
  kind: fc.constantFrom(KIND.data, KIND.chunks),
  form: fc.constantFrom(...Object.values(FORM)),
  crc: fc.nat(0xffffffff),
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

function copy({ payload, ...rest }: Frame): Frame {
  return { ...rest, payload: Buffer.from(payload) };
}

describe('hello', () => {
  it('is read as it was written, and only when it is whole and undamaged', () => {
    fc.assert(
      fc.property(
        id,
        id,
        fc.nat(HELLO_LENGTH - 1),
        fc.integer({ min: 1, max: 255 }),
        (storeId, dictionaryId, at, flip) => {
          const bytes = encodeHello({ storeId, dictionaryId });
          expect(readHello(bytes)).toEqual({ storeId, dictionaryId });
          expect(readHello(bytes.subarray(0, at))).toBeUndefined();
          bytes.writeUInt8(bytes.readUInt8(at) ^ flip, at);
          expect(readHello(bytes)).toBe('plain');
        },
      ),
    );
  });

  it('is not seen in what other protocols say first', () => {
    for (const text of ['GET / HTTP/1.1\r\n', 'SSH-2.0-x', '\x16\x03\x01\x02', '\0', '\0TPOT']) {
      const bytes = Buffer.from(text, 'latin1');
      expect(readHello(bytes)).toBe('\0TPOT'.startsWith(text) ? undefined : 'plain');
    }
  });
});

describe('FrameReader', () => {
  it('finds the frames however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 200 })),
        (frames, cuts) => {
          const bytes = Buffer.concat(
            frames.flatMap(({ kind, form, crc, payload }) => [
              frameHeader(kind, form, payload.length, crc),
              payload,
            ]),
          );
          const reader = new FrameReader();
          const found: Frame[] = [];
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            for (const one of reader.read(bytes.subarray(at, at + cut))) found.push(copy(one));
            at += cut;
          }
          expect(found).toEqual(frames);
        },
      ),
    );
  });

  it('throws for what no peer sends, and for nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const reader = new FrameReader();
        try {
          for (const { payload } of reader.read(Buffer.from(bytes))) expect(payload.length).toBeLessThan(100);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
    );
  });
});
