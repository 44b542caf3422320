/**
 * TCP sequence numbers: 32 bits that wrap (RFC 9293 section 3.4), compared by serial arithmetic (RFC 1982).
 *
 * Of two numbers exactly half the space apart neither is before the other by RFC 1982; here `diff` then says
 * −2^31, so `lt` holds both ways. No window comes near that distance.
 */
declare const brand: unique symbol;

export type Seq = number & { readonly [brand]: 'Seq' };

/** Any integer as a sequence number, modulo 2^32. */
export function seq(value: number): Seq {
  return (value >>> 0) as Seq;
}

/** `delta` may be negative; anything up to 2^53 in size. */
export function add(a: Seq, delta: number): Seq {
  return seq(a + delta);
}

/** The signed distance from `b` to `a`, in [−2^31, 2^31): positive when `a` comes after `b`. */
export function diff(a: Seq, b: Seq): number {
  return (a - b) | 0;
}

export function lt(a: Seq, b: Seq): boolean {
  return diff(a, b) < 0;
}

export function leq(a: Seq, b: Seq): boolean {
  return diff(a, b) <= 0;
}

export function max(a: Seq, b: Seq): Seq {
  return lt(a, b) ? b : a;
}

export function min(a: Seq, b: Seq): Seq {
  return lt(a, b) ? a : b;
}

/** Whether `a` lies in the `size` numbers that start at `start`. */
export function inWindow(a: Seq, start: Seq, size: number): boolean {
  return seq(a - start) < size;
}
