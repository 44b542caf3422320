/** Text in fewer bytes that means the same: JSON, HTML, and if it is told to, style sheets and scripts. */
import { SCRIPT_TYPES } from './steps.js';
import { minifyCss, minifyHtml, minifyJson, minifyScript } from './minify-text.js';
import type { ContentSubject, TransformedContent } from './transform.js';

const CHARSETS = new Set([undefined, 'utf-8', 'utf8', 'us-ascii']);
const FUNCTIONS: Readonly<Record<string, (text: string) => string>> = {
  'text/html': minifyHtml,
  'text/css': minifyCss,
};

function functionFor(mediaType: string): ((text: string) => string) | undefined {
  if (mediaType === 'application/json' || mediaType.endsWith('+json')) return minifyJson;
  return FUNCTIONS[mediaType] ?? (SCRIPT_TYPES.includes(mediaType) ? minifyScript : undefined);
}

/** The text, byte order mark included; undefined where it is not UTF-8. */
function decode(content: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    return undefined;
  }
}

/** Leaves what is not UTF-8 as it is. */
export function minify(content: Buffer, subject: ContentSubject): TransformedContent | undefined {
  const { mediaType, charset } = subject;
  const transform = functionFor(mediaType);
  const text = CHARSETS.has(charset) ? decode(content) : undefined;
  return transform === undefined || text === undefined
    ? undefined
    : { content: Buffer.from(transform(text)) };
}
