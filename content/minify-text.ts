/** White space and comments that no reader of a text needs, taken out without changing what it means. */
import { parse, type Token } from 'acorn';

/**
 * JSON without the white space between tokens. Not through JSON.parse: numbers would lose digits, and keys their order or
 * their repetitions.
 */
export function minifyJson(text: string): string {
  return text.replaceAll(/"(?:[^"\\]|\\.)*"|[\t\n\r ]+/g, (token) => (token.startsWith('"') ? token : ''));
}

const CSS =
  /\/\*[^]*?\*\/|"(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\[^])*'|url\(\s*[^"'\s)][^)]*\)|\\[^]|\s*[{};]\s*|\s+/gi;

/** Whether a comment has to stay: a licence, or what an older browser or a tool reads. */
const kept = (comment: string): boolean => /^.{2}[!#@]|@license|@preserve|@cc_on/s.test(comment);

/** A style sheet whose runs of white space are single, with none around braces and semicolons. */
export function minifyCss(text: string): string {
  return text.replaceAll(CSS, (token) => {
    if (token.startsWith('/*')) return kept(token) ? token : '/**/'; // it may be all that separates two words
    const bare = token.trim();
    if (bare === '{' || bare === '}' || bare === ';') return bare;
    return bare === '' ? ' ' : token;
  });
}

/** Elements in which white space counts, and those that are not HTML inside. */
const AS_IT_IS = 'script|style|textarea|pre|title|code|samp|kbd|xmp|listing|iframe|noscript|svg|math';
const HTML = new RegExp(
  `<!--[^]*?-->|<(${AS_IT_IS})\\b[^]*?</\\1\\s*>|<[a-z/!?](?:"[^"]*"|'[^']*'|[^>"'])*>|\\s{2,}`,
  'gi',
);
/** A quote inside a value that has none around it: where tags end is then not for an expression to say. */
const ODD_QUOTE = /<[a-z][^>]*=[^\s"'>=]+["']/i;

/**
 * HTML with one white space where there were several between two tags. Comments stay, since scripts use them as marks, and so
 * do the contents of scripts, styles and preformatted elements.
 */
export function minifyHtml(text: string): string {
  if (ODD_QUOTE.test(text)) return text;
  return text.replaceAll(HTML, (token: string, _element: string | undefined, at: number) => {
    const between = text[at - 1] === '>' && text[at + token.length] === '<';
    if (!/^\s/.test(token) || !between) return token;
    return token.includes('\n') ? '\n' : ' ';
  });
}

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly kind: 'token' | 'block' | 'line';
}

function piecesOf(text: string, sourceType: 'script' | 'module'): Piece[] {
  const pieces: Piece[] = [];
  const token = ({ start, end }: Token): void => {
    if (end > start) pieces.push({ start, end, kind: 'token' });
  };
  parse(text, {
    ecmaVersion: 'latest',
    sourceType,
    allowHashBang: true,
    onToken: token,
    onComment: (block, _text, start, end) => {
      if (kept(text.slice(start, end))) pieces.push({ start, end, kind: block ? 'block' : 'line' });
    },
  });
  return pieces.sort((one, other) => one.start - other.start);
}

const WORD = /[\p{ID_Continue}$\u200c\u200d\\]/u;
/** Behind these, and before these, a line end separates nothing that the punctuation does not. */
const OPENS = '{;,([';
const CLOSES = '})];,';

/** `a + +b`, `1 .toFixed`, `a / /b/`: what reads differently when it touches. */
const TOUCHING = /[+\-/.<!=>&|*?]/;

/** What has to stand between two pieces between which there was white space, or a comment that goes. */
function separator(text: string, last: Piece, next: Piece): string {
  const between = text.slice(last.end, next.start);
  const lineEnds = /[\n\r\u2028\u2029]/.test(between);
  if (last.kind !== 'token' || next.kind !== 'token') return lineEnds ? '\n' : ' ';
  const [before = '', after = ''] = [text[last.end - 1], text[next.start]];
  if (between === '' || OPENS.includes(before) || CLOSES.includes(after)) return '';
  if (lineEnds) return '\n'; // it may end a statement
  const words = WORD.test(before) && WORD.test(after);
  const numeral = /\d/.test(before) && after === '.';
  return words || numeral || (TOUCHING.test(before) && TOUCHING.test(after)) ? ' ' : '';
}

function parsed(text: string): Piece[] {
  try {
    return piecesOf(text, 'script');
  } catch {
    return piecesOf(text, 'module');
  }
}

/**
 * A script of the same tokens with less between them: names, statements and values stay as they are, since another script
 * may look at them.
 *
 * @throws SyntaxError for what is no script
 */
export function minifyScript(text: string): string {
  let made = '';
  let last: Piece | undefined;
  for (const piece of parsed(text)) {
    if (last !== undefined) made += separator(text, last, piece);
    made += text.slice(piece.start, piece.end);
    last = piece;
  }
  return `${made}\n`;
}
