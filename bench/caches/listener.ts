/**
 * The HTTP part of a node behind an ordinary listener: nothing takes connections out of their way.
 *
 *   node dist/bench/caches/listener.js FILE        with { origin, port, cacheBytes }
 */
import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { ip } from '../../core/address.js';
import { systemClock } from '../../core/clock.js';
import { silentLogger } from '../../core/log.js';
import { HttpService } from '../../node/http/service.js';
import { relay } from '../../node/relay.js';

interface Settings {
  readonly origin: string;
  readonly port: number;
  readonly cacheBytes: number;
}

const { origin, port, cacheBytes } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Settings;
const BACKLOG = 4096;
const service = new HttpService({ name: 'bench', cacheBytes, logger: silentLogger, clock: systemClock });

function openLeg(): Socket {
  const leg = connect(port, origin);
  leg.on('error', () => undefined); // what counts is `close`
  return leg;
}

function serve(client: Socket, first: Buffer): void {
  client.pause();
  void service.serve(client, first, {
    client: { address: ip(client.remoteAddress ?? ''), port: client.remotePort ?? 0 },
    destination: { address: ip(origin), port },
    clientLegs: false,
    content: undefined,
    leg: undefined,
    openLeg,
    join: (leg, fromA) => relay(client, leg, { fromA }),
    leave: () => Promise.resolve({ spliced: false, reason: 'relayed-unsupported' }),
    stays: () => undefined,
  });
}

const server = createServer({ allowHalfOpen: true }, (client) => {
  client.on('error', () => undefined);
  client.once('data', (first: Buffer) => serve(client, first));
});
server.listen({ port, host: '0.0.0.0', backlog: BACKLOG });
