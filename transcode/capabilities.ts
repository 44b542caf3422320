/** The transforms two nodes can agree on, by the names of configuration files and the bits of the handshake. */
import { CODECS, type Codec } from './codec.js';

/** Bit of deduplication; those of the codecs are in codec.ts. */
export const DEDUP_BIT = 0x0008;

export const TRANSFORMS: ReadonlyMap<string, number> = new Map([
  ...CODECS.map(({ name, bit }) => [name, bit] as const),
  ['dedup', DEDUP_BIT],
]);

/** All bits that mean a transform. */
export const TRANSFORM_BITS = [...TRANSFORMS.values()].reduce((all, bit) => all | bit, 0);

/** What is done to a leg. */
export interface Agreement {
  readonly codec: Codec | undefined;
  readonly dedup: boolean;
}

/** By the accepted bits; bits that this version does not know are ignored. `undefined`: the leg stays as it is. */
export function agreementOf(capabilities: number): Agreement | undefined {
  const codec = CODECS.find(({ bit }) => (capabilities & bit) !== 0);
  const dedup = (capabilities & DEDUP_BIT) !== 0;
  return codec === undefined && !dedup ? undefined : { codec, dedup };
}

/** The bits of what is really done: of several compressors, one. */
export function bitsUsed({ codec, dedup }: Agreement): number {
  return (codec?.bit ?? 0) | (dedup ? DEDUP_BIT : 0);
}

export function bitsOf(names: readonly string[]): number {
  return names.reduce((bits, name) => bits | (TRANSFORMS.get(name) ?? 0), 0);
}

export function namesOf(capabilities: number): string[] {
  return [...TRANSFORMS].filter(([, bit]) => (capabilities & bit) !== 0).map(([name]) => name);
}
