/**
 * Topologies as data: hosts, links, routes and what runs where.
 *
 * Everything here is pure: `planTopology` turns a declaration into names, addresses and `ip` batch lines, and
 * topology.ts carries them out.
 */
import { TpotError } from '../core/errors.js';

export type Role = 'client' | 'node' | 'router' | 'origin';

export interface HostSpec {
  /** Lower-case letters and digits, at most ten; becomes part of namespace and interface names. */
  readonly name: string;
  readonly role: Role;
  /** Further addresses of the host, put on its loopback interface, e.g. `192.0.2.1/32`. */
  readonly addresses?: readonly string[];
  /** Set last, so they override the defaults of the role. */
  readonly sysctls?: Readonly<Record<string, string | number>>;
}

export interface LinkSpec {
  /** Two host names; the order decides who gets which address. */
  readonly between: readonly [string, string];
  /** `address/length` of both ends. Default: `198.18.N.2/24` and `198.18.N.1/24` for the Nth link. */
  readonly addresses?: readonly [string, string];
  /** Adds `2001:db8:N::2/64` and `2001:db8:N::1/64`. Without it IPv6 stays off and out of captures. */
  readonly v6?: boolean;
  /** Percent of packets lost in each direction. */
  readonly loss?: number;
  readonly mtu?: number;
  /** Segmentation and checksum offloads of the veth pair; default true. Off: captures show real wire packets. */
  readonly offload?: boolean;
}

export interface RouteSpec {
  readonly host: string;
  /** `default` or a prefix. */
  readonly to: string;
  /** The neighbour's host name. Several: equal-cost routes. */
  readonly via: string | readonly string[];
  /** Several nexthops: `flow` lets the kernel hash flows (ECMP), `packet` sends one packet each way in turn. */
  readonly spread?: 'flow' | 'packet';
}

export interface NodeSpec {
  readonly host: string;
  /** The node's configuration file; `name` and `address` are filled in. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface TopologySpec {
  readonly hosts: readonly HostSpec[];
  readonly links: readonly LinkSpec[];
  readonly routes?: readonly RouteSpec[];
  readonly nodes?: readonly NodeSpec[];
}

/** One end of a link as planned. */
export interface Endpoint {
  readonly host: string;
  readonly interface: string;
  readonly address: string;
  readonly length: number;
  readonly v6: string | undefined;
}

export interface PlannedLink {
  readonly name: string;
  readonly spec: LinkSpec;
  readonly ends: readonly [Endpoint, Endpoint];
}

const HOST_NAME = /^[a-z][a-z0-9]{0,9}$/;
const MAX_INTERFACE_NAME = 15; // IFNAMSIZ counts the final zero
const MAX_AUTOMATIC_LINKS = 250;

function invalid(message: string): TpotError {
  return new TpotError('topology-invalid', message);
}

function interfaceNames(links: readonly LinkSpec[]): (readonly [string, string])[] {
  const used = new Set<string>();
  const pick = (host: string, peer: string): string => {
    let name = `to-${peer}`;
    for (let copy = 2; used.has(`${host}/${name}`); copy++) name = `to-${peer}${copy}`;
    if (name.length > MAX_INTERFACE_NAME) throw invalid(`interface name ${name} is too long`);
    used.add(`${host}/${name}`);
    return name;
  };
  return links.map(({ between: [a, b] }) => [pick(a, b), pick(b, a)]);
}

function splitAddress(text: string): { address: string; length: number } {
  const [address = '', length = ''] = text.split('/');
  if (!/^\d+$/.test(length)) throw invalid(`link address ${text} needs a prefix length`);
  return { address, length: Number(length) };
}

/** Gives every link its addresses and interface names; throws `topology-invalid` when the data does not add up. */
export function planLinks(spec: TopologySpec): PlannedLink[] {
  checkHosts(spec);
  if (spec.links.length > MAX_AUTOMATIC_LINKS) throw invalid(`more than ${MAX_AUTOMATIC_LINKS} links`);
  const interfaces = interfaceNames(spec.links);
  const planned = spec.links.map((link, index): PlannedLink => {
    const number = index + 1;
    const texts = link.addresses ?? [`198.18.${number}.2/24`, `198.18.${number}.1/24`];
    const end = (side: 0 | 1): Endpoint => ({
      host: link.between[side],
      interface: interfaces[index]?.[side] ?? '',
      ...splitAddress(texts[side]),
      v6: link.v6 === true ? `2001:db8:${number}::${2 - side}` : undefined,
    });
    return { name: link.between.join('-'), spec: link, ends: [end(0), end(1)] };
  });
  const addresses = planned.flatMap((link) => link.ends.map((end) => end.address));
  const twice = addresses.find((address, index) => addresses.indexOf(address) !== index);
  if (twice !== undefined) throw invalid(`address ${twice} is given twice`);
  return planned;
}

function checkHosts(spec: TopologySpec): void {
  const names = new Set<string>();
  for (const { name } of spec.hosts) {
    if (!HOST_NAME.test(name))
      throw invalid(`host name ${JSON.stringify(name)} must match ${HOST_NAME.source}`);
    if (names.has(name)) throw invalid(`host ${name} is declared twice`);
    names.add(name);
  }
  const mentioned = [
    ...spec.links.flatMap((link) => link.between),
    ...(spec.routes ?? []).flatMap((route) => [route.host, ...viaOf(route)]),
    ...(spec.nodes ?? []).map((node) => node.host),
  ];
  const unknown = mentioned.find((name) => !names.has(name));
  if (unknown !== undefined) throw invalid(`host ${unknown} is used but not declared`);
}

export function viaOf(route: RouteSpec): readonly string[] {
  return typeof route.via === 'string' ? [route.via] : route.via;
}

/** Both ends of the link between two hosts, `host` first. */
export function linkBetween(
  links: readonly PlannedLink[],
  host: string,
  peer: string,
): { readonly own: Endpoint; readonly far: Endpoint } {
  for (const { ends } of links) {
    for (const [own, far] of [ends, [ends[1], ends[0]] as const]) {
      if (own.host === host && far.host === peer) return { own, far };
    }
  }
  throw invalid(`${host} and ${peer} share no link`);
}
