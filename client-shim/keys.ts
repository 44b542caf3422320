/** The file of keys of clients: `run`, `trace` and `doctor` sign their requests with the first. */
import { TpotError } from '../core/errors.js';
import { readTrusted } from '../host/trusted-file.js';
import type { Key } from '../tpot/key.js';
import { parseKeyFile } from '../tpot/key-file.js';

/**
 * The keys of a file; none when there is no file.
 *
 * @throws TpotError `config-invalid` when it cannot be read, others may read it, or a line is no key.
 */
export function readKeys(file: string | undefined): readonly Key[] {
  if (file === undefined) return [];
  const read = readTrusted(file, { secret: true });
  if ('problem' in read) {
    const { message, hint } = read.problem;
    throw new TpotError('config-invalid', `${file}: ${message}`, { hint });
  }
  const parsed = parseKeyFile(read.text);
  if ('keys' in parsed) return parsed.keys;
  const { line, message, hint } = parsed.fault;
  const where = line === undefined ? file : `${file}:${line}`;
  throw new TpotError('config-invalid', `${where}: ${message}`, { hint });
}
