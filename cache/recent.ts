/** Pure functions of short texts that come again and again: field names, dates, directives. */

/** Results that are kept of one function; all of them go when there are more. */
const MOST_TEXTS = 1024;
/** Longer ones are computed each time. */
const LONGEST_TEXT = 128;

/** `compute`, with its recent results kept; they are shared by all who ask, so nobody may change one. */
export function recent<T>(compute: (text: string) => T): (text: string) => T {
  const results = new Map<string, T>();
  return (text) => {
    if (text.length > LONGEST_TEXT) return compute(text);
    const known = results.get(text);
    if (known !== undefined) return known;
    const result = compute(text);
    if (results.size >= MOST_TEXTS) results.clear();
    results.set(text, result);
    return result;
  };
}

/** The same text, as one string in memory for all who keep it. */
export const shared: (text: string) => string = recent((text) => text);
