/**
 * Text that others have made (a URL, a tag, a command line, a name), as it may reach a terminal or a log: what a terminal
 * obeys, what ends a line and what changes the direction of writing is written as `\u001b` and the like.
 */

/** C0, DEL and C1, of which U+009B alone begins a control sequence; separators; and U+202E with its kin (UAX #9). */
const CONTROLS = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
const CONTROLS_IN_LINES = /(?!\n)[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

const escaped = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** On one line. */
export function printable(text: string): string {
  return text.replace(CONTROLS, escaped);
}

/** Line feeds stay; for text whose lines are our own. */
export function printableLines(text: string): string {
  return text.replace(CONTROLS_IN_LINES, escaped);
}

/** One line of JSON, equal in meaning: it has none of these outside of strings. */
export function printableJson(value: unknown): string {
  return printable(JSON.stringify(value));
}
