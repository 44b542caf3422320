/** The look at the files that an earlier process has left: what is whole comes into the index, what is not is removed. */
import { HEADER_BYTES, decodeObject, readHeader, type DiskObject, type Moment } from './format.js';
import { isMissing, readAt, type DiskDirectory, type DiskIo } from './directory.js';
import { placeNamed, readName, type Place } from './names.js';

export interface ScanPort {
  /** Files under this name are somebody's who is writing or removing them. */
  skips(name: string): boolean;
  /** The number of the body file that the index has for a place, 0 without one; `undefined` when it has no such place. */
  suffixOf(place: Place): number | undefined;
  /** A file with a good header section, its size and its last use in seconds; `false` when it is not to stay. */
  object(place: Place, object: DiskObject, bytes: number, used: number): boolean;
  damaged(): void;
  failed(error: NodeJS.ErrnoException): void;
  goesOn(): boolean;
}

/** Most object files have their metadata within this. */
const FIRST_BYTES = 4096;
/** Files looked at together. */
const AT_ONCE = 4;

/** An object file up to its content, checked, with what the file system says of it; `undefined` when it is damaged. */
export async function readMetadata(
  io: DiskIo,
  path: string,
  name: string,
  moment: Moment,
): Promise<{ readonly object: DiskObject; readonly bytes: number; readonly used: number } | undefined> {
  const handle = await io.open(path, 'r');
  try {
    let bytes = await readAt(handle, 0, FIRST_BYTES);
    const ends = readHeader(bytes);
    if (ends === undefined) return undefined;
    if (ends.metadataEnd > bytes.length)
      bytes = Buffer.concat([bytes, await readAt(handle, bytes.length, ends.metadataEnd - bytes.length)]);
    const { size, mtimeMs } = await handle.stat();
    const object = decodeObject(name, bytes.subarray(0, Math.max(ends.metadataEnd, HEADER_BYTES)), moment);
    if (object === undefined || size !== ends.contentEnd) return undefined;
    return { object, bytes: size, used: Math.floor(mtimeMs / 1000) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    await handle.close();
  }
}

export async function scanDirectory(
  io: DiskIo,
  directory: DiskDirectory,
  moment: () => Moment,
  port: ScanPort,
): Promise<void> {
  const remove = async (path: string): Promise<void> => {
    await io.unlink(path).catch((error: unknown) => {
      if (!isMissing(error)) port.failed(error as NodeJS.ErrnoException);
    });
  };
  const look = async (folder: string, name: string, bodies: ReadonlySet<string>): Promise<void> => {
    if (port.skips(name)) return;
    const path = `${folder}/${name}`;
    try {
      const found = await readMetadata(io, path, name, moment());
      if (port.skips(name)) return;
      const suffix = found?.object.bodyFile?.suffix;
      const whole = found !== undefined && (suffix === undefined || bodies.has(`${name}.${suffix}`));
      if (!whole) port.damaged();
      if (!whole || !port.object(placeNamed(name), found.object, found.bytes, found.used)) await remove(path);
    } catch (error) {
      if (!isMissing(error)) port.failed(error as NodeJS.ErrnoException);
    }
  };
  const unreadable = (error: unknown): string[] => {
    port.failed(error as NodeJS.ErrnoException);
    return [];
  };
  for (const folder of await directory.folders().catch(unreadable)) {
    const files = await io.readdir(folder).catch(unreadable);
    const bodies = new Set(files.filter((file) => readName(file)?.suffix !== undefined));
    const objects = files.filter((file) => readName(file) !== undefined && !bodies.has(file));
    for (let at = 0; at < objects.length; at += AT_ONCE) {
      if (!port.goesOn()) return;
      await Promise.all(objects.slice(at, at + AT_ONCE).map((name) => look(folder, name, bodies)));
    }
    for (const file of bodies) {
      const { name, suffix = '' } = readName(file) ?? {};
      if (name === undefined || port.skips(name)) continue;
      // Bodies whose object was not written, or has another one by now.
      if (port.suffixOf(placeNamed(name)) !== Number.parseInt(suffix, 16)) await remove(`${folder}/${file}`);
    }
  }
}
