import { checkShape } from '../../node/config-schema.js';
import { throughRoute, type Peer } from './peer.js';

/** Takes clients that ask for a node, and as a transparent proxy those that do not. */
function nodePeer(action: string, title: string): Peer {
  return {
    name: action,
    title,
    packages: [],
    node: { edge: true, rules: [{ action }] },
    target: throughRoute,
  };
}

/** Our relay in user space. */
export const relay: Peer = nodePeer('relay', 'tpot-node relay');

/** Our splice in the kernel; undefined when this build has none. */
export const splice: Peer | undefined =
  'config' in checkShape({ rules: [{ action: 'splice' }] })
    ? nodePeer('splice', 'tpot-node splice')
    : undefined;
