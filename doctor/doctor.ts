/**
 * Whether tpot-node can work on this machine, and towards one destination: everything it needs is really tried where
 * that disturbs nobody, and looked at otherwise. Changes nothing that outlives it.
 */
import { messageOf, TpotError } from '../core/errors.js';
import { listInterfaces } from '../host/interfaces.js';
import { unmountOwn } from '../host/mounts.js';
import { resolveTarget, type Target } from '../client-shim/target.js';
import type { Key } from '../tpot/key.js';
import { fail, warn, type Check } from './check.js';
import { checkFirewall } from './firewall.js';
import { checkInterfaces } from './interfaces.js';
import { checkKernel } from './kernel.js';
import { checkMounts } from './mounts.js';
import { checkSettings } from './settings.js';
import { checkToward } from './toward.js';

async function towards(target: Target, keys: readonly Key[], usable: boolean): Promise<Check[]> {
  if (!usable) return [warn('toward-connect', 'not tried: see what failed above', 'Mend that first.')];
  try {
    return await checkToward({ address: await resolveTarget(target), port: target.port }, keys);
  } catch (error) {
    const hint = error instanceof TpotError ? error.hint : undefined;
    return [fail('toward-connect', messageOf(error), hint ?? 'Check the destination.')];
  }
}

/** All checks, in the order in which they are worth reading; `keys` sign the request `toward`. */
export async function runDoctor(toward: Target | undefined, keys: readonly Key[]): Promise<Check[]> {
  try {
    return await allChecks(toward, keys);
  } finally {
    unmountOwn();
  }
}

async function allChecks(toward: Target | undefined, keys: readonly Key[]): Promise<Check[]> {
  const mounts = checkMounts(); // before the programs are tried, which need them
  const kernel = checkKernel();
  const links = listInterfaces().filter(({ loopback }) => !loopback);
  const checks = [
    ...kernel,
    ...mounts,
    ...checkSettings(links.map(({ name }) => name)),
    ...(await checkInterfaces(links)),
    await checkFirewall(),
  ];
  const usable = kernel.every(({ status }) => status !== 'fail');
  return toward === undefined ? checks : [...checks, ...(await towards(toward, keys, usable))];
}
