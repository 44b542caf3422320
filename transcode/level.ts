/**
 * How hard a compressor tries: as hard as the leg leaves it time for, and no harder than the process can afford.
 *
 * ```
 *   the leg has more to send than it can, the compressor little to do ──▶ one level up
 *   the leg waits, and the compressor has much to do ───────────────────▶ one level down
 *   the process is busy ────────────────────────────▶ the highest level is one less, for all directions
 * ```
 *
 * A change of level costs the history of a direction, so it takes a stretch of bytes and of time in which nothing else was
 * true; a level that had to be given up needs twice as much the next time.
 */

/** A stretch of bytes on which a level is judged, and its milliseconds. */
const LEAST_BYTES = 512 * 1024;
const LEAST_MS = 200;
/** So many stretches, at most, before a level is tried again that was given up. */
const MOST_PATIENCE = 64;
/** Share of the time that the compressor may have on the next level, which takes up to so much longer. */
const MOST_SHARE = 0.5;
const GROWTH = 3;
/** Where it has less than this, a lower level would make nothing faster. */
const LEAST_SHARE = 0.25;

/** Shares of a second in which the event loop had work, and how many such seconds in a row count. */
const BUSY = 0.85;
const BUSY_LOOKS = 2;
const FREE = 0.6;
const FREE_LOOKS = 5;
const MOST_FREE_LOOKS = 320;
/** A rise that holds for so many looks was none too early. */
const HOLDS = 30;
/** As many as any codec has levels below its highest. */
const MOST_LOWERED = 3;

/** How far below their highest levels all compressors of a process stay. */
export class LevelCeiling {
  #lowered = 0;
  #busy = 0;
  #free = 0;
  #patience = FREE_LOOKS;
  #sinceRise = Infinity;

  /** Levels that nobody may use, counted from the highest. */
  get lowered(): number {
    return this.#lowered;
  }

  /** Takes in how busy the process was since the last time, 0 to 1, about once a second. */
  look(utilization: number): void {
    this.#sinceRise++;
    this.#busy = utilization > BUSY ? this.#busy + 1 : 0;
    this.#free = utilization < FREE ? this.#free + 1 : 0;
    if (this.#busy >= BUSY_LOOKS && this.#lowered < MOST_LOWERED) this.#lower();
    else if (this.#free >= this.#patience && this.#lowered > 0) this.#rise();
  }

  #lower(): void {
    const early = this.#sinceRise < HOLDS;
    this.#patience = early ? Math.min(2 * this.#patience, MOST_FREE_LOOKS) : FREE_LOOKS;
    this.#lowered++;
    this.#busy = 0;
  }

  #rise(): void {
    this.#lowered--;
    this.#free = 0;
    this.#sinceRise = 0;
  }
}

/** The level of one direction. */
export class LevelControl {
  readonly #levels: readonly number[];
  readonly #ceiling: LevelCeiling;
  readonly #now: () => number;
  #index: number;
  /** The stretch: which way it goes, when it began, its bytes, and what the compressor had of it. */
  #backedUp = false;
  #since = 0;
  #bytes = 0;
  #spent = 0;
  /** Stretches that a rise takes, and how many have passed. */
  #patience = 1;
  #waited = 0;
  #rose = false;

  /** `levels`: from the fastest to the one that compresses best. `now`: milliseconds. */
  constructor(levels: readonly number[], ceiling: LevelCeiling, now: () => number = () => performance.now()) {
    this.#levels = levels;
    this.#ceiling = ceiling;
    this.#now = now;
    this.#index = Math.min(1, this.#most);
  }

  get level(): number {
    return this.#levels[this.#index] ?? 1;
  }

  /** The compressor has worked for so long. */
  spent(milliseconds: number): void {
    this.#spent += milliseconds;
  }

  /** Blocks that the compressor does not get are none of the stretch. */
  pauses(): void {
    this.#bytes = 0; // it begins anew with the next block
  }

  /**
   * Takes in a block that is to be sent next; `backedUp`: the leg has more to send than it can just now. Returns whether
   * {@link level} has changed.
   */
  look(length: number, backedUp: boolean): boolean {
    const before = this.#index;
    if (backedUp !== this.#backedUp || this.#bytes === 0) this.#begin(backedUp);
    this.#bytes += length;
    if (this.#bytes >= LEAST_BYTES) this.#judge();
    this.#index = Math.min(this.#index, this.#most);
    return this.#index !== before;
  }

  get #most(): number {
    return Math.max(0, this.#levels.length - 1 - this.#ceiling.lowered);
  }

  #begin(backedUp: boolean): void {
    if (backedUp !== this.#backedUp) this.#waited = 0;
    this.#backedUp = backedUp;
    this.#since = this.#now();
    this.#bytes = 0;
    this.#spent = 0;
  }

  #judge(): void {
    const elapsed = this.#now() - this.#since;
    if (elapsed < LEAST_MS) return;
    const share = this.#spent / elapsed;
    if (this.#backedUp) this.#mayRise(share);
    else if (share >= LEAST_SHARE && this.#index > 0) this.#fall();
    this.pauses();
  }

  #mayRise(share: number): void {
    if (share * GROWTH > MOST_SHARE || this.#index >= this.#most) return;
    this.#waited++;
    if (this.#waited < this.#patience) return;
    this.#waited = 0;
    this.#index++;
    this.#rose = true;
  }

  #fall(): void {
    this.#index--;
    if (this.#rose) this.#patience = Math.min(2 * this.#patience, MOST_PATIENCE);
    this.#rose = false;
  }
}
