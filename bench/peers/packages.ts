/** The peers' Debian packages, installed when missing, without starting the services that they bring. */
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { TpotError } from '../../core/errors.js';
import { command, tryCommand } from '../../host/exec.js';

/** Debian policy, `invoke-rc.d`: asked before a package starts its service; 101 forbids it. */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d';
const FORBID = '#!/bin/sh\nexit 101\n';

async function isInstalled(name: string): Promise<boolean> {
  const { stdout, code } = await tryCommand('dpkg-query', ['-W', '-f=${Status}', name]);
  return code === 0 && stdout.includes('ok installed');
}

async function withoutServices(install: () => Promise<unknown>): Promise<void> {
  const ours = !existsSync(SERVICE_POLICY);
  if (ours) {
    writeFileSync(SERVICE_POLICY, FORBID);
    chmodSync(SERVICE_POLICY, 0o755);
  }
  try {
    await install();
  } finally {
    if (ours) rmSync(SERVICE_POLICY, { force: true });
  }
}

/**
 * Installs what is missing of the packages.
 *
 * @throws TpotError `packages-missing` when apt cannot.
 */
export async function ensurePackages(
  names: readonly string[],
  progress: (text: string) => void,
): Promise<void> {
  const present = await Promise.all(names.map(isInstalled));
  const missing = names.filter((_, index) => !present[index]);
  if (missing.length === 0) return;
  progress(`installing ${missing.join(', ')}`);
  const run = (args: readonly string[]): Promise<string> =>
    command('env', ['DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...args]);
  try {
    await withoutServices(async () => {
      await run(['update']);
      await run(['install', '-y', '--no-install-recommends', ...missing]);
    });
  } catch (cause) {
    throw new TpotError('packages-missing', `cannot install ${missing.join(', ')}`, {
      hint: `Install them by hand: apt-get install ${missing.join(' ')}`,
      cause,
    });
  }
}
