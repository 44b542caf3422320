import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seq } from '../wire/seq.js';
import { Reassembly, SLAB } from './reassembly.js';

const WINDOW = 4 * SLAB;
const content = (length: number): Buffer =>
  Buffer.from(new Uint8Array(length).map((_, at) => (at * 31 + (at >> 8) * 7) & 0xff));

function takeAll(stream: Reassembly): Buffer {
  const pieces: Buffer[] = [];
  for (let piece = stream.take(); piece !== undefined; piece = stream.take()) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Pieces that cover the stream, with overlaps, in any order, some twice. */
const transfer = fc
  .record({ base: fc.nat({ max: 0xffffffff }), length: fc.integer({ min: 1, max: 3000 }) })
  .chain(({ base, length }) =>
    fc.record({
      base: fc.oneof(fc.constant(base), fc.integer({ min: 0xfffff000, max: 0xffffffff })),
      length: fc.constant(length),
      cuts: fc.array(fc.nat({ max: length }), { maxLength: 20 }),
      more: fc.array(fc.tuple(fc.nat({ max: length }), fc.nat({ max: 400 })), { maxLength: 10 }),
      shuffle: fc.infiniteStream(fc.nat()),
    }),
  )
  .map(({ base, length, cuts, more, shuffle }) => {
    const at = [...new Set([0, ...cuts, length])].sort((a, b) => a - b);
    const pieces = at.slice(1).map((to, index): [number, number] => [at[index] ?? 0, to]);
    for (const [from, size] of more) pieces.push([from, Math.min(length, from + size)]);
    const keyed = pieces.map((piece) => ({ piece, key: shuffle.next().value as number }));
    keyed.sort((a, b) => a.key - b.key);
    return { base, body: content(length), pieces: keyed.map(({ piece }) => piece) };
  });

describe('a stream put together from copies', () => {
  it('is what was sent, whatever the order, the overlaps and the first sequence number', () => {
    fc.assert(
      fc.property(transfer, ({ base, body, pieces }) => {
        const stream = new Reassembly(seq(base), WINDOW);
        for (const [from, to] of pieces) {
          expect(stream.add(seq(base + from), body.subarray(from, to))).toBeUndefined();
        }
        expect(stream.take()).toBeUndefined();
        expect(stream.acknowledge(seq(base + body.length))).toBeUndefined();
        expect(takeAll(stream).equals(body)).toBe(true);
      }),
    );
  });

  it('gives what is acknowledged and nothing else, at any time', () => {
    fc.assert(
      fc.property(transfer, fc.array(fc.nat({ max: 3000 })), ({ base, body, pieces }, acknowledgments) => {
        const stream = new Reassembly(seq(base), WINDOW);
        const given: Buffer[] = [];
        const here = new Uint8Array(body.length);
        let acknowledged = 0;
        for (const [index, [from, to]] of pieces.entries()) {
          stream.add(seq(base + from), body.subarray(from, to));
          here.fill(1, from, to);
          const hole = here.indexOf(0);
          const most = hole < 0 ? body.length : hole;
          const ack = Math.min(acknowledgments[index] ?? 0, most);
          acknowledged = Math.max(acknowledged, ack);
          expect(stream.acknowledge(seq(base + ack))).toBeUndefined();
          given.push(takeAll(stream));
          expect(Buffer.concat(given).equals(body.subarray(0, acknowledged))).toBe(true);
        }
      }),
    );
  });

  it('is given up when the receiver has what never came', () => {
    const stream = new Reassembly(seq(10), WINDOW);
    stream.add(10, content(100));
    stream.add(210, content(100));
    expect(stream.acknowledge(110)).toBeUndefined();
    expect(stream.acknowledge(310)).toBe('lost');
  });

  it('is given up when two copies of a byte differ, also of what was given out', () => {
    fc.assert(
      fc.property(
        transfer,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        ({ base, body, pieces }, where, by) => {
          const stream = new Reassembly(seq(base), WINDOW);
          for (const [from, to] of pieces) stream.add(seq(base + from), body.subarray(from, to));
          stream.acknowledge(seq(base + body.length));
          takeAll(stream);
          const at = where % body.length;
          const other = Buffer.of((body[at] ?? 0) ^ by);
          expect(stream.add(seq(base + at), other)).toBe('conflict');
          expect(stream.add(seq(base + at), body.subarray(at, at + 1))).toBeUndefined();
        },
      ),
    );
  });

  it('leaves alone what stands before the base, and what is too far ahead', () => {
    const stream = new Reassembly(seq(5), WINDOW);
    const body = content(20);
    expect(stream.add(0, body)).toBeUndefined();
    expect(stream.add(seq(-100), body)).toBeUndefined();
    expect(stream.add(5 + WINDOW, Buffer.of(1))).toBeUndefined();
    expect(stream.ignored).toBe(1);
    stream.acknowledge(20);
    expect(takeAll(stream).equals(body.subarray(5))).toBe(true);
  });

  it('believes no acknowledgment of what was not sent, but one of a FIN', () => {
    const stream = new Reassembly(seq(0), WINDOW);
    stream.add(0, content(10));
    expect(stream.acknowledge(12)).toBeUndefined();
    expect(stream.ready).toBe(0);
    expect(stream.acknowledge(11)).toBeUndefined();
    expect(stream.ready).toBe(10);
    expect(stream.acknowledge(3)).toBeUndefined();
    expect(stream.ready).toBe(10);
  });

  it('has a bound on gaps', () => {
    const stream = new Reassembly(seq(0), WINDOW);
    const troubles = Array.from({ length: 300 }, (_, index) => stream.add(2 * index + 1, Buffer.of(1)));
    expect(troubles.indexOf('gaps')).toBe(255); // the empty one at the base counts
  });

  it('counts the memory that it holds, and runs over many slabs and the end of the numbers', () => {
    const body = content(6 * SLAB + 1000);
    const base = 0xffffffff - SLAB;
    const stream = new Reassembly(seq(base), WINDOW);
    const given: Buffer[] = [];
    for (let at = 0; at < body.length; at += 60_000) {
      const to = Math.min(at + 60_000, body.length);
      expect(stream.add(seq(base + at), body.subarray(at, to))).toBeUndefined();
      expect(stream.held).toBeLessThanOrEqual(2 * SLAB);
      stream.acknowledge(seq(base + to));
      given.push(takeAll(stream));
    }
    expect(Buffer.concat(given).equals(body)).toBe(true);
    expect(stream.given).toBe(body.length);
  });
});
