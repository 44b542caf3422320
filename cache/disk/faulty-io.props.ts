/** A file system that fails where a test wants it: real files, with faults between the calls and the kernel. */
import type { FileHandle } from 'node:fs/promises';
import { systemIo, type DiskIo } from './directory.js';

/** What happens to a call: nothing, an error with this code, or an error after half of a write. */
export type Fault = undefined | { readonly code: string; readonly half?: boolean };

function errorOf(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code });
}

/** `decide` is asked before each call, with its name. */
export function faultyIo(decide: (call: string) => Fault): DiskIo {
  const guarded = <A extends readonly unknown[], R>(call: string, real: (...given: A) => Promise<R>) => {
    return (...given: A): Promise<R> => {
      const fault = decide(call);
      return fault === undefined ? real(...given) : Promise.reject(errorOf(fault.code));
    };
  };
  const handleOf = (real: FileHandle): FileHandle => {
    const write = async (bytes: Buffer, offset: number, length: number): Promise<unknown> => {
      const fault = decide('write');
      if (fault === undefined) return real.write(bytes, offset, length);
      if (fault.half === true) await real.write(bytes, offset, Math.floor(length / 2));
      throw errorOf(fault.code);
    };
    const read = guarded('read', (...given: [Buffer, number, number, number]) => real.read(...given));
    const rest = { stat: () => real.stat(), close: () => real.close() };
    return { write, read, ...rest } as unknown as FileHandle;
  };
  return {
    mkdir: guarded('mkdir', systemIo.mkdir),
    open: guarded('open', async (...given: Parameters<DiskIo['open']>) =>
      handleOf(await systemIo.open(...given)),
    ),
    readdir: guarded('readdir', systemIo.readdir),
    readFile: guarded('readFile', systemIo.readFile),
    rename: guarded('rename', systemIo.rename),
    stat: guarded('stat', systemIo.stat),
    unlink: guarded('unlink', systemIo.unlink),
    utimes: guarded('utimes', systemIo.utimes),
  } as unknown as DiskIo;
}

/** Dies at call `step` (counted from 0): from then on no call has an effect. */
export function dyingIo(step: number, half: boolean): { readonly io: DiskIo; readonly died: () => boolean } {
  let calls = 0;
  const io = faultyIo((call) => {
    if (call === 'read' || call === 'readFile' || call === 'stat') return undefined;
    const at = calls++;
    if (at < step) return undefined;
    return { code: 'EIO', half: half && at === step };
  });
  return { io, died: () => calls > step };
}
