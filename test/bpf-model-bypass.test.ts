/** Bypass lists: the kernel's look-up of the most specific prefix against the list itself, in both banks. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ip, type Family, type Prefix } from '../core/address.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { defaultConfig } from '../bpf/programs.js';
import { bypassPrefixes, kernelRow } from '../node/kernel-policy.js';
import { bypasses, type BypassEntry } from '../tpot/bypass.js';
import { flattenRules } from '../tpot/policy.js';
import { buildTcp } from '../wire/build.js';
import { frameOf, ProgramsUnderTest } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({
    ...defaultConfig(),
    flags: TpotFlag.NODE | TpotFlag.EDGE,
    maxConnections: 10,
  });
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

const rows = flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' }]).map(kernelRow);
const family = fc.constantFrom<Family>(4, 6);
const address = (of: Family) =>
  fc.integer({ min: 1, max: 6 }).map((low) => ip(of === 4 ? `198.18.0.${low}` : `2001:db8::${low}`));
const entry: fc.Arbitrary<BypassEntry> = family.chain((of) =>
  fc.record({
    side: fc.constantFrom('source' as const, 'destination' as const),
    prefix: fc.record({ address: address(of), length: fc.integer({ min: 0, max: of === 4 ? 32 : 128 }) }),
    ports: fc
      .tuple(fc.integer({ min: 78, max: 84 }), fc.nat(2))
      .map(([from, more]) => ({ from, to: from + more })),
  }),
);
const syn = family.chain((of) =>
  fc.record({
    source: address(of),
    destination: address(of),
    destinationPort: fc.integer({ min: 78, max: 84 }),
  }),
);

it('a SYN passes by exactly if an entry names it, whatever list was there before', () => {
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 8 }),
      fc.array(syn, { minLength: 1, maxLength: 8 }),
      (list, syns) => {
        kernel.programs.setPolicy(rows, bypassPrefixes(list));
        for (const subject of syns) {
          const packet = buildTcp({ ...subject, sourcePort: 40_000, flags: ['syn'] });
          // Nobody listens here: what is not bypassed gets as far as that.
          const reason = bypasses(list, subject) ? 'pass-bypass' : 'pass-no-listener';
          kernel.expect('tpot_ingress', frameOf(packet, subject.source.family), {
            verdict: 'untouched',
            reason,
          });
        }
      },
    ),
  );
});

it('a list that the table cannot hold changes nothing', () => {
  kernel.programs.setPolicy(rows, []);
  const [one] = bypassPrefixes([
    { side: 'source', prefix: { address: ip('198.18.0.0'), length: 16 }, ports: { from: 0, to: 65_535 } },
  ]);
  if (one === undefined) throw new Error('no entry');
  expect(() => kernel.programs.setPolicy(rows, [one, { ...one, length: 200 }])).toThrow();
  const packet = buildTcp({
    source: ip('198.18.0.1'),
    destination: ip('192.0.2.1'),
    sourcePort: 40_000,
    destinationPort: 80,
    flags: ['syn'],
  });
  kernel.expect('tpot_ingress', frameOf(packet, 4), { verdict: 'untouched', reason: 'pass-no-listener' });
});

it('nor does it change the keys and the trust that came with it', () => {
  const { programs } = kernel;
  const prefix = (text: string, length: number): Prefix => ({ address: ip(text), length });
  const [one] = bypassPrefixes([
    { side: 'source', prefix: prefix('198.18.0.0', 16), ports: { from: 0, to: 65_535 } },
  ]);
  if (one === undefined) throw new Error('no entry');
  const rules = { rows, bypass: [], keys: [{ k0: 1n, k1: 2n }], trust: [prefix('198.18.0.0', 15)] };
  programs.reconfigure(rules, {});
  const inForce = (): unknown => ({
    config: { ...programs.config },
    trust: [...programs.map('tpotTrust').keys()],
    keys: [...programs.map('tpotKeys').entries()].filter(([, { k0 }]) => k0 === 1n),
  });
  const before = inForce();
  const changed = {
    ...rules,
    bypass: [{ ...one, length: 200 }],
    keys: [{ k0: 3n, k1: 4n }],
    trust: [prefix('203.0.113.0', 24)],
  };
  expect(() => programs.reconfigure(changed, { maxConnections: 1 })).toThrow();
  expect(inForce()).toEqual(before);
  programs.reconfigure({ ...changed, bypass: [] }, { maxConnections: 1 });
  expect(inForce()).not.toEqual(before);
});
