/**
 * Checks raw configuration against config.schema.json, whatever its source: a YAML file or command-line options.
 *
 * Every error says what is wrong with which value, and its hint what would be right (`x-expected` in the schema).
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AnySchemaObject, ErrorObject, ValidateFunction } from 'ajv/dist/2020.js';
import type * as Ajv from 'ajv/dist/2020.js';
import { isTunnelUnicast, parseIp, parsePrefix } from '../core/address.js';
import { REGISTERED } from '../content/steps.js';
import { parseServerName } from '../tpot/server-names.js';
import { parseBypass, type RawBypass } from './bypass-entry.js';
import { nearest } from './nearest.js';
import { parseDuration, parsePortRange, parseSize } from './units.js';

/** The configuration as written: shapes are checked, text values are known to parse. */
export interface RawConfig {
  readonly name?: string;
  readonly address?: string | readonly string[];
  readonly interfaces?: readonly string[];
  readonly rules?: readonly RawRule[];
  readonly bypass?: RawBypass;
  readonly mode?: string;
  readonly source?: 'node' | 'client';
  readonly hops?: number;
  readonly trust?: readonly string[];
  readonly keys?: { readonly file: string; readonly require?: boolean };
  readonly edge?: boolean;
  readonly udpEncapsulation?: boolean | { readonly port?: number };
  readonly returnTunnel?: boolean;
  readonly cache?: RawCache;
  readonly limits?: {
    readonly connections?: number;
    readonly perClient?: number;
    readonly splices?: number;
    readonly headersTimeout?: string;
    readonly idleTimeout?: string;
  };
  readonly splice?: { readonly idle?: string };
  readonly transforms?: RawTransforms;
  readonly content?: RawContent;
  readonly drainTimeout?: string;
}

export interface RawAdmission {
  readonly admit?: 'always' | 'second-request';
  readonly keepHits?: boolean;
}

export interface RawCache extends RawAdmission {
  readonly memory?: string | number;
  readonly disk?: { readonly path: string; readonly size: string | number };
  readonly spliceAbove?: string | number;
  readonly tapAbove?: string | number;
  readonly targeted?: readonly string[];
  readonly staleIfDown?: string;
  readonly noVarySearch?: boolean;
  readonly verifyHost?: boolean;
  readonly stallTimeout?: string;
}

export type RawStreams = readonly string[];

export interface RawTransforms {
  readonly streams?: RawStreams;
  readonly passOn?: boolean;
  readonly estimate?: boolean;
  readonly store?: string | number;
  readonly connections?: number;
}

export interface RawContent {
  readonly memory?: string | number;
  readonly largest?: string | number;
  readonly timeout?: string;
  readonly processes?: number;
  readonly processMemory?: string | number;
}

/** A transform by its name, or one of `image`, `minify`, `command`, `module` with what belongs to it. */
export type RawContentStep =
  | string
  | {
      readonly image?: { readonly maxWidth?: number; readonly maxHeight?: number; readonly quality?: number };
      readonly minify?: { readonly scripts?: boolean };
      readonly command?: readonly string[];
      readonly module?: string;
      readonly name?: string;
      readonly types?: readonly string[];
      readonly vary?: readonly string[];
      readonly mediaType?: string;
      readonly options?: Readonly<Record<string, unknown>>;
    };

export interface RawRule extends RawAdmission {
  readonly match?: {
    readonly src?: string | readonly string[];
    readonly dst?: string | readonly string[];
    readonly dport?: number | string | readonly (number | string)[];
    readonly sni?: string | readonly string[];
  };
  readonly action: 'cache' | 'splice' | 'relay' | 'pass';
  readonly content?: readonly RawContentStep[];
  readonly transforms?: RawStreams;
}

/** Keys and list positions from the root to a value. */
export type ConfigPath = readonly (string | number)[];

export interface SchemaProblem {
  readonly path: ConfigPath;
  /** Whether the key at the end of the path is wrong, rather than its value. */
  readonly atKey: boolean;
  readonly message: string;
  readonly hint: string | undefined;
}

function text(check: (value: string) => unknown): { type: 'string'; validate: (value: string) => boolean } {
  return { type: 'string', validate: (value) => check(value) !== undefined };
}

function tunnelAddress(value: string): unknown {
  const address = parseIp(value);
  return address !== undefined && isTunnelUnicast(address) ? address : undefined;
}

let compiled: ValidateFunction<RawConfig> | undefined;

/** Made when it is needed first: most commands read no configuration, and need not wait for it. */
function validator(): ValidateFunction<RawConfig> {
  compiled ??= compile();
  return compiled;
}

function compile(): ValidateFunction<RawConfig> {
  const { Ajv2020 } = createRequire(import.meta.url)('ajv/dist/2020.js') as typeof Ajv;
  // Optimizing code that runs once takes longer than it saves; that the schema is one, config-schema.test.ts shows.
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    allowUnionTypes: true,
    strictTypes: false,
    validateSchema: false,
    code: { optimize: false },
  });
  ajv.addKeyword('x-expected');
  ajv.addFormat('size', text(parseSize));
  ajv.addFormat('duration-with-unit', text(parseDuration));
  ajv.addFormat('port-range', text(parsePortRange));
  ajv.addFormat('prefix', text(parsePrefix));
  ajv.addFormat('server-name', text(parseServerName));
  ajv.addFormat('bypass', text(parseBypass));
  ajv.addFormat(
    'content-step',
    text((name) => (Object.hasOwn(REGISTERED, name) ? name : undefined)),
  );
  ajv.addFormat('tunnel-address', text(tunnelAddress));
  const schema = JSON.parse(
    readFileSync(new URL('./config.schema.json', import.meta.url), 'utf8'),
  ) as AnySchemaObject;
  return ajv.compile<RawConfig>(schema);
}

/** A JSON pointer (RFC 6901) as keys; list positions become numbers. */
function pathOf(pointer: string): (string | number)[] {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}

/** `rules[0].match.dport`, as a reader of the file would say it. */
function formatPath(path: ConfigPath): string {
  return path.reduce<string>(
    (written, part) =>
      typeof part === 'number' ? `${written}[${part}]` : written === '' ? part : `${written}.${part}`,
    '',
  );
}

function keysOf(schema: AnySchemaObject): string[] {
  return Object.keys((schema as { properties?: Record<string, unknown> }).properties ?? {});
}

function unknownKey(path: ConfigPath, key: string, schema: AnySchemaObject): SchemaProblem {
  const known = keysOf(schema);
  const meant = nearest(key, known);
  const place = path.length === 0 ? '' : ` in \`${formatPath(path)}\``;
  return {
    path: [...path, key],
    atKey: true,
    message: `unknown key \`${key}\`${place}${meant === undefined ? '' : `, did you mean \`${meant}\`?`}`,
    hint: `Keys known here: ${known.join(', ')}.`,
  };
}

function badMode(path: ConfigPath, value: unknown): SchemaProblem | undefined {
  if (value !== 'pipelined' && value !== 'hold') return undefined;
  return {
    path,
    atKey: false,
    message: `\`mode: ${value}\` is not available: this version only has basic`,
    hint: 'Write `mode: basic`, or leave the key out.',
  };
}

function toProblem(error: ErrorObject): SchemaProblem {
  const path = pathOf(error.instancePath);
  const schema: AnySchemaObject = error.parentSchema ?? {};
  if (error.keyword === 'additionalProperties') {
    return unknownKey(path, String(error.params['additionalProperty']), schema);
  }
  const where = path.length === 0 ? 'the configuration' : `\`${formatPath(path)}\``;
  const expected = schema['x-expected'] as string | undefined;
  const hint = expected === undefined ? undefined : `Expected: ${expected}.`;
  if (error.keyword === 'required') {
    const key = String(error.params['missingProperty']);
    return { path, atKey: false, message: `${where} has no \`${key}\``, hint };
  }
  const special = path.length === 1 && path[0] === 'mode' ? badMode(path, error.data) : undefined;
  if (special !== undefined) return special;
  const shown = JSON.stringify(error.data);
  return {
    path,
    atKey: false,
    message: `${where}: ${shown} is not valid (${error.message ?? error.keyword})`,
    hint,
  };
}

/** One problem for one value is enough, the first found: later ones follow from it. */
function firstPerPath(problems: readonly SchemaProblem[]): SchemaProblem[] {
  const seen = new Map<string, SchemaProblem>();
  for (const problem of problems) {
    const key = formatPath(problem.path);
    if (!seen.has(key)) seen.set(key, problem);
  }
  return [...seen.values()];
}

/** Returns the configuration when it is valid, otherwise everything that is wrong with it. */
export function checkShape(raw: unknown): { config: RawConfig } | { problems: SchemaProblem[] } {
  const validate = validator();
  if (validate(raw)) return { config: raw };
  return { problems: firstPerPath((validate.errors ?? []).map(toProblem)) };
}
