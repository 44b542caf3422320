/** What a pinned map says of itself, without its program. */
import { existsSync, readFileSync } from 'node:fs';
import { close } from '../host/libc.js';
import { checkBpf, lib } from './libbpf.js';

export interface MapInfo {
  /** Bytes of kernel memory. */
  readonly memoryBytes: number;
  readonly maxEntries: number;
  readonly keySize: number;
}

/** The fields of a map's /proc/PID/fdinfo. */
export function parseMapInfo(text: string): MapInfo {
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return { memoryBytes: field('memlock'), maxEntries: field('max_entries'), keySize: field('key_size') };
}

export function mapInfo(fd: number): MapInfo {
  return parseMapInfo(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));
}

/** The map pinned there, and whether it holds anything; `undefined` when there is none. */
export function pinnedMap(path: string): (MapInfo & { readonly empty: boolean }) | undefined {
  if (!existsSync(path)) return undefined;
  const fd = checkBpf(`open ${path}`, lib.objGet(path));
  try {
    const info = mapInfo(fd);
    return { ...info, empty: lib.mapNextKey(fd, null, new Uint8Array(info.keySize)) < 0 };
  } finally {
    close(fd);
  }
}
