import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PORT } from '../load/protocol.js';
import { throughProxy, type Peer, type PeerSite } from './peer.js';

const MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';

export function nginxConfig(site: Pick<PeerSite, 'origin' | 'threads' | 'directory'>): string {
  const servers = Object.values(PORT).map(
    (port) => `  server { listen ${port} backlog=4096; proxy_pass ${site.origin}:${port}; }\n`,
  );
  return `load_module ${MODULE};
daemon off;
worker_processes ${site.threads};
worker_rlimit_nofile 16384;
pid ${join(site.directory, 'nginx.pid')};
error_log ${join(site.directory, 'nginx-error.log')};
events { worker_connections 8192; }
stream {
${servers.join('')}}
`;
}

export const nginx: Peer = {
  name: 'nginx',
  title: 'nginx stream',
  packages: ['nginx', 'libnginx-mod-stream'],
  target: throughProxy,
  start: async (site) => {
    const file = join(site.directory, 'nginx.conf');
    writeFileSync(file, nginxConfig(site));
    const log = join(site.directory, 'nginx-start.log');
    const program = site.host.spawn('nginx', ['-p', site.directory, '-c', file, '-e', log]);
    await program.listening(PORT.answer);
  },
};
