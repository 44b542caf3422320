import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PORT } from '../load/protocol.js';
import type { Peer, PeerSite } from './peer.js';

/** One SOCKS port for each port of the origin, so that a capture filter can tell the connections apart. */
const SOCKS_OFFSET = 1000;
const ports = Object.values(PORT);

export function danteConfig(
  site: Pick<PeerSite, 'directory' | 'origin'> & { proxy: string; external: string },
): string {
  const internal = ports.map((port) => `internal: ${site.proxy} port = ${port + SOCKS_OFFSET}\n`);
  return `logoutput: ${join(site.directory, 'danted.log')}
${internal.join('')}external: ${site.external}
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
`;
}

/** The descendant of what the TCP Splice paper measured itself against: a SOCKS server that relays in user space. */
export const dante: Peer = {
  name: 'dante',
  title: 'dante (SOCKS)',
  packages: ['dante-server'],
  target: (site, port) => ({
    address: site.origin,
    port,
    socks: { address: site.host.address, port: port + SOCKS_OFFSET },
  }),
  start: async (site) => {
    const file = join(site.directory, 'danted.conf');
    writeFileSync(file, danteConfig({ ...site, proxy: site.host.address, external: 'to-origin' }));
    // More negotiating servers than it starts by itself: a bench opens many connections at once.
    const args = ['-f', file, '-p', join(site.directory, 'danted.pid'), '-N', String(site.threads)];
    const program = site.host.spawn('danted', args);
    await program.listening(PORT.answer + SOCKS_OFFSET);
  },
};
