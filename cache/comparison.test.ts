/**
 * The rules here beside those of `http-cache-semantics`, on what that package reads as the specification asks: lower-case
 * directives without quoted commas, well-formed dates. Where the two differ by intent, the inputs leave it out.
 */
import CachePolicy from 'http-cache-semantics';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { indexFields } from './fields.js';
import { judgeResponse } from './storable.js';

const NOW = Date.parse('Wed, 15 May 2024 12:00:00 GMT');

const seconds = fc.integer({ min: 1, max: 100_000 });
const directive = fc.oneof(
  seconds.map((value) => `max-age=${value}`),
  seconds.map((value) => `s-maxage=${value}`),
  fc.constantFrom('public', 'private', 'no-store', 'must-revalidate', 'x-unknown', 'x-unknown=1'),
);
const cacheControl = fc.uniqueArray(directive, {
  selector: (text) => text.split('=')[0] ?? '',
  minLength: 1,
  maxLength: 4,
});

it('agree on what may be stored, and for how long', () => {
  fc.assert(
    fc.property(cacheControl, fc.option(seconds), fc.boolean(), (directives, expires, credentials) => {
      const headers: Record<string, string> = {
        date: new Date(NOW).toUTCString(),
        'cache-control': directives.join(', '),
      };
      if (expires !== null) headers['expires'] = new Date(NOW + expires * 1000).toUTCString();
      const asked = credentials ? { authorization: 'Basic eA==' } : {};
      const theirs = new CachePolicy(
        { method: 'GET', url: '/', headers: asked },
        { status: 200, headers },
        { shared: true },
      );

      const [rawHeaders, raw] = [headers, asked].map((fields) => Object.entries(fields).flat());
      const request = {
        method: 'GET',
        target: '/',
        rawHeaders: raw ?? [],
        fields: indexFields(raw ?? []),
        hasBody: false,
      };
      const fields = indexFields(rawHeaders ?? []);
      const ours = judgeResponse(
        request,
        {
          status: 200,
          statusMessage: '',
          httpVersion: '1.1',
          rawHeaders: rawHeaders ?? [],
          fields,
          framing: 'length',
        },
        { requestedAt: NOW, receivedAt: NOW, receivedMonotonic: 0 },
        [],
      );
      const fresh = ours.storable ? ours.freshness.lifetime : 0;
      expect(fresh).toBe(theirs.storable() ? theirs.maxAge() : 0);
    }),
    { numRuns: 300 },
  );
});
