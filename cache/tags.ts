/**
 * Names under which an administrator finds stored responses: their groups (`Cache-Groups`, RFC 9875), and what origins write
 * in the older fields `Cache-Tag` (members of a list) and `Surrogate-Key` (words).
 */
import { listMembers, type Fields } from './fields.js';

const MOST_TAGS = 256;

/** The tags of a response, each once. */
export function tagsOf(fields: Fields, groups: readonly string[]): readonly string[] {
  const listed = listMembers(fields.get('cache-tag') ?? []) ?? [];
  const words = (fields.get('surrogate-key') ?? []).flatMap((value) => value.split(/\s+/));
  const tags = new Set([...groups, ...listed, ...words]);
  tags.delete('');
  return [...tags].slice(0, MOST_TAGS);
}
