/** Names and hashes of the disk store: where a stored response is, and what the index knows of it without its key. */
import { createHash } from 'node:crypto';
import { originOf } from '../key.js';
import { keyParts } from '../selection.js';

/** 64 bits as two unsigned numbers. */
export type Hash = readonly [number, number];

/** A place in the store: a resource and a variant. */
export interface Place {
  readonly keyHash: Hash;
  readonly variantHash: Hash;
  /** 32 hexadecimal digits: the name of the object file. */
  readonly name: string;
}

const OBJECT_NAME = /^[0-9a-f]{32}$/;
const BODY_NAME = /^([0-9a-f]{32})\.([0-9a-f]{8})$/;

export function hashOf(text: string): Hash {
  const digest = createHash('sha256').update(text).digest();
  return [digest.readUInt32BE(0), digest.readUInt32BE(4)];
}

/** A hash where 32 bits will do. */
export function shortHash(text: string): number {
  return hashOf(text)[0];
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');

export function placeFrom(keyHash: Hash, variantHash: Hash): Place {
  return { keyHash, variantHash, name: [...keyHash, ...variantHash].map(hex).join('') };
}

export function placeOf(key: string, variant: string): Place {
  return placeFrom(hashOf(key), hashOf(variant));
}

/** What the names of all variants of a resource begin with. */
export function keyPrefix(keyHash: Hash): string {
  return keyHash.map(hex).join('');
}

export function bodySuffix(suffix: number): string {
  return hex(suffix);
}

/** What a file in a folder of objects is; `undefined` for one that is not the store's. */
export function readName(file: string): { readonly name: string; readonly suffix?: string } | undefined {
  if (OBJECT_NAME.test(file)) return { name: file };
  const [, name, suffix] = BODY_NAME.exec(file) ?? [];
  return name === undefined || suffix === undefined ? undefined : { name, suffix };
}

export function placeNamed(name: string): Place {
  const [a = 0, b = 0, c = 0, d = 0] = (name.match(/.{8}/g) ?? []).map((part) => Number.parseInt(part, 16));
  return { keyHash: [a, b], variantHash: [c, d], name };
}

export function originHash(key: string): number {
  return shortHash(originOf(key));
}

export function authorityHash(key: string): number {
  return shortHash(keyParts(key).authority);
}

/** A Bloom filter of 32 bits, two for each tag. */
export function tagMask(tags: readonly string[]): number {
  let mask = 0;
  for (const tag of tags) {
    const hash = shortHash(tag);
    mask |= (1 << (hash & 31)) | (1 << ((hash >>> 5) & 31));
  }
  return mask >>> 0;
}
