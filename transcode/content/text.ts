/** White space and comments that no reader of a script, a style sheet or a JSON text needs. */
import type * as Esbuild from 'esbuild';
import { TpotError } from '../../core/errors.js';
import type { ContentTransform, TransformedContent } from './transform.js';

async function loadEsbuild(): Promise<typeof Esbuild> {
  try {
    return await import('esbuild');
  } catch (cause) {
    throw new TpotError(
      'esbuild-missing',
      'the transform "minify" needs the package esbuild, which is not installed',
      {
        hint: 'Run `npm install --include=optional`, or take "minify" out of the rules.',
        cause,
      },
    );
  }
}

const LOADERS: Readonly<Record<string, 'js' | 'css'>> = {
  'text/css': 'css',
  'text/javascript': 'js',
  'application/javascript': 'js',
};

/**
 * JSON without the white space between tokens. Not through JSON.parse: numbers would lose digits, and keys their
 * order or their repetitions.
 */
export function minifyJson(text: string): string {
  return text.replaceAll(/"(?:[^"\\]|\\.)*"|[\t\n\r ]+/g, (token) => (token.startsWith('"') ? token : ''));
}

/** Names, statements and values stay as they are: a script may be looked at by another one. */
export const minifyTransform: ContentTransform = {
  name: 'minify',
  types: [...Object.keys(LOADERS), 'application/json'],
  vary: [],
  async transform(content, { mediaType }): Promise<TransformedContent | undefined> {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
    const loader = LOADERS[mediaType];
    if (loader === undefined) return { content: Buffer.from(minifyJson(text)) };
    const { transform } = await loadEsbuild();
    const { code } = await transform(text, {
      loader,
      minifyWhitespace: true,
      legalComments: 'inline',
      charset: 'utf8',
      logLevel: 'silent',
    });
    return { content: Buffer.from(code) };
  },
};
