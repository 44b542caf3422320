/** The keys of the configuration under `transforms`. */
import { bitsOf } from '../transcode/capabilities.js';
import type { RawTransforms } from './config-schema.js';
import type { TransformSettings } from './transforms.js';
import { parseSize } from './units.js';

const DEFAULT_STORE = '64MiB';
const DEFAULT_CONNECTIONS = 512;

/** Without `streams` nothing is offered and nothing accepted. */
export function toTransformSettings(raw: RawTransforms = {}): TransformSettings {
  return {
    bits: bitsOf(raw.streams ?? []),
    storeBytes: parseSize(String(raw.store ?? DEFAULT_STORE)) ?? 0,
    connections: raw.connections ?? DEFAULT_CONNECTIONS,
  };
}
