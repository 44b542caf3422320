/** What the disk store says of itself. */
import type { StoreStats } from '../store-contract.js';

export interface DiskStats extends StoreStats {
  /** `ok`; `suspended` for a while after an error; `starting` while the files are being looked at. */
  readonly state: 'ok' | 'suspended' | 'starting';
  /** Responses found and given. */
  readonly hits: number;
  /** Damaged files that were found and removed. */
  readonly corrupt: number;
  /** Errors of the disk. */
  readonly errors: number;
  /** Responses that were not written: too large, too many at once, or while the disk was left alone. */
  readonly skipped: number;
  /** Memory of the index. */
  readonly indexBytes: number;
}
