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
  xxh3: fc.boolean(),
  checksum: fc.nat(0xffffffff),
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

type Whole = Omit<Frame, 'payload'> & { readonly payload: Buffer };

function* framesOf(reader: FrameReader, bytes: Buffer): Generator<Whole> {
  reader.push(bytes);
  for (let one = reader.next(); one !== undefined; one = reader.next()) {
    yield { ...one, payload: Buffer.concat(one.payload) };
  }
}

describe('hello', () => {
  it('is read as it was written, and only when it is whole and undamaged', () => {
    fc.assert(
      fc.property(
        fc.record({ storeId: id, dictionaryId: id, abilities: fc.nat(255) }),
        fc.nat(HELLO_LENGTH - 1),
        fc.integer({ min: 1, max: 255 }),
        (hello, at, flip) => {
          const bytes = encodeHello(hello);
          expect(readHello(bytes)).toEqual(hello);
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
            frames.flatMap(({ kind, form, xxh3, checksum, payload }) => [
              frameHeader(kind, form, payload.length, checksum, xxh3),
              payload,
            ]),
          );
          const reader = new FrameReader();
          const found: Whole[] = [];
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            found.push(...framesOf(reader, bytes.subarray(at, at + cut)));
            at += cut;
          }
          expect(found).toEqual(frames);
        },
      ),
    );
  });

  it('copies no payload, and does not keep a part for each byte', () => {
    const payload = Buffer.alloc(50_000, 1);
    const bytes = Buffer.concat([frameHeader(KIND.data, FORM.plain, payload.length, 7), payload]);
    const reader = new FrameReader();
    reader.push(bytes.subarray(0, 30_000));
    expect(reader.next()).toBeUndefined();
    reader.push(bytes.subarray(30_000));
    const parts = reader.next()?.payload ?? [];
    expect(parts.map(({ buffer, byteOffset }) => [buffer, byteOffset - bytes.byteOffset])).toEqual([
      [bytes.buffer, 8],
      [bytes.buffer, 30_000],
    ]);
    for (const byte of bytes) reader.push(Buffer.of(byte));
    const again = reader.next()?.payload ?? [];
    expect(again.length).toBeLessThanOrEqual(65);
    expect(Buffer.concat(again).equals(payload)).toBe(true);
  });

  it('throws for what no peer sends, and for nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const reader = new FrameReader();
        try {
          for (const { payload } of framesOf(reader, Buffer.from(bytes)))
            expect(payload.length).toBeLessThan(100);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
    );
  });
});
