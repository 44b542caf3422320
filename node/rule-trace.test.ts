import { describe, expect, it } from 'vitest';
import { parsePrefix } from '../core/address.js';
import type { Rule } from '../tpot/policy.js';
import type { Action } from './config.js';
import { traceRules } from './rule-trace.js';

const any = { sources: [], destinations: [], ports: [] };
const https = { ...any, ports: [{ from: 443, to: 443 }] };
const rules: Rule<Action>[] = [
  { ...https, serverNames: new Set(['www.example.net']), action: 'splice' },
  { ...https, serverNames: new Set(['*.example.net']), action: 'relay' },
  { ...any, sources: [parsePrefix('198.18.0.0/16')!], action: 'pass' },
  { ...any, ports: [{ from: 80, to: 80 }], action: 'cache' },
];
const ask = (to: string, sni?: string, from?: string): string[] =>
  traceRules(rules, { to, sni, from })
    .trimEnd()
    .split('\n')
    .map((line) => line.trim());

describe('what rules say of one connection', () => {
  it('by its SYN alone', () => {
    expect(ask('192.0.2.80:80')).toEqual([
      'A connection to 192.0.2.80:80 without a TLS server name:',
      'rule 4 decides at the SYN: cache',
    ]);
    expect(ask('[2001:db8::1]:22')[1]).toBe('no rule takes it: it passes untouched');
    expect(ask('192.0.2.80:80', undefined, '198.18.0.9')[1]).toBe('rule 3 decides at the SYN: pass');
  });

  it('by a name', () => {
    expect(ask('192.0.2.80:443', 'WWW.example.net')).toEqual([
      'A connection to 192.0.2.80:443 with the TLS server name www.example.net:',
      'rule 1 takes the SYN, and is decided by the name',
      'rule 1 decides: splice',
    ]);
    expect(ask('192.0.2.80:443', 'a.example.net').slice(2)).toEqual([
      'rule 1 is for other names',
      'rule 2 decides: relay',
    ]);
  });

  it('when it is too late to pass', () => {
    const late = 'and the connection has been taken: it is spliced (late-pass)';
    expect(ask('192.0.2.80:443').at(-1)).toBe(`no rule is left, ${late}`);
    expect(ask('192.0.2.80:443', 'b.example', '198.18.0.9').at(-1)).toBe(`rule 3 says pass, ${late}`);
  });

  it.each([
    [{ to: '192.0.2.80' }, '--to'],
    [{ to: '192.0.2.80:70000' }, '--to'],
    [{ to: 'www.example.net:443' }, '--to'],
    [{ to: '192.0.2.80:443', from: 'x' }, '--from'],
    [{ to: '192.0.2.80:443', from: '::1' }, 'families'],
    [{ to: '192.0.2.80:443', sni: '192.0.2.80' }, '--sni'],
  ])('not of %j', (question, message) => expect(() => traceRules(rules, question)).toThrow(message));
});
