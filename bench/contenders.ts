/** Who is measured: a peer, and how the client's packets reach it. */
import { TpotError } from '../core/errors.js';
import type { Topology } from '../netns/topology.js';
import { dante } from './peers/dante.js';
import { forward } from './peers/forward.js';
import { haproxy, haproxySplice } from './peers/haproxy.js';
import { nginx } from './peers/nginx.js';
import { ensurePackages } from './peers/packages.js';
import type { Peer } from './peers/peer.js';
import { relay, splice } from './peers/tpot.js';
import { Site, type Leg, type SiteOptions } from './site.js';

export interface Contender {
  readonly name: string;
  readonly title: string;
  readonly peer: Peer;
  readonly leg: Leg;
}

/** The name of the baseline. */
export const BASELINE = forward.name;

function bothLegs(peer: Peer | undefined): Contender[] {
  if (peer === undefined) return [];
  return [
    { name: `${peer.name}-tunnelled`, title: `${peer.title}, tunnelled`, peer, leg: 'tunnelled' },
    { name: `${peer.name}-edge`, title: `${peer.title}, edge`, peer, leg: 'plain' },
  ];
}

function plain(peer: Peer): Contender {
  return { name: peer.name, title: peer.title, peer, leg: 'plain' };
}

/** All there are in this build, the baseline first. */
export const contenders: readonly Contender[] = [
  plain(forward),
  ...bothLegs(splice),
  ...bothLegs(relay),
  ...[haproxy, haproxySplice, nginx, dante].map(plain),
];

/** Those named, and always the baseline; all when no name is given. */
export function chooseContenders(names: readonly string[] | undefined): readonly Contender[] {
  if (names === undefined) return contenders;
  const known = contenders.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new TpotError('bench-unknown', `there is no contender ${unknown}`, {
      hint: `There are ${known.join(', ')}.`,
    });
  }
  return contenders.filter(({ name }) => name === BASELINE || names.includes(name));
}

/** The networks of all contenders, standing; closed together. */
export class Sites {
  readonly #sites: ReadonlyMap<string, Site>;

  private constructor(sites: ReadonlyMap<string, Site>) {
    this.#sites = sites;
  }

  static async open(
    chosen: readonly Contender[],
    progress: (text: string) => void,
    options: SiteOptions = {},
  ): Promise<Sites> {
    await ensurePackages([...new Set(chosen.flatMap(({ peer }) => peer.packages))], progress);
    const sites = new Map<string, Site>();
    const all = new Sites(sites);
    try {
      for (const { peer } of chosen) {
        if (sites.has(peer.name)) continue;
        progress(`starting ${peer.title}`);
        sites.set(peer.name, await Site.open(peer, options));
      }
      return all;
    } catch (error) {
      await all.close();
      throw error;
    }
  }

  of(contender: Contender): Site {
    const site = this.#sites.get(contender.peer.name);
    if (site === undefined) throw new TpotError('bench-unknown', `${contender.name} has no network`);
    return site;
  }

  topologies(): readonly Topology[] {
    return [...this.#sites.values()].map(({ topology }) => topology);
  }

  async close(): Promise<void> {
    for (const site of this.#sites.values()) await site.close();
  }
}
