/** When a node is too busy to transform more: compression takes turns with everything else that this process does. */

/** Share of the time in which the event loop had work. */
const BUSY = 0.95;
const FREE = 0.7;
/** Looks in a row, one a second, that must be busy. A burst is no reason, and what it leaves behind is none either. */
const PATIENCE = 5;

export class TransformLoad {
  #saturated = false;
  #busyLooks = 0;

  /** Whether nothing more should be transformed. What is transformed already goes on. */
  get saturated(): boolean {
    return this.#saturated;
  }

  /** Takes in how busy the last second was, 0 to 1; whether {@link saturated} has changed. */
  look(utilization: number): boolean {
    const before = this.#saturated;
    this.#busyLooks = utilization > BUSY ? this.#busyLooks + 1 : 0;
    if (this.#busyLooks >= PATIENCE) this.#saturated = true;
    else if (utilization < FREE) this.#saturated = false;
    return this.#saturated !== before;
  }
}
