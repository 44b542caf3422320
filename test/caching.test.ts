/** Caches under trouble: downloads that break off, clients that leave, and several who want the same at once. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import type { Program } from '../netns/host.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain, type ShimOptions } from './chain.js';

const PORT = 8080;
const SIZE = 2_000_000;
/** curl: the transfer ended early (18), or was reset (56). */
const BROKEN = [18, 56];

let chain: Chain;
let origin: Program;

beforeAll(async () => {
  chain = await standChain();
  origin = chain.host('origin').spawn(process.execPath, [fixture('fickle-origin.mjs'), String(PORT)]);
  await origin.output(/^ready$/m);
});
afterAll(closeAll);

const asked = (path: string): number =>
  origin
    .stdout()
    .split('\n')
    .filter((line) => line === path).length;

const url = (path: string): string => `http://${ORIGIN}:${PORT}${path}`;

async function sha256(file: string): Promise<string> {
  return (await chain.host('c1').must('sha256sum', [file])).split(' ')[0] ?? '';
}

/** A whole fetch: the hash of the body. */
async function fetched(client: string, path: string, options: ShimOptions = {}): Promise<string> {
  const command = ['sh', '-c', `curl -sSf -m 20 ${url(path)} | sha256sum`];
  return (await chain.must(client, command, options)).split(' ')[0] ?? '';
}

let files = 0;
function start(client: string, path: string): { program: Program; file: string } {
  const file = join(chain.net.directory, `body-${files++}`);
  return { file, program: chain.spawn(client, ['curl', '-sSfN', '-m', '30', '-o', file, url(path)]) };
}

describe('a download that breaks off', () => {
  test.each(['length', 'chunked', 'fin'])(
    'at the origin (%s): the client is told, nobody is served it',
    async (how) => {
      const path = `/cut/${how}/${SIZE}`;
      const { program } = start('c1', path);
      expect(BROKEN).toContain((await program.exited).code);
      expect(asked(path)).toBe(1);
      const right = contentHash(path, SIZE);
      expect([await fetched('c2', path), await fetched('c1', path)]).toEqual([right, right]);
      expect(asked(path)).toBe(2); // and the whole one is served from a cache
    },
  );

  test('at a client that leaves: the next one gets a whole body', async () => {
    const path = `/slow/${SIZE}`;
    const { program } = start('c1', path);
    await program.while(async () => ((await chain.conns('p1'))[0]?.bytesOut ?? 0) > SIZE / 4, {
      what: 'a part of the download',
    });
    await program.stop('SIGKILL');
    const second = start('c2', path);
    await second.program.while(
      () => {
        origin.signal('SIGUSR2'); // whichever of the two fetches at the origin goes on
        return second.program.status;
      },
      { what: 'the second download to end' },
    );
    expect((await second.program.exited).code).toBe(0);
    expect(await sha256(second.file)).toBe(contentHash(path, SIZE));
  });
});

describe('two who want the same at once', () => {
  test('the origin sees one request, and both get it whole', async () => {
    const path = `/slow/${SIZE + 1}`;
    const first = start('c1', path);
    await first.program.while(() => asked(path) === 1, { what: 'the first request to arrive' });
    const second = start('c2', path);
    await second.program.while(
      async () => {
        const waiting = (await chain.conns('p1')).filter(
          ({ action, state }) => action === 'cache' && state === 'serving',
        );
        return waiting.length === 2;
      },
      { what: 'both to be served at P1' },
    );
    origin.signal('SIGUSR2');
    expect([(await first.program.exited).code, (await second.program.exited).code]).toEqual([0, 0]);
    const right = contentHash(path, SIZE + 1);
    expect([await sha256(first.file), await sha256(second.file)]).toEqual([right, right]);
    expect(asked(path)).toBe(1);
    expect((await chain.status('p1')).cache['collapsed']).toBe(1);
  });

  test('without nodes both requests reach the origin', async () => {
    const path = `/cut/whole/${SIZE}`;
    const right = contentHash(path, SIZE);
    await chain.run('c1', ['curl', '-s', '-o', '/dev/null', url(path)], { hops: 0 }); // the cut one
    const both = await Promise.all(['c1', 'c2'].map((client) => fetched(client, path, { hops: 0 })));
    expect(both).toEqual([right, right]);
    expect(asked(path)).toBe(3);
  });
});
