/** The file of keys that a configuration names. */
import { dirname, resolve } from 'node:path';
import { readTrusted } from '../host/trusted-file.js';
import type { Key } from '../tpot/key.js';
import { parseKeyFile } from '../tpot/key-file.js';
import type { ConfigProblem } from './config-file.js';

/** The keys of the file, looked for beside the configuration, `base`; none when no file is named. */
export function readKeys(
  file: string | undefined,
  base: string,
): { readonly keys: readonly Key[]; readonly problems: readonly ConfigProblem[] } {
  if (file === undefined) return { keys: [], problems: [] };
  const path = resolve(dirname(base), file);
  const read = readTrusted(path, { secret: true });
  if ('problem' in read) return { keys: [], problems: [{ where: path, ...read.problem }] };
  const parsed = parseKeyFile(read.text);
  if ('keys' in parsed) return { keys: parsed.keys, problems: [] };
  const { line, message, hint } = parsed.fault;
  return { keys: [], problems: [{ where: line === undefined ? path : `${path}:${line}:1`, message, hint }] };
}
