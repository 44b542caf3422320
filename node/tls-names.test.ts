import { describe, expect, it } from 'vitest';
import { SplicedNames, tlsNames } from './tls-names.js';

describe('what a ClientHello asks for', () => {
  it('is shown whole', () => {
    const hello = { serverName: 'a.example', alpn: ['h2', 'http/1.1'] };
    expect(tlsNames(hello)).toEqual({ sni: 'a.example', alpn: ['h2', 'http/1.1'] });
  });

  it('is kept within bounds', () => {
    const alpn = ['h2', 'x'.repeat(200), 'http/1.1'];
    expect(tlsNames({ serverName: undefined, alpn })).toEqual({ sni: null, alpn: ['h2'] });
  });
});

describe('names of spliced connections', () => {
  const names = (sni: string) => ({ sni, alpn: [] });

  it('are those of the latest between two ends', () => {
    const known = new SplicedNames();
    known.set('c:1', 'd:443', names('a'));
    known.set('c:1', 'd:443', names('b'));
    expect(known.get('c:1', 'd:443')).toEqual(names('b'));
    known.set('c:1', 'd:443', undefined);
    expect(known.get('c:1', 'd:443')).toBeUndefined();
  });

  it('are forgotten oldest first', () => {
    const known = new SplicedNames(2);
    for (const port of [1, 2, 1, 3]) known.set(`c:${port}`, 'd:443', names('a'));
    expect([1, 2, 3].map((port) => known.get(`c:${port}`, 'd:443') !== undefined)).toEqual([
      true,
      false,
      true,
    ]);
  });
});
