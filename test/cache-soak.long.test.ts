/**
 * A day of a cache in minutes: the clock of its process runs ahead while keys, variants, validations, invalidations, large and
 * small objects, parts and clients that leave come and go, in memory and on disk. When both are full, nothing grows any more.
 * SOAK_REQUESTS says how many requests the day has.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { Harness, type Answer } from '../node/http/harness.props.js';
import { fixture } from './chain.js';
import { Random } from './fuzz/random.js';
import { listed, median, secondHalf, slopeOf } from './trend.js';

const REQUESTS = Number(process.env['SOAK_REQUESTS'] ?? 24_000);
const DAY_MS = 24 * 3600 * 1000;
const HOURS = 24;
const AT_ONCE = 8;
const MIB = 2 ** 20;
const MEMORY = 16 * MIB;
const DISK = 64 * MIB;
/** Of the memory in the second half of the day; entries of other sizes come and go, and so do the allocator's pages. */
const MOST_GROWTH = 0.1;

interface Status {
  readonly memory: NodeJS.MemoryUsage;
  readonly bytes: number;
  readonly entries: number;
  readonly inFlight: number;
  readonly connections: number;
  readonly disk: { readonly entries: number; readonly bytes: number };
}

interface Sample {
  readonly residentMib: number;
  readonly usedMib: number;
  readonly descriptors: number;
  readonly entries: number;
  readonly onDisk: number;
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tpot-soak-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const bodyOf = (path: string, kind: string): Buffer => {
  const size = Number(/\d+/.exec(path)?.[0] ?? 0);
  return Buffer.alloc(size, createHash('sha256').update(`${path} ${kind}`).digest());
};

const SIZES = [100, 1000, 4000, 20_000, 100_000, 600_000];
/** More than an eighth of the memory: for the disk alone. */
const LARGE = 3_000_000;

/** Objects of all sizes: every one its own, or one of a few that many ask for. */
function pathOf(random: Random): string {
  const size = random.once(100)
    ? LARGE
    : (SIZES[Math.min(random.below(6), random.below(6), random.below(6))] ?? 0);
  const name = random.once(4) ? random.below(1_000_000) : random.below(100);
  const query = random.once(4) ? `?utm=${random.below(1_000_000)}&id=${random.below(3)}` : '';
  return `/${size}/${name}${query}`;
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const [path = ''] = (request.url ?? '').split('?');
  const kind = String(request.headers['x-kind'] ?? '');
  const tag = `"${createHash('sha256').update(`${path} ${kind}`).digest('hex').slice(0, 16)}"`;
  response.sendDate = false; // the node's clock is another
  response.removeHeader('Date');
  const lifetime = path.length % 3 === 0 ? 'max-age=900, stale-while-revalidate=600' : 'max-age=36000';
  response.setHeader('Cache-Control', lifetime).setHeader('ETag', tag).setHeader('Vary', 'X-Kind');
  response.setHeader('Cache-Groups', `"${path.at(-1) ?? ''}"`);
  response.setHeader('No-Vary-Search', 'params, except=("id")');
  if (request.method !== 'GET') {
    request.resume();
    // Now and then a tenth of everything.
    if (path.includes('77')) response.setHeader('Cache-Group-Invalidation', `"${path.at(-1) ?? ''}"`);
    response.end();
  } else if (request.headers['if-none-match'] === tag) {
    response.writeHead(304).end();
  } else {
    response.end(bodyOf(path, kind));
  }
}

class Day {
  /** For its origin and its clients; the cache is in a process of its own. */
  readonly #h = new Harness();
  readonly #random = new Random(24);
  #child: ChildProcess | undefined;
  #said: AsyncIterator<string> | undefined;
  #port = 0;
  wrong = 0;
  asked = 0;
  left = 0;

  async open(): Promise<void> {
    const origin = await this.#h.origin(answer);
    const numbers = [origin, DAY_MS / REQUESTS, MEMORY, DISK].map(String);
    // A small heap: garbage is collected early, so that what stays in memory is what is used.
    const flags = ['--expose-gc', '--max-old-space-size=128', '--max-semi-space-size=2'];
    const child = spawn(
      process.execPath,
      [...flags, fixture('cache-day.mjs'), ...numbers, join(directory, 'store')],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    this.#child = child;
    this.#said = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#port = Number((await this.#line()).split(' ')[1]);
  }

  async close(): Promise<void> {
    const child = this.#child;
    if (child?.exitCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    await this.#h.close();
  }

  async status(): Promise<Status> {
    this.#child?.stdin?.write('status\n');
    return JSON.parse(await this.#line()) as Status;
  }

  async #line(): Promise<string> {
    const next = await this.#said?.next();
    if (next === undefined || next.done === true) throw new Error('the cache has ended');
    return next.value;
  }

  /** Requests, several at once, until there have been `enough`. */
  async go(enough: number): Promise<void> {
    const worker = async (): Promise<void> => {
      while (this.asked < enough) await this.#one();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  async #one(): Promise<void> {
    this.asked++;
    const path = pathOf(this.#random);
    if (this.#random.once(200)) {
      await this.#h.ask(this.#port, path, { method: 'POST', body: 'x' });
      return;
    }
    if (this.#random.once(50)) return this.#leave(path);
    const kind = this.#random.once(10) ? String(this.#random.below(1000)) : String(this.#random.below(3));
    const range = this.#random.once(20) ? { range: 'bytes=10-49' } : {};
    const got = await this.#h.ask(this.#port, path, { headers: { 'x-kind': kind, ...range } });
    this.#check(got, path, kind);
  }

  #check({ status, body }: Answer, path: string, kind: string): void {
    const whole = bodyOf(path.split('?')[0] ?? '', kind);
    const expected = status === 206 ? whole.subarray(10, 50) : whole;
    if (!body.equals(expected)) this.wrong++;
  }

  /** A client that hangs up with the first bytes. */
  async #leave(path: string): Promise<void> {
    this.left++;
    const request = `GET ${path} HTTP/1.1\r\nHost: example.test\r\nX-Kind: 1\r\n\r\n`;
    const socket = this.#h.connect(this.#port, request);
    await new Promise<void>((resolve) => socket.once('data', () => resolve()).once('close', () => resolve()));
    socket.destroy();
  }

  /** When nothing is under way. */
  async sample(): Promise<Sample> {
    await waitFor(
      async () => {
        const { inFlight, connections } = await this.status();
        return inFlight === 0 && connections === 0;
      },
      { what: 'the cache to have nothing under way', timeoutMs: 60_000 },
    );
    const { memory, entries, disk } = await this.status();
    return {
      residentMib: memory.rss / MIB,
      usedMib: (memory.heapUsed + memory.external) / MIB,
      descriptors: readdirSync(`/proc/${this.#child?.pid ?? 0}/fd`).length,
      entries,
      onDisk: disk.entries,
    };
  }
}

const BLOCK = 512;

/** As the file system has it. */
const bytesOnDisk = (): number =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => (statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK)
    .reduce((sum, bytes) => sum + bytes, 0);

test(`a day of ${REQUESTS} requests: memory, descriptors and files stay as they were when the stores were full`, async () => {
  const day = new Day();
  const started = performance.now();
  const samples: Sample[] = [];
  try {
    await day.open();
    for (let hour = 1; hour <= HOURS; hour++) {
      await day.go((hour * REQUESTS) / HOURS);
      samples.push(await day.sample());
    }
    const status = await day.status();
    const told = report(day, samples, status, performance.now() - started);
    process.stdout.write(told);
    expect(day.wrong, told).toBe(0);
    for (const memory of ['usedMib', 'residentMib'] as const)
      expect(growthOf(samples, memory), told).toBeLessThan(MOST_GROWTH);
    const open = samples.map(({ descriptors }) => descriptors);
    expect(median(secondHalf(open)), told).toBeLessThanOrEqual(Math.max(...open.slice(0, HOURS / 2)));
    expect(status.bytes, told).toBeLessThanOrEqual(MEMORY);
    expect(status.disk.bytes, told).toBeLessThanOrEqual(DISK);
    expect(bytesOnDisk(), told).toBeLessThan(DISK * 1.05);
  } finally {
    await day.close();
  }
});

/** How much more there is at the end of the day than at noon, as a share of it. */
function growthOf(samples: readonly Sample[], memory: 'usedMib' | 'residentMib'): number {
  const values = secondHalf(samples.map((sample) => sample[memory]));
  return (slopeOf(values) * values.length) / median(values);
}

function report(day: Day, samples: readonly Sample[], status: Status, milliseconds: number): string {
  const numbers = status as unknown as Readonly<Record<string, unknown>>;
  const names = ['hits', 'misses', 'revalidations', 'renewals', 'invalidations', 'evictions', 'collapsed'];
  const column = (of: (sample: Sample) => number): string => listed(samples.map(of));
  const grown = (memory: 'usedMib' | 'residentMib'): string => (100 * growthOf(samples, memory)).toFixed(1);
  return [
    `${day.asked} requests in 24 h of its clock, ${Math.round(milliseconds / 1000)} s of ours; ${day.left} clients left early`,
    names.map((name) => `${name} ${String(numbers[name])}`).join(', '),
    `resident MiB, hour by hour: ${column(({ residentMib }) => residentMib)}; ${grown('residentMib')} % in the second half`,
    `of which used: ${column(({ usedMib }) => usedMib)}; ${grown('usedMib')} % in the second half`,
    `descriptors: ${column(({ descriptors }) => descriptors)}`,
    `responses in memory: ${column(({ entries }) => entries)}`,
    `responses on disk: ${column(({ onDisk }) => onDisk)}; ${(bytesOnDisk() / MIB).toFixed(0)} MiB of ${DISK / MIB} MiB`,
    '',
  ].join('\n');
}
