/**
 * Debian's libbpf.so.1 through koffi. libbpf does what is hard (ELF, BTF, relocation); koffi needs no compiler where
 * the package is installed. Only what the loader uses is bound here.
 */
import koffi from 'koffi';
import { TpotError } from '../core/errors.js';
import { errnoName } from '../host/libc.js';

function loadLibrary(): ReturnType<typeof koffi.load> {
  try {
    return koffi.load('libbpf.so.1');
  } catch (cause) {
    throw new TpotError('libbpf-missing', 'cannot load libbpf.so.1', {
      hint: 'apt-get install libbpf1',
      cause,
    });
  }
}

const library = loadLibrary();

/** Opaque `struct bpf_object *` and the like. */
export type Handle = { readonly __libbpf: never } | null;

type Call<A extends unknown[], R> = (...args: A) => R;
const bindCall = <A extends unknown[], R>(signature: string): Call<A, R> => library.func(signature);

export const lib = {
  setPrint: bindCall<[unknown], unknown>('void *libbpf_set_print(void *callback)'),
  objectOpen: bindCall<[string, null], Handle>(
    'void *bpf_object__open_file(const char *path, const void *opts)',
  ),
  objectLoad: bindCall<[Handle], number>('int bpf_object__load(void *object)'),
  objectClose: bindCall<[Handle], undefined>('void bpf_object__close(void *object)'),
  objectNextMap: bindCall<[Handle, Handle], Handle>(
    'void *bpf_object__next_map(const void *object, const void *map)',
  ),
  objectFindMap: bindCall<[Handle, string], Handle>(
    'void *bpf_object__find_map_by_name(const void *object, const char *name)',
  ),
  objectFindProgram: bindCall<[Handle, string], Handle>(
    'void *bpf_object__find_program_by_name(const void *object, const char *name)',
  ),
  objectNextProgram: bindCall<[Handle, Handle], Handle>(
    'void *bpf_object__next_program(const void *object, const void *program)',
  ),
  programName: bindCall<[Handle], string>('const char *bpf_program__name(const void *program)'),
  programSetAutoload: bindCall<[Handle, boolean], number>(
    'int bpf_program__set_autoload(void *program, bool autoload)',
  ),
  mapReuse: bindCall<[Handle, number], number>('int bpf_map__reuse_fd(void *map, int fd)'),
  mapSetPinPath: bindCall<[Handle, string], number>('int bpf_map__set_pin_path(void *map, const char *path)'),
  mapSetMaxEntries: bindCall<[Handle, number], number>(
    'int bpf_map__set_max_entries(void *map, uint32_t entries)',
  ),
  mapName: bindCall<[Handle], string>('const char *bpf_map__name(const void *map)'),
  mapFd: bindCall<[Handle], number>('int bpf_map__fd(const void *map)'),
  programFd: bindCall<[Handle], number>('int bpf_program__fd(const void *program)'),
  mapUpdate: bindCall<[number, Uint8Array, Uint8Array, number], number>(
    'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
  ),
  mapLookup: bindCall<[number, Uint8Array, Uint8Array], number>(
    'int bpf_map_lookup_elem(int fd, const void *key, _Out_ void *value)',
  ),
  mapTake: bindCall<[number, null, Uint8Array], number>(
    'int bpf_map_lookup_and_delete_elem(int fd, const void *key, _Out_ void *value)',
  ),
  mapDelete: bindCall<[number, Uint8Array], number>('int bpf_map_delete_elem(int fd, const void *key)'),
  mapNextKey: bindCall<[number, Uint8Array | null, Uint8Array], number>(
    'int bpf_map_get_next_key(int fd, const void *key, _Out_ void *next)',
  ),
  mapLookupBatch: bindCall<
    [number, Uint8Array | null, Uint8Array, Uint8Array, Uint8Array, number[], null],
    number
  >(
    'int bpf_map_lookup_batch(int fd, const void *from, _Out_ void *to, _Out_ void *keys, _Out_ void *values, _Inout_ uint32_t *count, const void *opts)',
  ),
  testRun: bindCall<[number, Uint8Array], number>('int bpf_prog_test_run_opts(int fd, _Inout_ void *opts)'),
  linkCreate: bindCall<[number, number, number, null], number>(
    'int bpf_link_create(int program, int target, int type, const void *opts)',
  ),
  tcHookCreate: bindCall<[Uint8Array], number>('int bpf_tc_hook_create(_Inout_ void *hook)'),
  tcHookDestroy: bindCall<[Uint8Array], number>('int bpf_tc_hook_destroy(_Inout_ void *hook)'),
  tcAttach: bindCall<[Uint8Array, Uint8Array], number>(
    'int bpf_tc_attach(const void *hook, _Inout_ void *opts)',
  ),
  tcQuery: bindCall<[Uint8Array, Uint8Array], number>(
    'int bpf_tc_query(const void *hook, _Inout_ void *opts)',
  ),
  tcDetach: bindCall<[Uint8Array, Uint8Array], number>(
    'int bpf_tc_detach(const void *hook, const void *opts)',
  ),
  programById: bindCall<[number], number>('int bpf_prog_get_fd_by_id(uint32_t id)'),
  objPin: bindCall<[number, string], number>('int bpf_obj_pin(int fd, const char *path)'),
  objGet: bindCall<[string], number>('int bpf_obj_get(const char *path)'),
  objInfo: bindCall<[number, Uint8Array, number[]], number>(
    'int bpf_obj_get_info_by_fd(int fd, _Inout_ void *info, _Inout_ uint32_t *length)',
  ),
  probeHelper: bindCall<[number, number, null], number>(
    'int libbpf_probe_bpf_helper(int program_type, int helper, const void *opts)',
  ),
  probeMapType: bindCall<[number, null], number>('int libbpf_probe_bpf_map_type(int type, const void *opts)'),
  possibleCpus: bindCall<[], number>('int libbpf_num_possible_cpus()'),
} as const;

/** A failed libbpf call; `errno` is positive. */
export class BpfError extends TpotError {
  readonly errno: number;

  constructor(what: string, errno: number, detail?: string) {
    const said = detail === undefined || detail === '' ? '' : `\n${detail}`;
    super('bpf-failed', `${what}: ${errnoName(errno)}${said}`);
    this.errno = errno;
  }
}

/** libbpf 1.x returns -errno. */
export function checkBpf(what: string, result: number, detail?: () => string): number {
  if (result < 0) throw new BpfError(what, -result, detail?.());
  return result;
}

const printPrototype = koffi.proto('int LibbpfPrint(int level, const char *format, void *arguments)');
const vsnprintf = koffi
  .load('libc.so.6')
  .func('int vsnprintf(_Out_ void *buffer, size_t size, const char *format, void *arguments)');

/** Keeps what libbpf and the verifier say while `run` works, so that an error can quote it. */
export function withLibbpfLog<T>(run: (said: () => string) => T): T {
  const lines: string[] = [];
  const buffer = Buffer.alloc(64 * 1024);
  const callback = koffi.register((level: number, format: string, args: unknown): number => {
    if (level > 1) return 0; // debug
    const length = Number(vsnprintf(buffer, buffer.length, format, args));
    lines.push(buffer.toString('utf8', 0, Math.min(length, buffer.length - 1)));
    return length;
  }, koffi.pointer(printPrototype));
  lib.setPrint(callback);
  try {
    return run(() => lines.join('').trim().split('\n').slice(-40).join('\n'));
  } finally {
    lib.setPrint(null);
    koffi.unregister(callback);
  }
}
