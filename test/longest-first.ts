/**
 * The order of the test files: the long ones of `net` start first, so that no long file runs alone at the end while the
 * other processor has nothing to do. Vitest knows durations only from an earlier run, and a fresh clone has none.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { packageRoot } from '../host/paths.js';

/** Files of test/ that take 8 s and more on two cores, the longest first. */
const LONGEST = [
  'data-path-ebpf',
  'fallback',
  'splice',
  'restart',
  'reject',
  'kernel',
  'labs',
  'clients',
  'transforms',
  'transfer',
  'return-tunnel',
  'splice-sizes',
  'shim',
  'trace',
  'doctor-path',
  'tunnel-path',
  'caching',
  'bench',
  'doctor',
  'transforms-tls',
  'udp-tunnel',
  'client-source',
  'ipv6',
  'refusal',
  'long-body',
  'sni',
  'topology',
  'ports-again',
].map((name) => join(packageRoot, 'test', `${name}.test.ts`));

export class LongestFirst extends BaseSequencer {
  /** @throws Error when a file that is listed here has gone or has another name. */
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const gone = LONGEST.filter((file) => !existsSync(file));
    if (gone.length > 0) throw new Error(`test/longest-first.ts lists what is not there: ${gone.join(', ')}`);
    const place = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.indexOf(moduleId);
      return at < 0 ? LONGEST.length : at;
    };
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    return (await super.sort(files)).sort((a, b) => group(a) - group(b) || place(a) - place(b));
  }
}
