/** Opening, pinning and loading one compiled BPF object. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { TpotError, UnsupportedFeatureError } from '../core/errors.js';
import { TypedMap, type MapSpec } from './map.js';
import { BpfError, checkBpf, lib, withLibbpfLog, type Handle } from './libbpf.js';

const EPERM = 1;

export interface LoadOptions {
  /** Maps are pinned here by name, and maps already pinned here are adopted. None: they live with the process. */
  readonly pinDirectory?: string | undefined;
  /** Maps that are never pinned, because what they hold dies with its owner. */
  readonly unpinned?: readonly string[];
  /** Which of its programs to load, which takes most of the time; default: all. */
  readonly programs?: (name: string) => boolean;
  /** Has the maps already: they are shared with it. */
  readonly sharing?: BpfObject;
  /** Sizes other than the compiled ones, by map name. */
  readonly maxEntries?: Readonly<Record<string, number>>;
}

export class BpfObject {
  readonly #handle: Handle;
  readonly #sizes: Readonly<Record<string, number>>;

  private constructor(handle: Handle, sizes: Readonly<Record<string, number>>) {
    this.#handle = handle;
    this.#sizes = sizes;
  }

  /**
   * Loads the object into the kernel.
   * Errors: `build-missing` (not compiled), `no-permission`, `kernel-feature-missing`, or `bpf-failed` with the
   * verifier's last lines.
   */
  static load(path: string, options: LoadOptions = {}): BpfObject {
    if (!existsSync(path)) {
      throw new TpotError('build-missing', `${path} is not there`, { hint: 'Run `npm run build` first.' });
    }
    return withLibbpfLog((said) => {
      const handle = lib.objectOpen(path, null);
      if (handle === null) throw new TpotError('bpf-failed', `cannot open ${path}\n${said()}`);
      try {
        choosePrograms(handle, options);
        if (options.sharing === undefined) prepareMaps(handle, options);
        else options.sharing.#shareMaps(handle);
        const result = lib.objectLoad(handle);
        if (result < 0) throw loadError(-result, said());
        return new BpfObject(handle, options.maxEntries ?? {});
      } catch (error) {
        lib.objectClose(handle);
        throw error;
      }
    });
  }

  map<K, V>(spec: MapSpec<K, V>): TypedMap<K, V> {
    const map = lib.objectFindMap(this.#handle, spec.name);
    if (map === null) throw new TpotError('bpf-failed', `the object has no map ${spec.name}`);
    return new TypedMap(lib.mapFd(map), { ...spec, maxEntries: this.#sizes[spec.name] ?? spec.maxEntries });
  }

  programFd(name: string): number {
    const program = lib.objectFindProgram(this.#handle, name);
    if (program === null) throw new TpotError('bpf-failed', `the object has no program ${name}`);
    return checkBpf(`program ${name}`, lib.programFd(program));
  }

  #shareMaps(other: Handle): void {
    for (let map = lib.objectNextMap(other, null); map !== null; map = lib.objectNextMap(other, map)) {
      const name = lib.mapName(map);
      const own = lib.objectFindMap(this.#handle, name);
      if (own === null) throw new TpotError('bpf-failed', `the object has no map ${name}`);
      checkBpf(`share ${name}`, lib.mapReuse(map, lib.mapFd(own)));
    }
  }

  /** Closes the descriptors; what is pinned or attached lives on. */
  close(): void {
    lib.objectClose(this.#handle);
  }
}

function choosePrograms(handle: Handle, { programs }: LoadOptions): void {
  if (programs === undefined) return;
  let program = lib.objectNextProgram(handle, null);
  for (; program !== null; program = lib.objectNextProgram(handle, program)) {
    const name = lib.programName(program);
    checkBpf(`choose ${name}`, lib.programSetAutoload(program, programs(name)));
  }
}

function prepareMaps(handle: Handle, options: LoadOptions): void {
  if (options.pinDirectory !== undefined) mkdirSync(options.pinDirectory, { recursive: true });
  for (let map = lib.objectNextMap(handle, null); map !== null; map = lib.objectNextMap(handle, map)) {
    const name = lib.mapName(map);
    const entries = options.maxEntries?.[name];
    if (entries !== undefined) checkBpf(`size ${name}`, lib.mapSetMaxEntries(map, entries));
    if (options.pinDirectory !== undefined && options.unpinned?.includes(name) !== true) {
      checkBpf(`pin ${name}`, lib.mapSetPinPath(map, join(options.pinDirectory, name)));
    }
  }
}

function loadError(errno: number, said: string): TpotError {
  if (errno === EPERM) {
    return new TpotError('no-permission', 'the kernel does not let this process load BPF programs', {
      hint: 'Run as root (CAP_BPF, CAP_NET_ADMIN); in a container, allow the bpf system call.',
    });
  }
  const missing = /unknown func (\w+)|invalid func (\w+)/.exec(said);
  if (missing !== null) {
    return new UnsupportedFeatureError(
      `the BPF helper ${missing[1] ?? missing[2] ?? '?'}`,
      '5.15',
      new BpfError('load', errno),
    );
  }
  return new BpfError('load BPF programs', errno, said);
}
