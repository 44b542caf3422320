/** What the kernel is told for a planned topology: lines for `ip -batch`, nftables rules, sysctls. All pure. */
import { linkBetween, viaOf, type PlannedLink, type Role, type RouteSpec } from './spec.js';

const FIRST_SPREAD_TABLE = 101;
const LOSS_STEPS = 10_000; // a hundredth of a percent

/** Kernel settings of a host by role. */
export function sysctls(role: Role, v6: boolean): Record<string, string | number> {
  const settings: Record<string, string | number> = {
    // A node answers with the destination's address and packets come back another way than they left (that is
    // what the labs are about), so the reverse-path filter would drop good packets.
    'net.ipv4.conf.all.rp_filter': 0,
    'net.ipv4.conf.default.rp_filter': 0,
  };
  if (v6) settings['net.ipv6.conf.default.accept_dad'] = 0;
  // Duplicate address detection and router solicitations would stand in every capture.
  else for (const scope of ['all', 'default']) settings[`net.ipv6.conf.${scope}.disable_ipv6`] = 1;
  if (role === 'node' || role === 'router') {
    settings['net.ipv4.ip_forward'] = 1;
    settings['net.ipv4.conf.all.send_redirects'] = 0;
    settings['net.ipv4.conf.default.send_redirects'] = 0;
    if (v6) settings['net.ipv6.conf.all.forwarding'] = 1;
  }
  return settings;
}

/** Each veth pair is made inside its two namespaces, so no name ever shows up in the machine's own. */
export function createLinks(links: readonly PlannedLink[], namespaceOf: (host: string) => string): string[] {
  return links.map(({ ends: [a, b] }) => {
    const left = `link add ${a.interface} netns ${namespaceOf(a.host)}`;
    return `${left} type veth peer name ${b.interface} netns ${namespaceOf(b.host)}`;
  });
}

/** Addresses, MTU and state of a host's interfaces. */
export function configureLinks(
  host: string,
  links: readonly PlannedLink[],
  loopback: readonly string[],
): string[] {
  const lines = ['link set lo up', ...loopback.map((address) => `addr add ${address} dev lo`)];
  for (const { spec, ends } of links) {
    const end = ends.find((candidate) => candidate.host === host);
    if (end === undefined) continue;
    lines.push(`addr add ${end.address}/${end.length} dev ${end.interface}`);
    if (end.v6 !== undefined) lines.push(`addr add ${end.v6}/64 dev ${end.interface} nodad`);
    if (spec.mtu !== undefined) lines.push(`link set ${end.interface} mtu ${spec.mtu}`);
    lines.push(`link set ${end.interface} up`);
  }
  return lines;
}

export function routeCommands(route: RouteSpec, links: readonly PlannedLink[]): string[] {
  const v6 = route.to.includes(':');
  const hops = viaOf(route).map((via) => {
    const { own, far } = linkBetween(links, route.host, via);
    return `via ${v6 ? (far.v6 ?? far.address) : far.address} dev ${own.interface}`;
  });
  const [first = ''] = hops;
  if (hops.length === 1) return [`route replace ${route.to} ${first}`];
  if (route.spread !== 'packet') {
    return [`route replace ${route.to} ${hops.map((hop) => `nexthop ${hop}`).join(' ')}`];
  }
  const tables = hops.flatMap((hop, index) => {
    const table = FIRST_SPREAD_TABLE + index;
    return [`rule add fwmark ${table} lookup ${table}`, `route replace ${route.to} ${hop} table ${table}`];
  });
  return [`route replace ${route.to} ${first}`, ...tables];
}

/**
 * Per-packet spreading. Linux has hashed flows over multipath routes since the routing cache went (3.6), so each
 * forwarded packet gets the next routing table's mark before it is routed.
 */
export function spreadRules(route: RouteSpec): string | undefined {
  const ways = viaOf(route).length;
  if (route.spread !== 'packet' || ways < 2) return undefined;
  const match = route.to === 'default' ? '' : `ip daddr ${route.to} `;
  return `table ip tpot_spread {
  chain spread {
    type filter hook prerouting priority mangle; policy accept;
    ${match}meta mark set numgen inc mod ${ways} offset ${FIRST_SPREAD_TABLE}
  }
}
`;
}

/** Undoes what {@link routeCommands} and {@link spreadRules} did for a per-packet route. */
export function unspreadCommands(route: RouteSpec): { readonly ip: string[]; readonly nft: string } {
  const tables = viaOf(route).map((_, index) => FIRST_SPREAD_TABLE + index);
  const ip = tables.flatMap((table) => [
    `rule del fwmark ${table} lookup ${table}`,
    `route flush table ${table}`,
  ]);
  return { ip, nft: 'delete table ip tpot_spread\n' };
}

/**
 * Loss, at the receiving end of each lossy link. The netdev hook comes after packet taps and tc: a capture there
 * shows packets that are then lost, and a tc program that redirects a packet elsewhere takes it past the hook.
 */
export function lossRules(host: string, links: readonly PlannedLink[]): string | undefined {
  const chains = links.flatMap(({ spec, ends }, index) => {
    const end = ends.find((candidate) => candidate.host === host);
    const steps = Math.round(((spec.loss ?? 0) / 100) * LOSS_STEPS);
    if (end === undefined || steps === 0) return [];
    return [
      `  chain loss${index} {
    type filter hook ingress device "${end.interface}" priority 0; policy accept;
    numgen random mod ${LOSS_STEPS} < ${steps} counter drop
  }`,
    ];
  });
  return chains.length === 0 ? undefined : `table netdev tpot_loss {\n${chains.join('\n')}\n}\n`;
}
