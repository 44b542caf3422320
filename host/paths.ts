import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json, whether this file runs from the sources (tests) or from dist/. */
export const packageRoot: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

/** A file under dist/, as the build left it. */
export function builtFile(...parts: string[]): string {
  return join(packageRoot, 'dist', ...parts);
}

/** Admin sockets, process ids and lab states live here; gone after a reboot, as what they describe is. */
export const runtimeDirectory = '/run/tpot-node';
