import { describe, expect, it } from 'vitest';
import { LevelCeiling, LevelControl } from './level.js';

const LEVELS = [1, 3, 6, 9];
/** Bytes a millisecond that a level takes in, and what it leaves of them. */
const SPEED: Readonly<Record<number, number>> = { 1: 300_000, 3: 200_000, 6: 60_000, 9: 25_000 };
const LEFT: Readonly<Record<number, number>> = { 1: 0.33, 3: 0.3, 6: 0.27, 9: 0.25 };
const BLOCK = 64 * 1024;
/** What a leg may have queued before its writer waits. */
const MOST_QUEUED = 128 * 1024;

interface Model {
  /** Bytes a millisecond that the source gives and the link carries. */
  readonly source: number;
  readonly link: number;
}

/** A direction with a clock of its own: a source, a compressor, and a link with a queue before it. */
class Direction {
  now = 0;
  readonly ceiling = new LevelCeiling();
  readonly control = new LevelControl(LEVELS, this.ceiling, () => this.now);
  /** Every level that there was, one after another. */
  readonly levels = [this.control.level];
  #queued = 0;

  run(milliseconds: number, { source, link }: Model): this {
    for (const end = this.now + milliseconds; this.now < end;) {
      this.#pass(BLOCK / source, link);
      if (this.control.look(BLOCK, this.#queued > 0)) this.levels.push(this.control.level);
      const work = BLOCK / (SPEED[this.control.level] ?? 1);
      this.control.spent(work);
      this.#pass(work, link);
      this.#queued += BLOCK * (LEFT[this.control.level] ?? 1);
      this.#pass(Math.max(0, this.#queued - MOST_QUEUED) / link, link);
    }
    return this;
  }

  #pass(milliseconds: number, link: number): void {
    this.now += milliseconds;
    this.#queued = Math.max(0, this.#queued - milliseconds * link);
  }
}

const MINUTE = 60_000;
const FAST = 1_000_000;

describe('the level of a direction', () => {
  it('rises to the highest where the link is thin, and stays there', () => {
    expect(new Direction().run(MINUTE, { source: FAST, link: 250 }).levels).toEqual([3, 6, 9]);
  });

  it('falls to the lowest where the compressor is what everything waits for', () => {
    expect(new Direction().run(MINUTE, { source: FAST, link: FAST }).levels).toEqual([3, 1]);
  });

  it('does not change for a source that is slower than both', () => {
    expect(new Direction().run(MINUTE, { source: 5_000, link: FAST }).levels).toEqual([3]);
  });

  it('settles between where the highest level would take more time than the link', () => {
    // What the link carries, in MB a second, is what 67 and 19 were: the next level takes 60, and 25.
    expect(new Direction().run(10 * MINUTE, { source: FAST, link: 20_000 }).levels).toEqual([3]);
    expect(new Direction().run(10 * MINUTE, { source: FAST, link: 5_000 }).levels).toEqual([3, 6]);
  });

  it('follows a link that changes, and does not flap with one that keeps changing', () => {
    const direction = new Direction().run(MINUTE, { source: FAST, link: 250 });
    direction.run(MINUTE, { source: FAST, link: FAST });
    expect(direction.levels).toEqual([3, 6, 9, 6, 3, 1]);
    const changing = new Direction();
    for (let round = 0; round < 500; round++) {
      changing.run(1000, { source: FAST, link: 250 }).run(1000, { source: FAST, link: FAST });
    }
    expect(changing.levels.length).toBeLessThan(60);
  });

  it('does not change for a burst', () => {
    expect(new Direction().run(150, { source: FAST, link: 250 }).levels).toEqual([3]);
  });

  it('is no higher than a busy process allows, and rises again after', () => {
    const direction = new Direction().run(MINUTE, { source: FAST, link: 250 });
    for (let look = 0; look < 4; look++) direction.ceiling.look(1);
    expect(direction.run(1000, { source: FAST, link: 250 }).control.level).toBe(3);
    for (let look = 0; look < 20; look++) direction.ceiling.look(0.1);
    expect(direction.run(MINUTE, { source: FAST, link: 250 }).control.level).toBe(9);
  });
});

describe('the highest level of a process', () => {
  const look = (ceiling: LevelCeiling, utilization: number, times: number): number => {
    for (let count = 0; count < times; count++) ceiling.look(utilization);
    return ceiling.lowered;
  };

  it('falls step by step while it is busy, and rises slowly when it is not', () => {
    const ceiling = new LevelCeiling();
    expect(look(ceiling, 0.9, 1)).toBe(0);
    expect(look(ceiling, 0.5, 1)).toBe(0);
    expect(look(ceiling, 0.9, 2)).toBe(1);
    expect(look(ceiling, 1, 100)).toBe(3);
    // Between the two figures nothing changes.
    expect(look(ceiling, 0.7, 1000)).toBe(3);
    expect(look(ceiling, 0.3, 4)).toBe(3);
    expect(look(ceiling, 0.3, 1)).toBe(2);
    expect(look(ceiling, 0.3, 10)).toBe(0);
    expect(look(ceiling, 0.3, 100)).toBe(0);
  });

  it('rises ever later where it has to fall again each time', () => {
    const ceiling = new LevelCeiling();
    look(ceiling, 1, 2);
    let changes = 0;
    // On the higher level the process is busy, on the lower one it is not.
    for (let [second, before] = [0, ceiling.lowered]; second < 3600; second++, before = ceiling.lowered) {
      ceiling.look(ceiling.lowered === 0 ? 0.95 : 0.4);
      if (ceiling.lowered !== before) changes++;
    }
    expect(changes).toBeLessThan(40);
    // A load that has gone for good is found within minutes.
    expect(look(ceiling, 0.1, 320)).toBe(0);
  });
});
