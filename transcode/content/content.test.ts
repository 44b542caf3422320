import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { commandTransform } from './command.js';
import { transformedFields, untouchable, type Exchange } from './eligible.js';
import { IMAGE_DEFAULTS, imageTransform } from './images.js';
import { ContentPipelines } from './pipeline.js';
import { minifyJson, minifyTransform } from './text.js';
import type { ContentTransform } from './transform.js';

function exchange(response: Record<string, string>, request: Record<string, string> = {}): Exchange {
  const fields = (of: Record<string, string>) =>
    new Map(Object.entries(of).map(([name, value]) => [name, [value]]));
  return { method: 'GET', status: 200, requestFields: fields(request), responseFields: fields(response) };
}

const limits = { largest: 1024 * 1024, atOnce: 4, timeout: 20_000 };
const signal = new AbortController().signal;

describe('what stays as it is (RFC 9110 section 7.7)', () => {
  it.each([
    ['not-a-get', { ...exchange({}), method: 'POST' }],
    ['not-complete', { ...exchange({}), status: 206 }],
    ['no-transform', exchange({ 'cache-control': 'max-age=5, No-Transform' })],
    ['no-transform', exchange({}, { 'cache-control': 'no-transform' })],
    ['range', exchange({}, { range: 'bytes=0-1' })],
    ['encoded', exchange({ 'content-encoding': 'gzip' })],
    ['signed', exchange({ 'repr-digest': 'sha-256=:AA==:' })],
    [undefined, exchange({ 'content-encoding': 'identity', 'cache-control': 'max-age=5' })],
  ])('%s', (why, what) => {
    expect(untouchable(what)).toBe(why);
  });
});

describe('the fields of a transformed response', () => {
  it('have a weak validator, no ranges, and name what they depend on', () => {
    const before = exchange({
      etag: '"a"',
      vary: 'Cookie',
      'content-length': '9',
      'content-type': 'image/png',
      x: 'y',
    });
    const after = transformedFields(before.responseFields, {
      length: 5,
      contentType: 'image/webp',
      vary: ['Accept'],
    });
    expect(Object.fromEntries(after)).toEqual({
      etag: ['W/"a"'],
      vary: ['Cookie, Accept'],
      'content-length': ['5'],
      'content-type': ['image/webp'],
      'accept-ranges': ['none'],
      x: ['y'],
    });
  });

  it('keep a weak validator, and a Vary of *', () => {
    const before = exchange({ etag: 'W/"a"', vary: '*' });
    const after = transformedFields(before.responseFields, {
      length: 5,
      contentType: undefined,
      vary: ['Accept'],
    });
    expect(after.get('etag')).toEqual(['W/"a"']);
    expect(after.get('vary')).toEqual(['*']);
  });
});

describe('images', () => {
  const transform = imageTransform({ ...IMAGE_DEFAULTS, maxWidth: 200, maxHeight: 200 });
  const picture = async (): Promise<Buffer> =>
    sharp({ create: { width: 800, height: 600, channels: 3, background: '#336699' } })
      .png()
      .toBuffer();

  it.each([
    ['image/avif,image/webp,*/*', 'heif'],
    ['image/webp,*/*;q=0.8', 'webp'],
    ['image/webp;q=0, */*', 'jpeg'],
    ['*/*', 'jpeg'],
  ])('for Accept: %s become %s, and fit', async (accept, format) => {
    const made = await transform.transform(
      await picture(),
      { mediaType: 'image/png', accept, uri: '' },
      signal,
    );
    const { width, height, format: found } = await sharp(made?.content).metadata();
    expect({ width, height, found }).toEqual({ width: 200, height: 150, found: format });
  });

  it('with transparency stay PNG for a client that takes nothing else', async () => {
    const source = sharp({
      create: { width: 300, height: 300, channels: 4, background: { r: 1, g: 2, b: 3, alpha: 0.5 } },
    });
    const subject = { mediaType: 'image/png', accept: '*/*', uri: '' };
    const made = await transform.transform(await source.png().toBuffer(), subject, signal);
    expect(made?.mediaType).toBe('image/png');
  });

  it('that are no images are left alone, and counted', async () => {
    const pipelines = new ContentPipelines(limits);
    const what = exchange({ 'content-type': 'image/png' });
    expect(await pipelines.apply([transform], what, Buffer.from('no picture'), '')).toBeUndefined();
    expect(pipelines.untouched.get('failed')).toBe(1);
  });
});

describe('minify', () => {
  it('changes no JSON value', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 1, '\t'), (text, indent) => {
        const value: unknown = JSON.parse(text);
        const minified = minifyJson(JSON.stringify(value, null, indent));
        expect(minified).toBe(JSON.stringify(value));
      }),
    );
    expect(minifyJson('{ "a" : 12345678901234567890.10, "a b" : "x \\" y" }')).toBe(
      '{"a":12345678901234567890.10,"a b":"x \\" y"}',
    );
  });

  it.each([
    ['text/css', 'a { color : red ; }\n', 'a{color:red}\n'],
    [
      'text/javascript',
      'var a = 1; /* c */\nfunction  f ( b ) { return b }\n',
      'var a=1;function f(b){return b}\n',
    ],
  ])('%s', async (mediaType, before, after) => {
    const made = await minifyTransform.transform(
      Buffer.from(before),
      { mediaType, accept: '', uri: '' },
      signal,
    );
    expect(made?.content.toString()).toBe(after);
  });
});

describe('a pipeline', () => {
  const upper: ContentTransform = commandTransform({
    name: 'upper',
    command: ['tr', '-d', 'a-z'],
    types: ['text/*'],
    mediaType: undefined,
    largest: 1000,
  });

  it('applies a command, and says what it did', async () => {
    const pipelines = new ContentPipelines(limits);
    const what = exchange({ 'content-type': 'text/plain; charset=utf-8', etag: '"1"' });
    const chosen = pipelines.select([upper, minifyTransform], what, 10);
    expect(chosen).toEqual([upper]);
    const result = await pipelines.apply(chosen, what, Buffer.from('AbCd'), 'http://192.0.2.1/');
    expect(result?.content.toString()).toBe('AC');
    expect(result?.by).toEqual(['upper']);
    expect(result?.fields.get('content-type')).toEqual(['text/plain; charset=utf-8']);
    expect(pipelines.stats.get('upper')).toMatchObject({ responses: 1, bytesIn: 4, bytesOut: 2 });
  });

  it.each([
    ['too large', 'size', 2 * limits.largest],
    ['of another type', 'type', 5],
  ])('passes what is %s', (_what, why, length) => {
    const pipelines = new ContentPipelines(limits);
    const type = why === 'type' ? 'image/gif' : 'text/plain';
    expect(pipelines.select([upper], exchange({ 'content-type': type }), length)).toEqual([]);
    expect([...pipelines.untouched]).toEqual([[why, 1]]);
  });

  it('gives up a transform that takes too long or says too much', async () => {
    const command = (args: [string, ...string[]], largest: number) =>
      commandTransform({ name: 'x', command: args, types: ['*/*'], mediaType: undefined, largest });
    const slow = new ContentPipelines({ ...limits, timeout: 50 });
    const what = exchange({ 'content-type': 'text/plain' });
    expect(await slow.apply([command(['sleep', '100'], 10)], what, Buffer.from('x'), '')).toBeUndefined();
    expect(await slow.apply([command(['yes'], 1000)], what, Buffer.alloc(10_000), '')).toBeUndefined();
    expect(slow.untouched.get('failed')).toBe(2);
  });

  it('passes what comes while it is busy', async () => {
    const pipelines = new ContentPipelines({ ...limits, atOnce: 1 });
    const what = exchange({ 'content-type': 'text/plain' });
    const working = pipelines.apply([upper], what, Buffer.from('AbCd'), '');
    expect(pipelines.select([upper], what, 4)).toEqual([]);
    await working;
    expect(pipelines.select([upper], what, 4)).toEqual([upper]);
    expect(pipelines.untouched.get('busy')).toBe(1);
  });
});
