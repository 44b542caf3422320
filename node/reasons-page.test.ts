/** docs/reasons.md lists exactly the codes there are. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../host/paths.js';
import { RELAYED_REASONS } from '../splice/join.js';
import { REASONS } from '../tpot/reasons.js';
import { LEG_REASONS } from './data-path-ebpf.js';
import { LONG_BODY_REASONS } from './http/long-body.js';
import { LEG_FAILURES } from './session.js';
import { SNIFF_REASONS } from './sniff.js';

/** Codes that stand where they are used: `because('…')`, `#count('…')`, `counters['…']`, `reason: '…'`. */
const IN_PLACE = /(?:because\(|#count\()[^)]*?'([a-z-]+)'|counters\['([a-z-]+)'\]|\breason: '([a-z-]+)'/g;

/** The files of this folder; those of http/ decide nothing about connections. */
function sources(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => /(?<!\.test|\.props)\.ts$/.test(name));
  return names.map((name) => readFileSync(join(folder, name), 'utf8'));
}

it('the page lists every reason code once, and no other', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'reasons.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code);
  const inPlace = sources(join(packageRoot, 'node')).flatMap((text) =>
    [...text.matchAll(IN_PLACE)].map((match) => match[1] ?? match[2] ?? match[3]),
  );
  const codes = [
    ...Object.keys(REASONS),
    ...Object.values(LEG_REASONS),
    ...Object.values(LEG_FAILURES),
    ...Object.keys(SNIFF_REASONS),
    ...Object.keys(RELAYED_REASONS),
    ...Object.keys(LONG_BODY_REASONS),
    ...inPlace,
  ];
  expect(inPlace.length).toBeGreaterThan(5);
  expect([...listed].sort()).toEqual([...new Set(codes)].sort());
});
