/** The cases of cache-conformance/, each through a service of its own on loopback, with time that is set. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../host/paths.js';
import { Harness, until, type Answer } from '../node/http/harness.props.js';
import type { Case, Step } from './cache-conformance/case.js';
import { CASES } from './cache-conformance/cases.js';

/** The fields of a step as they are sent now. */
function sent(headers: Step['headers'] = {}, now: number): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string') fields[name] = value;
    else fields[name] = 'date' in value ? new Date(now + value.date * 1000).toUTCString() : [...value];
  }
  return fields;
}

/** How the origin was asked. */
function how({ expect: expected, headers }: Step, request: IncomingMessage | undefined): Step['expect'] {
  if (request === undefined) return 'hit';
  const own = headers?.['If-None-Match'];
  const sent = request.headers['if-none-match'] ?? request.headers['if-modified-since'];
  // A client's own condition may be the very one that the node would send.
  if (own !== undefined && own === sent) return expected === 'hit' ? 'fetched' : expected;
  return sent === undefined ? 'fetched' : 'validated';
}

class Run {
  readonly h = new Harness();
  readonly asked: IncomingMessage[] = [];
  #step: Step | undefined;

  async run({ steps }: Case): Promise<void> {
    const front = await this.h.front(
      await this.h.origin((request, response) => this.#answer(request, response)),
    );
    for (const step of steps) await this.#play(front, step);
  }

  async #play(front: number, step: Step): Promise<void> {
    this.h.clock.advance((step.after ?? 0) * 1000);
    this.#step = step;
    const before = this.asked.length;
    const { method = 'GET', path = '/' } = step;
    const headers = sent(step.headers, this.h.clock.now());
    const content = method === 'GET' || method === 'HEAD' ? undefined : 'x';
    if (content !== undefined) headers['Content-Length'] = String(content.length);
    const options = content === undefined ? { method, headers } : { method, headers, body: content };
    const answer = await this.h.ask(front, path, options);
    // A hit with something to fetch is one that is renewed behind the answer.
    const renewal = step.expect === 'hit' && step.origin !== undefined;
    if (renewal) await until(() => this.asked.length > before && this.h.stat('inFlight') === 0);
    const request = this.asked[before];
    if (!renewal) expect(how(step, request)).toBe(step.expect);
    for (const [name, value] of Object.entries(step.asked ?? {})) {
      expect(request?.headers[name] ?? null).toBe(value);
    }
    this.#check(step, answer);
  }

  #check(step: Step, answer: Answer): void {
    expect(answer.status).toBe(step.status ?? 200);
    if (step.body !== undefined) expect(answer.body.toString()).toBe(step.body);
    for (const [name, expected] of Object.entries(step.fields ?? {})) {
      const value = answer.headers[name];
      const text = Array.isArray(value) ? value.join(', ') : value;
      if (expected === null) expect(text).toBeUndefined();
      else if (typeof expected === 'string') expect(text).toBe(expected);
      else expect(text).toMatch(expected);
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.asked.push(request);
    request.resume().once('end', () => this.#respond(request, response));
  }

  #respond(request: IncomingMessage, response: ServerResponse): void {
    const { status = 200, headers = {}, body = 'x', down = false } = this.#step?.origin ?? {};
    if (down) {
      request.socket.resetAndDestroy();
      return;
    }
    for (const [name, value] of Object.entries(sent(headers, this.h.clock.now())))
      response.setHeader(name, value);
    response.statusCode = status;
    response.end(status === 304 || request.method === 'HEAD' ? undefined : body);
  }
}

function grouped(): Map<string, Case[]> {
  const sections = new Map<string, Case[]>();
  for (const one of CASES) sections.set(one.section, [...(sections.get(one.section) ?? []), one]);
  return sections;
}

describe.each([...grouped()])('%s', (_section, cases) => {
  test.each(cases.map((one) => [one.behaviour, one] as const))('%s', async (_behaviour, one) => {
    const run = new Run();
    try {
      await run.run(one);
    } finally {
      await run.h.close();
    }
  });
});

test('docs/cache.md lists them all', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'cache.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| (?:RFC \d|No-Vary-Search )/.test(line));
  expect(rows).toEqual(
    CASES.map(({ section, behaviour }) => {
      const source = /^\d/.test(section) ? `RFC ${section.replace(' ', ', ')}` : section;
      return `| ${source} | ${behaviour} |`;
    }),
  );
});
