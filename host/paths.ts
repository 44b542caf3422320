import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function isFile(path: string): boolean {
  // Not existsSync: access(2) asks for the real user, and says no where capabilities say yes.
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** The folder that holds package.json, whether this file runs from the sources (tests) or from dist/. */
export const packageRoot: string = (() => {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    if (isFile(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) throw new Error(`no package.json above ${start}`);
  }
})();

/** A file under dist/, as the build left it. */
export function builtFile(...parts: string[]): string {
  return join(packageRoot, 'dist', ...parts);
}

/** Admin sockets, process ids and lab states live here; gone after a reboot, as what they describe is. */
export const runtimeDirectory = '/run/tpot-node';
