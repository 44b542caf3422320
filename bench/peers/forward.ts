import { throughRoute, type Peer } from './peer.js';

/** The limit: the kernel routes the packets, and nothing of tpot-node is loaded. Every ratio is to this. */
export const forward: Peer = {
  name: 'forward',
  title: 'IP forwarding',
  packages: [],
  target: throughRoute,
};
