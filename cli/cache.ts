/** `tpot-node cache ls|rm|stats|warm` */
import { readFileSync } from 'node:fs';
import { text as textOf } from 'node:stream/consumers';
import { Option, type Command } from 'commander';
import { parseIp } from '../core/address.js';
import { messageOf, TpotError } from '../core/errors.js';
import { askLines, askNode, chooseNode } from '../node/admin-client.js';
import type { CacheRow } from '../node/cache-admin.js';
import type { WarmRequest, WarmResult } from '../node/warm.js';
import { EXIT, formatAge, formatBytes, print, printJson, section, table } from './output.js';

const HELP = `
What is stored is known by where the client wanted to go (address and port), the name in Host, and the path. A URL
means all addresses; --destination narrows it down to one.

Examples:
  tpot-node cache ls                                     what is stored, newest use last
  tpot-node cache ls --prefix http://www.example.net/img/ --json
  tpot-node cache rm http://www.example.net/index.html   all its variants
  tpot-node cache rm --prefix http://www.example.net/    everything of that name
  tpot-node cache rm --tag article-17                    by Cache-Groups, Cache-Tag or Surrogate-Key
  tpot-node cache rm --all
  tpot-node cache stats                                  hits, bytes, and how the disk is
  tpot-node cache warm http://www.example.net/a http://www.example.net/b
  tpot-node cache warm --file urls.txt --header 'Accept-Encoding: gzip'

Exit status: 0 done, 1 nothing was removed, or a URL is not in the cache now, 2 wrong usage, 69 no such node.`;

interface Chosen {
  readonly name?: string;
  readonly json?: boolean;
  readonly prefix?: string;
  readonly tag?: string;
  readonly destination?: string;
}

interface RemoveFlags extends Chosen {
  readonly all?: boolean;
}

interface ListFlags extends Chosen {
  readonly limit: string;
}

interface WarmFlags {
  readonly name?: string;
  readonly json?: boolean;
  readonly file?: string;
  readonly header: readonly string[];
  readonly address?: string;
}

const usage = (message: string, hint: string): TpotError => new TpotError('usage', message, { hint });
/** Rows that people are shown unless they ask for more. */
const SHOWN_ROWS = '100';
/** What takes longer says how far it is. */
const PROGRESS_MS = 2000;

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'http:') return url;
  throw usage(
    `${text} is no http: URL`,
    'Write it in full, as http://www.example.net/path; the cache holds no other kind.',
  );
}

/** A host as it stands in a key: as clients write it, without the port that is implied. */
function authorityOf(url: URL): string {
  return url.host.toLowerCase();
}

/** `ADDRESS PORT`, as keys begin. */
function parseDestination(text: string): string {
  const [, v6, v4, port = ''] = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|\*)):(\d{1,5})$/.exec(text) ?? [];
  const address = v6 ?? v4;
  if (address === undefined || (address !== '*' && parseIp(address) === undefined))
    throw usage(`${text} is no destination`, 'Write ADDRESS:PORT, as 192.0.2.80:80 or [2001:db8::1]:80.');
  return `${address.toLowerCase()} ${Number(port)}`;
}

/** The selection of a node's cache as a query (node/cache-admin.ts). */
export function selectionOf(url: string | undefined, { prefix, tag, destination }: Chosen): string {
  if (url !== undefined && prefix !== undefined)
    throw usage('a URL and --prefix mean different things', 'Give one of the two.');
  const query = new URLSearchParams();
  const written = url ?? prefix;
  if (written !== undefined) {
    const parsed = parseUrl(written);
    query.set('authority', authorityOf(parsed));
    query.set('target', parsed.pathname + parsed.search);
    if (prefix !== undefined) query.set('prefix', '1');
  }
  if (tag !== undefined) query.set('tag', tag);
  if (destination !== undefined) query.set('destination', parseDestination(destination));
  return query.toString();
}

/** Says on stderr how far something is, every two seconds from the second on. */
function progress(): (text: () => string) => void {
  let next = performance.now() + PROGRESS_MS;
  return (text) => {
    if (performance.now() < next) return;
    next = performance.now() + PROGRESS_MS;
    process.stderr.write(`${text()}\n`);
  };
}

export function formatRows(rows: readonly CacheRow[], more: boolean): string {
  if (rows.length === 0) return 'nothing is stored';
  const heading = ['URL', 'DESTINATION', 'STATUS', 'SIZE', 'AGE', 'FRESH FOR', 'WHERE', 'TAGS'];
  const cells = rows.map((row) => [
    row.url,
    row.destination,
    row.status,
    formatBytes(row.bytes),
    formatAge(row.ageSeconds),
    row.freshSeconds > 0 ? formatAge(row.freshSeconds) : 'stale',
    row.where,
    row.tags.join(' '),
  ]);
  const note = more ? `\n\nthere is more; --limit shows it, --prefix, --tag and a URL narrow it down` : '';
  return table(heading, cells) + note;
}

async function list(url: string | undefined, flags: ListFlags): Promise<void> {
  const query = selectionOf(url, flags);
  const limit = Number(flags.limit);
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw usage('--limit takes a number from 1 on', '--limit 1000');
  const name = await chooseNode(flags.name);
  const rows: CacheRow[] = [];
  const say = progress();
  let seen = 0;
  for await (const row of askLines(name, 'GET', `/cache/objects?${query}`)) {
    if (flags.json === true) printJson(row);
    else if (rows.length >= limit) break;
    else rows.push(row as CacheRow);
    seen++;
    if (flags.json === true && seen >= limit && flags.limit !== SHOWN_ROWS) break;
    say(() => `${seen} so far`);
  }
  if (flags.json !== true) print(formatRows(rows, rows.length >= limit));
}

async function remove(urls: readonly string[], flags: RemoveFlags): Promise<void> {
  const { all, prefix, tag, destination } = flags;
  const narrowed = urls.length > 0 || prefix !== undefined || tag !== undefined || destination !== undefined;
  if (narrowed === (all === true))
    throw usage(
      'say what is to go',
      'Give URLs, --prefix, --tag or --destination; --all, alone, means everything.',
    );
  const queries = (urls.length > 0 ? urls : [undefined]).map((url) => selectionOf(url, flags));
  const name = await chooseNode(flags.name);
  const say = progress();
  let before = 0;
  for (const query of queries) {
    let dropped = 0;
    for await (const told of askLines(name, 'DELETE', `/cache/objects?${query}`)) {
      dropped = (told as { readonly dropped: number }).dropped;
      say(() => `${before + dropped} removed so far`);
    }
    before += dropped;
  }
  if (flags.json === true) printJson({ removed: before });
  else print(`${before} removed`);
  if (before === 0) process.exitCode = EXIT.failed;
}

async function stats(flags: { readonly name?: string; readonly json?: boolean }): Promise<void> {
  const answer = (await askNode(await chooseNode(flags.name), '/cache/stats')) as Record<string, unknown>;
  if (flags.json === true) {
    printJson(answer);
    return;
  }
  const { disk, ...cache } = answer;
  const onDisk =
    disk === undefined
      ? 'disk: not configured (cache.disk)'
      : section('disk', disk as Record<string, unknown>);
  print(`${section('cache', cache)}\n\n${onDisk}`);
}

/** URLs of a file, one a line; empty lines and those that begin with # say nothing. */
async function urlsIn(file: string): Promise<string[]> {
  try {
    const text = file === '-' ? await textOf(process.stdin) : readFileSync(file, 'utf8');
    const lines = text.split('\n').map((line) => line.trim());
    return lines.filter((line) => line !== '' && !line.startsWith('#'));
  } catch (error) {
    throw usage(
      `${file} cannot be read: ${messageOf(error)}`,
      'Give a file with a URL a line, or - for stdin.',
    );
  }
}

function parseHeader(text: string): string[] {
  const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw usage(`${text} is no header field`, "--header 'Accept-Encoding: gzip'");
  return [name, value];
}

function formatWarm({ url, status, bytes, cacheStatus, error, stored }: WarmResult): string {
  const what = error ?? `${status ?? '-'} ${formatBytes(bytes)} ${cacheStatus ?? ''}`;
  return `${stored ? 'stored' : 'NOT STORED'}  ${url}  ${what}`;
}

async function warm(given: readonly string[], flags: WarmFlags): Promise<void> {
  const urls = [...given, ...(flags.file === undefined ? [] : await urlsIn(flags.file))];
  if (urls.length === 0) throw usage('there is no URL', 'Give some, or --file with one a line.');
  for (const url of urls) parseUrl(url);
  if (flags.address !== undefined && parseIp(flags.address) === undefined)
    throw usage(`${flags.address} is no address`, 'Write it as 192.0.2.80.');
  const headers = flags.header.flatMap(parseHeader);
  const name = await chooseNode(flags.name);
  const asked: WarmRequest[] = urls.map((url) => ({ url, headers, address: flags.address }));
  const say = progress();
  let done = 0;
  let missed = 0;
  for await (const told of askLines(name, 'POST', '/cache/warm', asked)) {
    const result = told as WarmResult;
    done++;
    if (!result.stored) missed++;
    if (flags.json === true) printJson(result);
    else print(formatWarm(result));
    say(() => `${done} of ${urls.length}`);
  }
  if (missed > 0) process.exitCode = EXIT.failed;
}

const nameOption = (): Option => new Option('--name <name>', 'which node (default: the only one running)');

function selecting(command: Command): Command {
  return command
    .option('--prefix <url>', 'everything whose URL begins like this')
    .option('--tag <tag>', 'what the origin has tagged so: Cache-Groups, Cache-Tag, Surrogate-Key')
    .option('--destination <address:port>', 'only what clients get at this address')
    .addOption(nameOption());
}

function collect(value: string, earlier: readonly string[]): string[] {
  return [...earlier, value];
}

export function registerCache(program: Command): void {
  const command = program
    .command('cache')
    .summary('list, remove, count or fetch what a node has stored')
    .description("Looks into a running node's cache, in memory and on disk, and changes it.")
    .addHelpText('after', HELP);
  selecting(command.command('ls'))
    .description('lists what is stored')
    .argument('[url]', 'only this one')
    .option('--limit <rows>', 'how many', SHOWN_ROWS)
    .option('--json', 'print an object a line, all of them unless --limit is given')
    .action(list);
  selecting(command.command('rm'))
    .description('removes resources with all their variants, from memory and disk')
    .argument('[url...]', 'these')
    .option('--all', 'everything')
    .option('--json', 'print { removed }')
    .action(remove);
  command
    .command('stats')
    .description('counts hits, misses, bytes and what the disk does')
    .addOption(nameOption())
    .option('--json', 'print an object')
    .action(stats);
  command
    .command('warm')
    .description("fetches URLs through the node's own cache, as a client would")
    .argument('[url...]', 'http: URLs')
    .option('--file <file>', 'more of them, one a line; - is stdin')
    .option('--header <field>', 'a field of the requests, for responses that vary; repeatable', collect, [])
    .option('--address <address>', 'ask this address (default: what the name has on the node)')
    .addOption(nameOption())
    .option(
      '--json',
      'print an object a line: { url, destination, status, bytes, cacheStatus, stored, error }',
    )
    .action(warm);
}
