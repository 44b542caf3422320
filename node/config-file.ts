/** YAML text to a checked {@link RawConfig}, with the place of every problem. */
import { createRequire } from 'node:module';
import type * as Yaml from 'yaml';
import type { Document, LineCounter } from 'yaml';
import { checkShape, type ConfigPath, type RawConfig, type SchemaProblem } from './config-schema.js';

/** `where` is `file:line:column`, a file, or the command-line option that is wrong. */
export interface ConfigProblem {
  readonly where: string;
  readonly message: string;
  readonly hint: string | undefined;
}

export interface ConfigSource {
  readonly raw: RawConfig;
  readonly problems: readonly ConfigProblem[];
  /** Says where a value stands. */
  readonly locate: (path: ConfigPath) => string;
}

/** Loaded with the first file: most commands read none, and need not wait for it. */
const yaml = (): typeof Yaml => createRequire(import.meta.url)('yaml') as typeof Yaml;

function nodeAt(document: Document, path: ConfigPath): unknown {
  return path.length === 0 ? document.contents : document.getIn(path, true);
}

function keyAt(document: Document, path: ConfigPath): unknown {
  const parent = nodeAt(document, path.slice(0, -1));
  const { isMap, isScalar } = yaml();
  if (!isMap(parent)) return undefined;
  return parent.items.find(({ key }) => isScalar(key) && key.value === path.at(-1))?.key;
}

function position(file: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${file}:${line}:${col}`;
}

function rangeStart(node: unknown): number | undefined {
  return (node as { range?: readonly number[] | null } | undefined)?.range?.[0];
}

/** Reads YAML 1.2; `file` is only used in messages. An empty document is an empty configuration. */
export function parseConfigText(file: string, text: string): ConfigSource {
  const lines = new (yaml().LineCounter)();
  const document = yaml().parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'error', // its warnings would go to stderr past everything; those it has found are in the document
  });
  const locateNode = (node: unknown): string => {
    const start = rangeStart(node);
    return start === undefined ? file : position(file, lines, start);
  };
  const locate = (path: ConfigPath): string => locateNode(nodeAt(document, path) ?? document.contents);
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    const hint = 'The file must be YAML 1.2; values with `: ` or a leading `:` or `*` need quotes.';
    const problems = faults.map(({ pos, message }) => ({
      where: position(file, lines, pos[0]),
      message,
      hint,
    }));
    return { raw: {}, problems, locate };
  }
  const plain = toPlain(document);
  if (plain instanceof ReferenceError) {
    const hint = 'A value that begins with `*` needs quotes: "*.example.net".';
    return { raw: {}, problems: [{ where: file, message: plain.message, hint }], locate };
  }
  const checked = checkShape(plain);
  if ('config' in checked) return { raw: checked.config, problems: [], locate };
  const place = ({ path, atKey }: SchemaProblem): string =>
    atKey ? locateNode(keyAt(document, path)) : locate(path);
  const problems = checked.problems.map((problem) => ({
    where: place(problem),
    message: problem.message,
    hint: problem.hint,
  }));
  return { raw: {}, problems, locate };
}

/** The values of a document, or the error about an alias that stands for nothing, or for too much. */
function toPlain(document: Document): unknown {
  try {
    const plain: unknown = document.toJS();
    return plain ?? {};
  } catch (error) {
    if (error instanceof ReferenceError) return error;
    throw error;
  }
}
