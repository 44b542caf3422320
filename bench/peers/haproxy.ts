import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PORT } from '../load/protocol.js';
import { throughProxy, type Peer, type PeerSite } from './peer.js';

/** TCP mode, one listener for each port of the origin. */
export function haproxyConfig(site: Pick<PeerSite, 'origin' | 'threads'>, spliced: boolean): string {
  const listeners = Object.entries(PORT).map(
    ([name, port]) => `listen ${name}\n  bind 0.0.0.0:${port}\n  server origin ${site.origin}:${port}\n`,
  );
  return `global
  maxconn 6000
  nbthread ${site.threads}
defaults
  mode tcp
  timeout connect 10s
  timeout client 5m
  timeout server 5m
${spliced ? '  option splice-auto\n' : ''}${listeners.join('')}`;
}

function peer(spliced: boolean): Peer {
  return {
    name: spliced ? 'haproxy-splice' : 'haproxy',
    title: spliced ? 'HAProxy, splice-auto' : 'HAProxy',
    packages: ['haproxy'],
    target: throughProxy,
    start: async (site) => {
      const file = join(site.directory, 'haproxy.cfg');
      writeFileSync(file, haproxyConfig(site, spliced));
      const program = site.host.spawn('haproxy', ['-db', '-f', file]);
      await program.listening(PORT.answer);
    },
  };
}

export const haproxy: Peer = peer(false);
/** Moves bytes between its sockets with splice(2) instead of copying them through its memory. */
export const haproxySplice: Peer = peer(true);
