import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexFields } from '../cache/fields.js';
import { evaluateConditions, strongTag } from '../cache/validation.js';
import {
  headersOfUnknown,
  mediaTypeOf,
  transformedHeaders,
  transformedTag,
  untouchable,
} from './eligible.js';

const exchange = (response: string[], request: string[] = [], status = 200, method = 'GET') => ({
  method,
  status,
  request: indexFields(request),
  response: indexFields(response),
});

describe('what stays as it is (RFC 9110 section 7.7)', () => {
  it.each([
    ['method', exchange([], [], 200, 'POST')],
    ['status', exchange([], [], 206)],
    ['status', exchange([], [], 404)],
    ['no-transform', exchange(['Cache-Control', 'max-age=5, No-Transform'])],
    ['no-transform', exchange(['Cache-Control', 'max-age=5', 'Cache-Control', 'no-transform'])],
    ['no-transform', exchange(['Cache-Control', 'x="never ends, no-transform'])],
    ['no-transform', exchange([], ['Cache-Control', 'no-transform'])],
    ['range', exchange([], ['Range', 'bytes=0-1'])],
    ['encoded', exchange(['Content-Encoding', 'compress'])],
    ['encoded', exchange(['Content-Encoding', 'gzip', 'Content-Encoding', 'br'])],
    [undefined, exchange(['Content-Encoding', 'gzip'])],
    ['signed', exchange(['Repr-Digest', 'sha-256=:AA==:'])],
    ['signed', exchange(['Content-MD5', 'AA=='])],
    ['signed', exchange([], ['Sec-Fetch-Mode', 'cors', 'Sec-Fetch-Dest', 'style'])],
    ['framing', exchange(['Trailer', 'Repr-Digest'])],
    ['attachment', exchange(['Content-Disposition', 'Attachment; filename=x'])],
    ['transformed', exchange(['Cache-Status', 'p2; hit; ttl=4; detail=transformed'])],
    [undefined, exchange(['Content-Encoding', 'identity', 'Cache-Control', 'x="no-transform"'])],
    [undefined, exchange(['Set-Cookie', 'a=b', 'Cache-Control', 'private'], ['Sec-Fetch-Mode', 'no-cors'])],
  ])('%s', (why, what) => {
    expect(untouchable(what)).toBe(why);
  });

  it('no-transform counts among any other directives, in any case, in either message', () => {
    const directive = fc.stringMatching(/^[a-z-]{1,9}(=[0-9]{1,3}|="[^"\\]{0,9}")?$/);
    const spelled = fc.constantFrom('no-transform', 'No-Transform', 'NO-TRANSFORM');
    fc.assert(
      fc.property(fc.array(directive), spelled, fc.array(directive), fc.boolean(), (a, word, b, asked) => {
        const field = ['Cache-Control', [...a, word, ...b].join(', ')];
        expect(untouchable(asked ? exchange([], field) : exchange(field))).toBe('no-transform');
      }),
    );
  });
});

describe('the header section of a transformed response', () => {
  const change = {
    length: 5,
    mediaType: 'image/webp',
    coding: undefined,
    vary: ['accept', 'accept-language'],
    tag: 'TAG',
  };

  it('has a weak tag of its own, no ranges, and names what it depends on', () => {
    const raw = [
      'X',
      'y',
      'ETag',
      '"a"',
      'Vary',
      'Cookie, accept',
      'Content-Length',
      '9',
      'Content-Type',
      'image/png',
    ];
    raw.push('Last-Modified', 'Sat, 21 Nov 2026 12:00:00 GMT', 'Accept-Ranges', 'bytes', 'Set-Cookie', 'a=b');
    expect(transformedHeaders(raw, indexFields(raw), change)).toEqual([
      ...[
        'X',
        'y',
        'Set-Cookie',
        'a=b',
        'Content-Type',
        'image/webp',
        'ETag',
        'W/"a-TAG"',
        'Accept-Ranges',
        'none',
      ],
      ...['Vary', 'Cookie, accept, Accept-Language', 'Content-Length', '5'],
    ]);
    expect(headersOfUnknown(raw, indexFields(raw), ['accept'])).toEqual([
      ...['X', 'y', 'Content-Type', 'image/png', 'Set-Cookie', 'a=b', 'Vary', 'Cookie, accept'],
    ]);
  });

  it('names the coding that the content has now', () => {
    const raw = ['Content-Encoding', 'gzip', 'Content-Type', 'text/html', 'ETag', '"a"'];
    const section = (coding: 'br' | 'identity'): string[] =>
      transformedHeaders(raw, indexFields(raw), {
        ...{ length: 5, mediaType: undefined, tag: 'TAG' },
        coding,
        vary: ['accept-encoding'],
      });
    const rest = ['ETag', 'W/"a-TAG"', 'Accept-Ranges', 'none', 'Vary', 'Accept-Encoding'];
    const length = ['Content-Length', '5'];
    expect(section('br')).toEqual([
      ...['Content-Type', 'text/html', 'Content-Encoding', 'br'],
      ...[...rest, ...length],
    ]);
    expect(section('identity')).toEqual(['Content-Type', 'text/html', ...rest, ...length]);
    expect(headersOfUnknown(raw, indexFields(raw), ['accept-encoding'])).toEqual([
      ...['Content-Type', 'text/html', 'Vary', 'Accept-Encoding'],
    ]);
  });

  it('keeps the media type with its parameters when that stays, and a Vary of *', () => {
    const raw = ['Content-Type', 'text/html; charset=utf-8', 'Vary', '*'];
    const headers = transformedHeaders(raw, indexFields(raw), { ...change, mediaType: undefined });
    expect(headers).toEqual([
      ...['Content-Type', 'text/html; charset=utf-8', 'ETag', 'W/"TAG"', 'Accept-Ranges', 'none'],
      ...['Vary', '*', 'Content-Length', '5'],
    ]);
  });

  it('has a tag that is weak, and matches neither the original nor another transform', () => {
    const opaque = fc.stringMatching(/^[!#-~]{0,20}$/);
    const tag = fc.stringMatching(/^[\w-]{16}$/);
    fc.assert(
      fc.property(opaque, fc.boolean(), tag, tag, (text, weak, one, other) => {
        fc.pre(one !== other);
        const original = indexFields(['ETag', `${weak ? 'W/' : ''}"${text}"`]);
        const made = transformedTag(original, one);
        const fields = indexFields(['ETag', made]);
        const asks = (value: string) =>
          evaluateConditions(indexFields(['If-None-Match', value]), fields, Infinity, 0);
        expect(strongTag(fields)).toBeUndefined();
        expect(asks(made)).toBe('not-modified');
        expect(asks(`"0", ${made.slice(2)}`)).toBe('not-modified');
        expect(asks(`"${text}"`)).toBe('full');
        expect(asks(transformedTag(original, other))).toBe('full');
      }),
    );
  });

  it('of no single media type is of none', () => {
    expect(mediaTypeOf(indexFields(['Content-Type', 'Text/HTML; Charset="UTF-8"']))).toEqual({
      mediaType: 'text/html',
      charset: 'utf-8',
    });
    expect(mediaTypeOf(indexFields(['Content-Type', 'a/b', 'Content-Type', 'c/d'])).mediaType).toBe('');
  });
});
