import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Budget } from './budget.js';
import { ChunkStore } from './chunk-store.js';
import { ChunkReceiver, ChunkSender, WINDOW, type Chunks } from './dedup.js';
import { FrameError, word } from './frame.js';

const store = (): ChunkStore => new ChunkStore({ bytes: 16 * 1024 * 1024, peers: 4 });

/** Bytes that do not repeat. */
function noise(seed: string, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, index) =>
    createHash('sha256').update(`${seed} ${index}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}

class Ends {
  readonly near = store();
  readonly far = store();
  budget = new Budget(Infinity);

  /** Sends in pieces of these lengths, over and over, flushed after each where `flushed`; what arrives, and what crossed. */
  send(bytes: Buffer, lengths: readonly number[], flushed: (piece: number) => boolean) {
    const sender = new ChunkSender(this.near, this.near.known(this.far.id), this.budget);
    const receiver = new ChunkReceiver(this.far, this.far.known(this.near.id));
    const arrived: Buffer[] = [];
    let crossed = 0;
    const carry = (all: Iterable<Chunks>): void => {
      for (const { list, plain } of all) {
        const { parts, missing } = receiver.read(Buffer.concat(list));
        expect(missing).toEqual([]);
        const got = Buffer.concat(parts as Buffer[]);
        expect(got.equals(plain)).toBe(true);
        arrived.push(got);
        crossed += list.reduce((sum, part) => sum + part.length, 0);
      }
    };
    let at = 0;
    for (let piece = 0; at < bytes.length; piece++) {
      const length = lengths[piece % lengths.length] ?? 1;
      carry(sender.push(bytes.subarray(at, at + length)));
      at += length;
      if (flushed(piece)) carry(sender.flush());
      if (flushed(piece)) expect(sender.pending).toBe(0);
    }
    carry(sender.flush());
    sender.close();
    return { arrived: Buffer.concat(arrived), crossed };
  }
}

describe('references', () => {
  /** A sender that has sent references which nobody has resolved. */
  function owing(): { readonly sender: ChunkSender; readonly references: number } {
    const [near, far] = [store(), store()];
    const bytes = noise('known', 200_000);
    const budget = new Budget(Infinity);
    for (const first of [true, false]) {
      const sender = new ChunkSender(near, near.known(far.id), budget);
      const references = [...sender.push(bytes)].reduce((sum, one) => sum + one.references, 0);
      if (!first) return { sender, references };
    }
    throw new Error('unreachable');
  }

  it('can each be asked for once', () => {
    const { sender, references } = owing();
    expect(references).toBeGreaterThan(10);
    expect(sender.missing(3).length).toBeGreaterThan(0);
    expect(() => sender.missing(3)).toThrow(FrameError);
    expect(() => sender.missing(references)).toThrow(FrameError);
  });

  it('hold up what follows them in frames of its own', () => {
    const { sender, references } = owing();
    for (let sent = 0; sent <= WINDOW; sent += 1000) sender.passed(1000);
    expect(sender.full).toBe(true);
    sender.resolved(references);
    expect(sender.full).toBe(false);
  });

  it('are not made where there is no room to hold what they stand for, and leave none behind', () => {
    const ends = new Ends();
    const bytes = noise('a stream', 200_000);
    ends.send(bytes, [50_000], () => false);
    ends.budget = new Budget(50_000);
    const again = ends.send(bytes, [50_000], () => false);
    expect(again.arrived.equals(bytes)).toBe(true);
    expect(again.crossed).toBeGreaterThan(bytes.length / 2);
    expect(again.crossed).toBeLessThan(bytes.length);
    expect(ends.budget.taken).toBe(0);
  });
});

describe('chunks', () => {
  const bytes = noise('a stream', 300_000);

  it('arrive as they were sent, whatever the pace', () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 4 }), (lengths, every) => {
        const ends = new Ends();
        const { arrived } = ends.send(bytes.subarray(0, 120_000), lengths, (piece) => piece % every === 0);
        expect(arrived.equals(bytes.subarray(0, 120_000))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it('are cut at the same places whether somebody waited in between or not', () => {
    const ends = new Ends();
    ends.send(bytes, [5000], () => true);
    const { arrived, crossed } = ends.send(bytes, [64_000], () => false);
    expect(arrived.equals(bytes)).toBe(true);
    // All but the last chunk, which had no end the first time.
    expect(crossed).toBeLessThan(bytes.length / 8);
  });

  it.each([
    [
      'a chunk that does not end',
      Array.from({ length: 5 }, () => [word(0x2000_0000 + 8000), Buffer.alloc(8000)]),
    ],
    ['a part of a chunk without bytes', [[word(0x2000_0000)]]],
    [
      'a reference inside a chunk',
      [
        [word(0x2000_0000 + 3000), Buffer.alloc(3000)],
        [word(0x8000_0000 + 3000), Buffer.alloc(16)],
      ],
    ],
    ['a kept chunk that is too short', [[word(0x4000_0000 + 100), Buffer.alloc(100)]]],
    ['a reference to nothing', [[word(0x8000_0000), Buffer.alloc(16)]]],
    ['a chunk without bytes', [[word(0)]]],
    [
      'more chunks than there is room for',
      [Array.from({ length: 40 }, () => [word(1), Buffer.of(0)]).flat()],
    ],
  ])('refuse %s', (_what, lists) => {
    const far = store();
    const receiver = new ChunkReceiver(far, far.known(store().id));
    expect(() => {
      for (const list of lists) receiver.read(Buffer.concat(list));
    }).toThrow(FrameError);
  });
});
