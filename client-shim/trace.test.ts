import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { CAPABILITY } from '../tpot/option.js';
import type { ProbeAnswer } from './prober.js';
import { parseTarget } from './target.js';
import { trace } from './trace.js';

const base: ProbeAnswer = {
  asked: true,
  reason: 'reply-none',
  node: undefined,
  capabilities: 0,
  error: undefined,
  milliseconds: 1.5,
  localPort: 40_000,
};
const node = (address: string, capabilities: number = CAPABILITY.trace): ProbeAnswer => ({
  ...base,
  reason: 'reply-accepted',
  node: ip(address),
  capabilities,
});
const timeout: ProbeAnswer = { ...base, error: 'timeout', reason: 'none', milliseconds: undefined };

/** Answers in order; what was asked is noted. */
function path(...answers: ProbeAnswer[]) {
  const asked: [number, number | undefined][] = [];
  const ask = (hops: number, localPort: number | undefined): Promise<ProbeAnswer> => {
    asked.push([hops, localPort]);
    return Promise.resolve(answers[asked.length - 1] ?? base);
  };
  return { ask, asked };
}

describe('trace', () => {
  it('asks from one port until the destination answers', async () => {
    const { ask, asked } = path(node('198.18.1.1'), node('198.18.2.1'));
    expect(await trace(ask, 16)).toEqual({
      hops: [
        { hop: 1, address: '198.18.1.1', milliseconds: 1.5, capabilities: ['trace'] },
        { hop: 2, address: '198.18.2.1', milliseconds: 1.5, capabilities: ['trace'] },
      ],
      end: 'destination',
      milliseconds: 1.5,
      complete: true,
    });
    expect(asked).toEqual([
      [1, undefined],
      [2, 40_000],
      [3, 40_000],
    ]);
  });

  it('ends behind a node that does not know traces', async () => {
    const { ask, asked } = path(node('198.18.1.1'), node('198.18.2.1', 0x3fff));
    expect(await trace(ask, 16)).toMatchObject({
      hops: [{}, { capabilities: [] }],
      end: 'hidden',
      complete: false,
    });
    expect(asked).toHaveLength(2);
  });

  it('over IPv6 knows such a node by its second answer', async () => {
    const { ask } = path(node('2001:db8::1', 0), node('2001:db8::2', 0), node('2001:db8::2', 0));
    const found = await trace(ask, 16);
    expect(found).toMatchObject({ end: 'hidden', complete: false });
    expect(found.hops.map(({ address }) => address)).toEqual(['2001:db8::1', '2001:db8::2']);
  });

  it('asks again from another port before it gives up', async () => {
    const lucky = path(node('198.18.1.1'), timeout, node('198.18.2.1'));
    expect((await trace(lucky.ask, 2)).hops).toHaveLength(2);
    expect(lucky.asked).toEqual([
      [1, undefined],
      [2, 40_000],
      [2, undefined],
    ]);
    const refused = path(node('198.18.1.1'), { ...base, error: 'ECONNREFUSED' }, node('198.18.2.1'));
    expect((await trace(refused.ask, 2)).hops).toHaveLength(2);
    const silent = path(timeout);
    expect(await trace(silent.ask, 2)).toMatchObject({ hops: [], end: 'no-answer', milliseconds: null });
    expect(silent.asked).toHaveLength(1);
  });

  it('ends at the number asked for', async () => {
    const { ask } = path(node('198.18.1.1'), node('198.18.1.1'), node('198.18.1.1'));
    expect(await trace(ask, 2)).toMatchObject({ hops: [{}, {}], end: 'max', complete: false });
  });

  it.each<[string, boolean, Partial<ProbeAnswer>]>([
    ['refused', true, { error: 'ECONNREFUSED' }],
    ['unreachable', false, { error: 'EHOSTUNREACH' }],
    ['unreachable', false, { error: 'ENETUNREACH' }],
    ['no-answer', false, { error: 'ECONNRESET' }],
    ['request-lost', false, { reason: 'request-omitted-retries' }],
    ['reply-invalid', false, { reason: 'request-omitted-untrusted' }],
    ['reply-unkeyed', false, { reason: 'drop-reply-unkeyed' }],
    ['not-asked', false, { reason: 'request-no-space' }],
    ['keyed', false, { asked: false, reason: 'request-omitted-keyed' }],
    ['not-asked', false, { asked: false, error: 'ECONNREFUSED' }],
  ])('ends with %s', async (end, complete, answer) => {
    const { ask } = path({ ...base, ...answer });
    expect(await trace(ask, 16)).toMatchObject({ hops: [], end, complete });
  });
});

it.each([
  ['198.51.100.7', '198.51.100.7', 80],
  ['198.51.100.7:8080', '198.51.100.7', 8080],
  ['www.example.net:443', 'www.example.net', 443],
  ['2001:db8::7', '2001:db8::7', 80],
  ['[2001:db8::7]', '2001:db8::7', 80],
  ['[2001:db8::7]:22', '2001:db8::7', 22],
])('%s is a target', (text, host, port) => expect(parseTarget(text)).toEqual({ host, port }));

it.each(['', 'a b', 'host:0', 'host:65536', 'host:', ':80', '[192.0.2.1', '[nonsense]:80', '2001:db8::7:x'])(
  '%j is none',
  (text) => expect(parseTarget(text)).toBeUndefined(),
);
