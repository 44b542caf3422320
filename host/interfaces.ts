/** Interfaces and addresses of the current network namespace, as `ip -json` tells (sysfs shows another one's). */
import { commandSync } from './exec.js';
import { ip, type IpAddress } from '../core/address.js';

export interface NetworkInterface {
  readonly name: string;
  readonly index: number;
  readonly loopback: boolean;
  /** Whether frames start with an Ethernet header; tun, wireguard and ppp devices have none. */
  readonly ethernet: boolean;
  readonly mtu: number;
  readonly addresses: readonly IpAddress[];
}

interface IpAddrRow {
  readonly ifname?: string;
  readonly ifindex?: number;
  readonly link_type?: string;
  readonly mtu?: number;
  readonly addr_info?: readonly { readonly local?: string }[];
}

export function listInterfaces(): NetworkInterface[] {
  const rows = JSON.parse(commandSync('ip', ['-json', 'address', 'show'])) as IpAddrRow[];
  return rows
    .filter((row) => row.ifname !== undefined && row.ifindex !== undefined)
    .map((row) => ({
      name: row.ifname ?? '',
      index: row.ifindex ?? 0,
      loopback: row.link_type === 'loopback',
      ethernet: row.link_type === 'ether',
      mtu: row.mtu ?? 0,
      addresses: (row.addr_info ?? []).flatMap((info) => (info.local === undefined ? [] : [ip(info.local)])),
    }));
}
