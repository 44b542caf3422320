import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip, parsePrefix, type Family, type IpAddress, type Prefix } from '../core/address.js';
import {
  candidateRules,
  decideRule,
  flattenRules,
  rowsTake,
  type PolicySubject,
  type Rule,
} from './policy.js';

/** A small world, so that rules and connections meet often. */
const smallAddressOf = (family: Family): fc.Arbitrary<IpAddress> =>
  fc.integer({ min: 0, max: 7 }).map((low) => ip(family === 4 ? `198.18.0.${low}` : `2001:db8::${low}`));
const smallAddress = fc.oneof(smallAddressOf(4), smallAddressOf(6));
const prefix: fc.Arbitrary<Prefix> = fc
  .tuple(smallAddress, fc.constantFrom(0, 3, 2, 1, 32))
  .map(([address, bits]) => ({ address, length: Math.max(0, address.bytes.length * 8 - bits) }));
const port = fc.integer({ min: 78, max: 84 });
const range = fc.tuple(port, port).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) }));
const rule: fc.Arbitrary<Rule> = fc.record({
  sources: fc.array(prefix, { maxLength: 2 }),
  destinations: fc.array(prefix, { maxLength: 2 }),
  ports: fc.array(range, { maxLength: 2 }),
  action: fc.constantFrom('cache', 'relay', 'pass'),
});
const namedRule: fc.Arbitrary<Rule> = fc
  .tuple(rule, fc.subarray(['a.test', '*.test', 'b.test'], { minLength: 1 }))
  .map(([one, names]) => ({ ...one, action: 'relay', serverNames: new Set(names) }));
const rules = fc.array(fc.oneof(rule, namedRule), { maxLength: 5 });
/** Both ends of a connection are of one family. */
const subject: fc.Arbitrary<PolicySubject> = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) =>
    fc.record({ source: smallAddressOf(family), destination: smallAddressOf(family), destinationPort: port }),
  );

const anything: Rule = { sources: [], destinations: [], ports: [], action: 'relay' };
const prefixes = (...texts: string[]): Prefix[] => texts.map((text) => parsePrefix(text)!);
const connection = (source: string, destination: string, destinationPort: number): PolicySubject => ({
  source: ip(source),
  destination: ip(destination),
  destinationPort,
});

/** The rule that decides at the SYN. */
const matchRule = (list: readonly Rule[], connects: PolicySubject): Rule | undefined =>
  candidateRules(list, connects)[0];

describe('candidateRules', () => {
  it('takes the first rule that matches', () => {
    const web: Rule = {
      ...anything,
      ports: [
        { from: 80, to: 80 },
        { from: 8080, to: 8089 },
      ],
      action: 'cache',
    };
    const list = [web, anything];
    expect(matchRule(list, connection('198.18.0.1', '198.18.0.2', 8085))).toBe(web);
    expect(matchRule(list, connection('198.18.0.1', '198.18.0.2', 22))).toBe(anything);
    expect(matchRule([], connection('198.18.0.1', '198.18.0.2', 22))).toBeUndefined();
  });

  it('wants every part of a rule to hold, by any of its entries', () => {
    const one: Rule = {
      sources: prefixes('198.18.0.0/24', '2001:db8::/32'),
      destinations: prefixes('192.0.2.7'),
      ports: [{ from: 443, to: 443 }],
      action: 'relay',
    };
    expect(matchRule([one], connection('198.18.0.9', '192.0.2.7', 443))).toBe(one);
    expect(matchRule([one], connection('198.18.1.9', '192.0.2.7', 443))).toBeUndefined();
    expect(matchRule([one], connection('198.18.0.9', '192.0.2.8', 443))).toBeUndefined();
    expect(matchRule([one], connection('198.18.0.9', '192.0.2.7', 80))).toBeUndefined();
  });
});

describe('decideRule', () => {
  const www: Rule = { ...anything, serverNames: new Set(['www.example.net']), action: 'splice' };
  const below: Rule = { ...anything, serverNames: new Set(['*.example.net']), action: 'cache' };
  const list = [www, below, anything];
  const candidates = candidateRules(list, connection('198.18.0.1', '198.18.0.2', 443));

  it.each([
    ['www.example.net', www],
    ['a.example.net', below],
    ['example.net', anything],
    [undefined, anything],
  ])('the name %s', (name, decided) => expect(decideRule(candidates, name)).toBe(decided));

  it('may find none', () => expect(decideRule([www], undefined)).toBeUndefined());

  it('leaves out what stands behind a rule without names', () => {
    expect(candidateRules([anything, www], connection('198.18.0.1', '198.18.0.2', 443))).toEqual([anything]);
  });

  it('finds what the whole list says', () => {
    fc.assert(
      fc.property(
        rules,
        subject,
        fc.constantFrom('a.test', 'b.test', 'c', undefined),
        (all, connects, name) => {
          const one = (each: Rule): boolean =>
            candidateRules([each], connects).length > 0 && decideRule([each], name) !== undefined;
          expect(decideRule(candidateRules(all, connects), name)).toBe(all.find(one));
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('flattenRules', () => {
  it('takes exactly what the rules take', () => {
    fc.assert(
      fc.property(rules, subject, (list, connects) => {
        const action = matchRule(list, connects)?.action;
        expect(rowsTake(flattenRules(list), connects)).toBe(action !== undefined && action !== 'pass');
      }),
      { numRuns: 2000 },
    );
  });

  it('makes a row for every combination that a packet can have', () => {
    const mixed: Rule = {
      sources: prefixes('198.18.0.0/15', '2001:db8::/32'),
      destinations: prefixes('192.0.2.0/24', '2001:db8:1::/48'),
      ports: [
        { from: 80, to: 80 },
        { from: 443, to: 443 },
      ],
      action: 'pass',
    };
    const rows = flattenRules([mixed, anything]);
    expect(rows).toHaveLength(5);
    expect(rows.at(-1)).toEqual({
      source: undefined,
      destination: undefined,
      portFrom: 0,
      portTo: 0xffff,
      take: true,
    });
    expect(rows.every((row) => row.source?.address.family === row.destination?.address.family)).toBe(true);
  });
});
