/** Reads the metadata of stored responses that a selection may mean, and gives those that it does. */
import { means } from '../selection.js';
import type { Selected, Selection } from '../store-contract.js';
import type { DiskDirectory, DiskIo } from './directory.js';
import { withoutContent, type Moment } from './format.js';
import type { Place } from './names.js';
import { readMetadata } from './scan.js';

/** Files read together. */
const AT_ONCE = 4;

export async function* selectObjects(
  io: DiskIo,
  directory: DiskDirectory,
  rows: readonly { readonly place: Place; readonly bytes: number }[],
  selection: Selection,
  moment: () => Moment,
): AsyncGenerator<Selected> {
  for (let at = 0; at < rows.length; at += AT_ONCE) {
    const read = rows.slice(at, at + AT_ONCE).map(async ({ place: { name }, bytes }) => {
      // Gone or damaged: whoever reads it for a client deals with it.
      const found = await readMetadata(io, directory.file(name), name, moment()).catch(() => undefined);
      return found && { object: found.object, bytes };
    });
    for (const found of await Promise.all(read)) {
      if (found === undefined || !means(selection, found.object.key, found.object.head)) continue;
      yield { key: found.object.key, entry: withoutContent(found.object), bytes: found.bytes };
    }
  }
}
