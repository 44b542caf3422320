/**
 * One node for an address in a network namespace: two that announce the same one would each get the other's tunnels.
 *
 * A lock on a file, which the kernel lets go of with the process, however that ends; what is pinned by a node that has
 * gone is no obstacle.
 */
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatIp, type IpAddress } from '../core/address.js';
import { TpotError } from '../core/errors.js';
import { lockFile } from '../host/libc.js';
import { runtimeDirectory } from '../host/paths.js';

function refusal(address: string, holder: string): TpotError {
  const [name = '', pid = ''] = holder.split(' ');
  const who = name === '' ? 'another node' : `the node ${name} (process ${pid})`;
  const message = `${who} announces ${address} in this network namespace already`;
  const stop = name === '' ? 'Stop it' : `Stop it with \`tpot-node down --name ${name}\``;
  return new TpotError('address-in-use', message, {
    hint: `${stop}, give one of the two another address with --address, or a network namespace of its own.`,
  });
}

/**
 * Holds the addresses until the returned function is called, or this process ends.
 *
 * @throws TpotError `address-in-use` with the node that has one of them.
 */
export function lockAddresses(
  name: string,
  addresses: readonly IpAddress[],
  directory = runtimeDirectory,
): () => void {
  const namespace = statSync('/proc/self/ns/net').ino;
  const held: number[] = [];
  const release = (): void => held.splice(0).forEach(closeSync);
  mkdirSync(join(directory, 'addresses'), { recursive: true, mode: 0o755 });
  for (const address of addresses.map(formatIp)) {
    const file = join(directory, 'addresses', `${namespace}-${address}`);
    const fd = openSync(file, 'a', 0o644);
    held.push(fd);
    if (!lockFile(fd)) {
      release();
      throw refusal(address, readFileSync(file, 'utf8').trim());
    }
    writeFileSync(file, `${name} ${process.pid}\n`);
  }
  return release;
}
