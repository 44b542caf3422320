/** Content transforms at the node that faces the client, with curl through two nodes. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../host/paths.js';
import { capabilitiesOf } from '../host/capabilities.js';
import type { Program } from '../netns/host.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain } from './chain.js';

const PORT = 8080;
const folder = mkdtempSync(join(tmpdir(), 'tpot-content-'));
/** A copy that belongs to whoever runs this, and that nobody else may write. */
function example(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, readFileSync(join(packageRoot, 'examples/content', name)));
  chmodSync(path, 0o755);
  return path;
}
const content = [
  { image: { maxWidth: 100, quality: 40 } },
  'minify',
  { command: [example('squeeze.sh')], types: ['text/plain'] },
  { module: example('first-words.mjs'), types: ['text/plain'], options: { words: 7 } },
];

let chain: Chain;
let origin: Program;

beforeAll(async () => {
  const rules = [{ match: { dport: PORT }, action: 'cache', content }, { action: 'relay' }];
  const transforms = { streams: ['dedup', 'zstd'] };
  chain = await standChain({ nodes: { p1: { rules, edge: true, transforms }, p2: { transforms } } });
  origin = chain.host('origin').spawn(process.execPath, [fixture('content-origin.mjs'), String(PORT)]);
  await origin.output(/^ready$/m);
});
afterAll(async () => {
  await closeAll();
  rmSync(folder, { recursive: true });
});

interface Answer {
  readonly head: string;
  readonly body: Buffer;
}

let files = 0;
/** From `c1` through both nodes; from `p2` straight to the origin. */
async function curl(path: string, args: readonly string[] = [], from = 'c1'): Promise<Answer> {
  const file = join(chain.net.directory, `content-${files++}`);
  const url = `http://${ORIGIN}:${PORT}${path}`;
  writeFileSync(file, ''); // curl makes none for a 304
  await chain.host(from).must('curl', ['-sS', '-m', '20', '-D', `${file}.head`, '-o', file, ...args, url]);
  return { head: readFileSync(`${file}.head`, 'utf8'), body: readFileSync(file) };
}

const field = ({ head }: Answer, name: string): string | undefined =>
  new RegExp(`^${name}: (.*)\r$`, 'im').exec(head)?.[1];
const fetches = (path: string): number =>
  origin
    .stdout()
    .split('\n')
    .filter((line) => line === path).length;

test('a picture comes smaller and in the format that the client takes, each of them once', async () => {
  const webp = await curl('/picture', ['-H', 'Accept: image/webp,*/*']);
  expect(await sharp(webp.body).metadata()).toMatchObject({ format: 'webp', width: 100 });
  expect([field(webp, 'content-type'), field(webp, 'vary')]).toEqual(['image/webp', 'Accept']);
  const jpeg = await curl('/picture');
  expect(await sharp(jpeg.body).metadata()).toMatchObject({ format: 'jpeg', width: 100 });
  const again = await curl('/picture', ['-H', 'Accept: */*;q=0.5, image/webp']);
  expect(again.body).toEqual(webp.body);
  const tag = field(webp, 'etag') ?? '';
  expect(tag).toMatch(/^W\/"1-[\w-]+"$/);
  const known = await curl('/picture', ['-H', 'Accept: image/webp', '-H', `If-None-Match: ${tag}`]);
  expect(known.head).toMatch(/^HTTP\/1.1 304/);
  const other = await curl('/picture', ['-H', `If-None-Match: ${tag}`]);
  expect(other.body).toEqual(jpeg.body);
  expect(fetches('/picture')).toBe(1);
  const { steps } = (await chain.stats('p1')).content ?? {};
  expect(steps?.find(({ name }) => name === 'image')).toMatchObject({ responses: 2, smaller: 2, failed: 0 });
});

test('text goes through a command and a module', async () => {
  const { body, head } = await curl('/text');
  expect(body.toString()).toBe('one two\nthree four five\none two\n');
  expect(head).toMatch(/^content-type: text\/plain; charset=utf-8\r$/im);
  const json = await curl('/json');
  const plain = await curl('/json', [], 'p2');
  expect(json.body.length).toBeLessThan(plain.body.length);
  expect(JSON.parse(json.body.toString())).toEqual(JSON.parse(plain.body.toString()));
});

test.each(['/no-transform', '/signed', '/broken', '/nothing'])(
  '%s comes as the origin sent it',
  async (path) => {
    const plain = await curl(path, [], 'p2');
    const through = [await curl(path), await curl(path)];
    for (const got of through) {
      expect(got.body.equals(plain.body)).toBe(true);
      expect(field(got, 'etag')).toBe('"1"');
    }
  },
);

test('a part is one of the original', async () => {
  const plain = await curl('/json', [], 'p2');
  const part = await curl('/json', ['-r', '100-199']);
  expect(part.body).toEqual(plain.body.subarray(100, 200));
  expect(field(part, 'etag')).toBe('"1"');
});

test.each(['gzip', 'br', 'zstd', 'deflate'])(
  'curl --compressed gets what came in %s within a coding that it takes',
  async (coding) => {
    const whole = (await curl(`/${coding}`, ['--compressed'], 'p2')).body.toString();
    const raw = await curl(`/${coding}`, [], 'p2');
    const first = await curl(`/${coding}`, ['--compressed']);
    const again = await curl(`/${coding}`, ['--compressed']);
    for (const got of [first, again]) {
      expect(got.body.toString()).toBe(whole.split('\n\n').slice(0, 7).join('\n') + '\n');
      expect([field(got, 'content-encoding'), field(got, 'vary')]).toEqual(['br', 'Accept-Encoding']);
      expect(field(got, 'etag')).toMatch(/^W\/"1-[\w-]+"$/);
      expect(Number(field(got, 'content-length'))).toBeLessThan(raw.body.length);
    }
    const gzip = await curl(`/${coding}`, ['--compressed', '-H', 'Accept-Encoding: gzip']);
    expect(field(gzip, 'content-encoding')).toBe('gzip');
    expect(gzip.body).toEqual(first.body);
    expect(field(gzip, 'etag')).not.toBe(field(first, 'etag'));
    const known = await curl(`/${coding}`, ['--compressed', '-H', `If-None-Match: ${field(first, 'etag')}`]);
    expect(known.head).toMatch(/^HTTP\/1.1 304/);
    const part = await curl(`/${coding}`, ['--compressed', '--raw', '-r', '10-19']);
    expect(part.body).toEqual(raw.body.subarray(10, 20));
    expect([field(part, 'content-encoding'), field(part, 'etag')]).toEqual([coding, '"1"']);
    const kept = await curl(`/${coding}/no-transform`, ['-H', 'Accept-Encoding: br, gzip']);
    expect(kept.body.equals(raw.body)).toBe(true);
    expect([field(kept, 'content-encoding'), field(kept, 'etag')]).toEqual([coding, '"1"']);
    const { pairs } = (await chain.stats('p1')).transforms;
    expect(pairs.find(({ direction }) => direction === 'to')?.connections).toBeGreaterThan(0);
  },
);

test('what works on the bytes has no capabilities', async () => {
  const { pid } = await chain.status('p1');
  const parent = (id: string): number =>
    Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1]);
  const workers = readdirSync('/proc').filter((id) => {
    try {
      return /^\d+$/.test(id) && parent(id) === pid;
    } catch {
      return false; // it has just ended
    }
  });
  expect(workers.length).toBeGreaterThan(0);
  for (const id of workers) {
    for (const thread of readdirSync(`/proc/${id}/task`)) {
      const status = readFileSync(`/proc/${id}/task/${thread}/status`, 'utf8');
      expect(capabilitiesOf(status).effective).toBe(0n);
      expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
    }
  }
});
