/** Whether a stored response is one that a {@link Selection} means. */
import type { Selection } from './store-contract.js';
import type { StoredHead } from './stored.js';
import { tagsOf } from './tags.js';

/** The parts of a key (key.ts). */
export interface KeyParts {
  /** `ADDRESS PORT`. */
  readonly destination: string;
  readonly authority: string;
  readonly target: string;
}

/** A key taken apart: none of its parts holds a space. */
export function keyParts(key: string): KeyParts {
  const [address = '', port = '', authority = '', target = ''] = key.split(' ');
  return { destination: `${address} ${port}`, authority, target };
}

/** Whether a selection may mean responses with this key, whatever their tags. */
export function meansKey(selection: Selection, key: string): boolean {
  const { destination, authority, target } = keyParts(key);
  if (selection.destination !== undefined && selection.destination !== destination) return false;
  if (selection.authority !== undefined && selection.authority !== authority) return false;
  if (selection.target === undefined) return true;
  return selection.prefix === true ? target.startsWith(selection.target) : target === selection.target;
}

export function means(selection: Selection, key: string, head: StoredHead): boolean {
  if (!meansKey(selection, key)) return false;
  return selection.tag === undefined || tagsOf(head.fields, head.groups).includes(selection.tag);
}
