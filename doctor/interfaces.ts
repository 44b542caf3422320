/** Interfaces and addresses of this network namespace. */
import { prefixContains, formatIp, parsePrefix, type IpAddress } from '../core/address.js';
import { tryCommand } from '../host/exec.js';
import type { NetworkInterface } from '../host/interfaces.js';
import { globalAddresses } from '../node/addresses.js';
import { fail, ok, warn, type Check } from './check.js';

/** Of a tunnel in UDP: room for it is left always (docs/protocol.md, rule 9). */
const OUTER_4 = 28;
const INNER_4 = 40;
/** What every host must take: RFC 791 section 3.2, RFC 8200 section 5. Segments in tunnels fit whatever carries that. */
const MINIMUM = { 4: 576, 6: 1280 } as const;
const OFFLOADS = {
  tso: 'tcp-segmentation-offload',
  gso: 'generic-segmentation-offload',
  gro: 'generic-receive-offload',
} as const;
const LINK_LOCAL_V6 = parsePrefix('fe80::/10');

/** `text` is what `ethtool -k` prints; undefined when it could not be asked. */
function offloads(text: string | undefined): string {
  if (text === undefined) return 'offloads not known (ethtool is missing)';
  return Object.entries(OFFLOADS)
    .map(([short, long]) => `${short} ${new RegExp(`^${long}: (\\w+)`, 'm').exec(text)?.[1] ?? '?'}`)
    .join(', ');
}

const usesIpv6 = (addresses: readonly IpAddress[]): boolean =>
  addresses.some(
    (address) => address.family === 6 && !(LINK_LOCAL_V6 && prefixContains(LINK_LOCAL_V6, address)),
  );

export function checkInterface(link: NetworkInterface, ethtool: string | undefined): Check {
  const name = `interface:${link.name}`;
  const header = link.ethernet ? 'Ethernet' : 'no Ethernet header, which is handled';
  const room = link.mtu - OUTER_4 - INNER_4;
  const found = `${header}; MTU ${link.mtu}: ${room} bytes a segment in an IPv4 tunnel; ${offloads(ethtool)}`;
  const family = usesIpv6(link.addresses) ? 6 : 4;
  const needed = MINIMUM[family];
  if (link.mtu >= needed) return ok(name, found);
  const mend = `ip link set ${link.name} mtu ${needed} (or more), if the link can carry it`;
  return warn(name, `${found}; less than IPv${family} needs (${needed})`, mend);
}

export function checkOwnAddress(own: ReturnType<typeof globalAddresses>): Check {
  const found = [own[4], own[6]].flatMap((address) => (address === undefined ? [] : [formatIp(address)]));
  if (found.length > 0) return ok('own-address', found.join(', '));
  const mend = 'ip address add ADDRESS/LENGTH dev INTERFACE, or `address` in the configuration.';
  return fail('own-address', 'no interface has a global address: a node could announce none', mend);
}

async function ethtool(name: string): Promise<string | undefined> {
  try {
    const { code, stdout } = await tryCommand('ethtool', ['-k', name]);
    return code === 0 ? stdout : undefined;
  } catch {
    return undefined; // not installed
  }
}

/** `links` are all but loopback. */
export async function checkInterfaces(links: readonly NetworkInterface[]): Promise<Check[]> {
  const each = links.map(async (link) => checkInterface(link, await ethtool(link.name)));
  return [checkOwnAddress(globalAddresses(undefined)), ...(await Promise.all(each))];
}
