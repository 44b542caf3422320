/** A node as users have it, and its HTTP part behind a listener, to show what taking connections costs. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtFile } from '../../host/paths.js';
import { STORE_MIBIBYTES, type CachePeer } from './peer.js';

/** Takes clients that ask for a node, and as a transparent proxy those that do not. */
export const nodeCache: CachePeer = {
  name: 'tpot',
  title: 'tpot-node',
  packages: [],
  node: { edge: true, rules: [{ action: 'cache' }], cache: { memory: `${STORE_MIBIBYTES}MiB` } },
  addressed: false,
};

export const nodeListener: CachePeer = {
  name: 'tpot-listener',
  title: 'tpot-node, listener',
  packages: [],
  addressed: true,
  start: async ({ host, directory, origin }) => {
    const file = join(directory, 'listener.json');
    writeFileSync(file, JSON.stringify({ origin, port: 80, cacheBytes: STORE_MIBIBYTES * 2 ** 20 }));
    const program = host.spawn(process.execPath, [builtFile('bench', 'caches', 'listener.js'), file]);
    await program.listening(80);
    return program;
  },
};
