/** What is generated from the compiled object, and what has to agree with it, does. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { builtFile, packageRoot } from '../host/paths.js';
import { dumpBtf, generateBindings } from '../scripts/btf-bindings.js';
import { CAPABILITY, TRANSFORM_CAPABILITIES } from '../tpot/option.js';
import { REASONS } from '../tpot/reasons.js';
import { TpotReason } from './generated/maps.js';
import { LAYOUT_VERSION, MAX_KEYS, POLICY_ROWS, reasonText } from './programs.js';

const read = (...path: string[]): string => readFileSync(join(packageRoot, ...path), 'utf8');

describe('bpf/generated/maps.ts', () => {
  it('is what the compiled object says: run `npm run generate` when this fails', () => {
    const generated = generateBindings(dumpBtf(builtFile('bpf', 'tpot.bpf.o')));
    expect(read('bpf', 'generated', 'maps.ts')).toBe(generated);
  });
});

describe('reason codes', () => {
  it('are the same in the programs and in the pure model', () => {
    const inPrograms = Object.entries(TpotReason)
      .filter(([name]) => name !== 'NONE' && name !== 'COUNT')
      .map(([, reason]) => reasonText(reason));
    expect(inPrograms.sort()).toEqual(Object.keys(REASONS).sort());
  });

  it('have a text for every number, known or not', () => {
    expect(reasonText(TpotReason.PASS_HOPS)).toBe('pass-hops');
    expect(reasonText(9999)).toBe('reason-9999');
  });
});

describe('constants that BTF does not carry', () => {
  it.each([
    ['TPOT_LAYOUT_VERSION', LAYOUT_VERSION],
    ['TPOT_POLICY_ROWS', POLICY_ROWS],
    ['TPOT_MAX_KEYS', MAX_KEYS],
    ['TPOT_CAPABILITY_TRACE', CAPABILITY.trace],
    ['TPOT_CAPABILITY_TRANSFORMS', TRANSFORM_CAPABILITIES],
  ])('%s', (name, value) => {
    const found = new RegExp(`^#define ${name} (\\w+)`, 'm').exec(read('bpf', 'tpot_consts.h'));
    expect(Number(found?.[1])).toBe(value);
  });
});
