/** The kernel that users of a fresh Debian 12 have, emulated: it loads, attaches and runs the programs. About 15 s. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tryCommand } from '../host/exec.js';
import { packageRoot } from '../host/paths.js';

/** The script says so when this machine cannot get the kernel or the emulator (no package mirror, not amd64). */
const UNAVAILABLE = 77;

test(
  'Linux 6.1 takes the programs (npm run test:kernel has the long form)',
  { timeout: 300_000 },
  async (context) => {
    const script = join(packageRoot, 'scripts', 'test-kernel.sh');
    const { code, stderr } = await tryCommand('sh', [script, '--short']);
    const last = stderr.trim().split('\n').at(-1) ?? '';
    context.skip(code === UNAVAILABLE, last);
    expect(stderr).toMatch(/guest: programs loaded/);
    expect(stderr).toMatch(/guest: attached: cgroup, clsact, clsact/);
    expect(stderr).toMatch(/guest: detached, and nothing stays/);
    expect(stderr).toMatch(/guest: a SYN was judged/);
    expect(code).toBe(0);
  },
);
