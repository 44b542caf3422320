/**
 * The origin of the labs: a child process in the origin's namespace that knows nothing of TPOT.
 *
 *   node dist/netns/origin.js [--http 80] [--banner 22] [--bulk 9000]
 *
 * Events go to stdout, one JSON object a line: `ready`, `request` (when the response has been handed to the kernel or
 * the client has gone), `connection` (banner and bulk ports), `unusual` (what a well-behaved peer never does).
 */
import { parseArgs } from 'node:util';
import { createHttpOrigin } from './origin-http.js';
import { createBannerServer, createBulkServer } from './origin-tcp.js';
import type { OriginEvent } from './origin-events.js';

const { values } = parseArgs({
  options: {
    http: { type: 'string', default: '80' },
    banner: { type: 'string', default: '22' },
    bulk: { type: 'string', default: '9000' },
  },
});

const report = (event: OriginEvent): void => {
  process.stdout.write(`${JSON.stringify(event)}\n`);
};

const ports = { http: Number(values.http), banner: Number(values.banner), bulk: Number(values.bulk) };
const servers = [
  createHttpOrigin(report).listen(ports.http),
  createBannerServer(report).listen(ports.banner),
  createBulkServer(report).listen(ports.bulk),
];
await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))));
report({ event: 'ready', ...ports });
