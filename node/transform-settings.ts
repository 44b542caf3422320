/** The keys of the configuration under `transforms`. */
import { bitsOf } from '../transcode/capabilities.js';
import type { RawTransforms } from './config-schema.js';
import { parseSize } from './units.js';

export interface TransformSettings {
  /** Bits of transcode/capabilities.ts: what this node offers on its legs and accepts on those of others. */
  readonly bits: number;
  /** Bytes of the chunk store. */
  readonly storeBytes: number;
  /** Transformed connections at once; above it new ones are plain. */
  readonly connections: number;
  /** SYNs that ask for transforms of which none would be accepted pass where the rule only relays or splices. */
  readonly passOn: boolean;
  /** Whether legs without transforms are sampled for what these would save. */
  readonly estimate: boolean;
}

const DEFAULT_STORE = '64MiB';
const DEFAULT_CONNECTIONS = 512;

/** Without `streams` nothing is offered and nothing accepted. */
export function toTransformSettings(raw: RawTransforms = {}): TransformSettings {
  return {
    bits: bitsOf(raw.streams ?? []),
    storeBytes: parseSize(String(raw.store ?? DEFAULT_STORE)) ?? 0,
    connections: raw.connections ?? DEFAULT_CONNECTIONS,
    passOn: raw.passOn ?? true,
    estimate: raw.estimate ?? false,
  };
}
