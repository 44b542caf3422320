/**
 * The verbs every header of this folder speaks.
 *
 * A header has two types. The *view* reads fields straight from bytes: its accessors are total (a field beyond the
 * end reads as zero) and mean something once `check` has found no fault. The *repr* is the validated value, detached
 * from the bytes it came from except for variable parts, which are sub-arrays of them.
 *
 * Nothing here throws, whatever the bytes. A number too wide for its field loses its upper bits on `emit`.
 */

/** Why bytes are not a header. Stable: tests and counters compare these words. */
export type Fault =
  | 'truncated'
  | 'bad-version'
  | 'bad-header-length'
  | 'bad-total-length'
  | 'bad-data-offset'
  | 'bad-option-length'
  | 'not-encapsulated'
  | 'fragment';

export type Parsed<Repr> =
  | {
      readonly ok: true;
      readonly value: Repr;
      /** What follows the header, cut at the length it states. */ readonly payload: Uint8Array;
    }
  | { readonly ok: false; readonly fault: Fault };

export interface HeaderCodec<View, Repr> {
  view(bytes: Uint8Array): View;
  /** `undefined` when every accessor of the view is meaningful and lies inside the bytes. */
  check(view: View): Fault | undefined;
  parse(bytes: Uint8Array): Parsed<Repr>;
  /** Bytes that `emit` produces. */
  byteLength(repr: Repr): number;
  emit(repr: Repr): Uint8Array;
  /** One line for people, in the manner of tcpdump. */
  format(repr: Repr): string;
}
