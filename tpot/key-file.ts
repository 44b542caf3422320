/** Files of keys, for nodes and clients alike: `ID SECRET` on a line, the secret as 32 hexadecimal digits. */
import { MAX_KEYS, SECRET_BYTES, type Key } from './key.js';

export type KeyFile =
  | { readonly keys: readonly Key[] }
  /** `line` counts from 1; undefined when the fault is of the whole file. No message holds a secret. */
  | {
      readonly fault: { readonly line: number | undefined; readonly message: string; readonly hint: string };
    };

const LINE = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})\s+([0-9A-Fa-f]+)$/;
const LINE_HINT =
  'A line is `ID SECRET`, the secret 32 hexadecimal digits: echo "$(date +%F) $(openssl rand -hex 16)"';

function fault(line: number | undefined, message: string, hint = LINE_HINT): KeyFile {
  return { fault: { line, message, hint } };
}

/** The keys of a file, in its order; `#` begins a comment. */
export function parseKeyFile(text: string): KeyFile {
  const keys: Key[] = [];
  for (const [index, written] of text.split('\n').entries()) {
    const line = written.replace(/#.*/, '').trim();
    if (line === '') continue;
    const [, id = '', digits = ''] = LINE.exec(line) ?? [];
    if (digits.length !== 2 * SECRET_BYTES) return fault(index + 1, 'this is no key');
    if (keys.some((key) => key.id === id)) return fault(index + 1, `the key ${id} is there twice`);
    keys.push({ id, secret: Uint8Array.from(Buffer.from(digits, 'hex')) });
  }
  if (keys.length === 0) return fault(undefined, 'there is no key');
  if (keys.length <= MAX_KEYS) return { keys };
  return fault(undefined, `there are ${keys.length} keys, more than ${MAX_KEYS}`, 'Remove old ones.');
}
