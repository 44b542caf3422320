/** What a node finds in the tables of an earlier process: connections that are no more go, and count no more. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { toMapped } from '../core/address.js';
import { silentLogger } from '../core/log.js';
import { TpotState, type TpotTunnel } from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';
import { loadAdopting, removePins } from '../node/data-path-host.js';
import { legOf } from '../node/hand-over.js';
import { holdEntry } from '../node/splice-entry.js';
import { reverse, type FlowEnds } from '../splice/mapping.js';
import { clientOf } from '../tpot/client.js';
import { entry } from './bpf-node.js';
import { flows, mapFlow, nodeAddresses } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const name = `adopt-${process.pid}`;
let leave: () => void;
beforeAll(() => {
  leave = enterNewNetworkNamespace();
});
afterAll(() => {
  removePins(name);
  leave();
});

const tunnel: TpotTunnel = {
  remote: toMapped(nodeAddresses[4]),
  udpPort: 0,
  capabilities: 0,
  repeats: 0,
  plain: 0,
  udp: 0,
  answered: 0,
  back: 0,
  stalls: 0,
  largest: 0,
};
const other = (flow: FlowEnds): FlowEnds => ({ ...flow, sourcePort: flow.sourcePort + 1 });
const client = { address: toMapped(clientOf(flows[4].source)) };

/** Both ends of a connection over loopback, as their segments arrive. */
async function connection(): Promise<{ sockets: Socket[]; arriving: FlowEnds }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const asking = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [asked] = (await once(server, 'connection')) as [Socket];
  server.close();
  const arriving = legOf(asked)?.flow;
  if (arriving === undefined) throw new Error('the socket is closed');
  return { sockets: [asking, asked], arriving };
}

it('entries without a socket are removed, those of sockets and of spliced connections stay', async () => {
  const { sockets, arriving } = await connection();
  const taken = entry(4, TpotState.TUNNELLED);
  const splice = holdEntry(reverse(flows[4]), 1n);
  const fill = (programs: TpotPrograms): void => {
    programs.map('tpotTaken').set(mapFlow(arriving), taken);
    programs.map('tpotTaken').set(mapFlow(flows[4]), { ...taken, counted: 1 });
    programs.map('tpotTaken').set(mapFlow(flows[6]), taken);
    programs.map('tpotClients').set(client, 2);
    programs.map('tpotSplices').set(mapFlow(flows[4]), { ...splice, flags: 0 });
    programs.map('tpotSplices').set(mapFlow(flows[6]), splice); // a hand-over that was under way
    for (const flow of [arriving, flows[4], flows[6], other(flows[4])]) {
      programs.map('tpotTunnels').set(mapFlow(reverse(flow)), tunnel);
    }
  };
  const first = loadAdopting(name, silentLogger);
  fill(first);
  first.close();
  const next = loadAdopting(name, silentLogger);
  expect([...next.map('tpotTaken').keys()]).toEqual([mapFlow(arriving)]);
  expect(next.map('tpotClients').get(client)).toBe(1);
  const tunnels = [arriving, flows[4], flows[6], other(flows[4])].map(
    (flow) => next.map('tpotTunnels').get(mapFlow(reverse(flow))) !== undefined,
  );
  expect(tunnels).toEqual([true, true, false, false]);
  expect(next.map('tpotGauges').get(0)).toMatchObject({ taken: 1n, tunnels: 2n });
  next.close();
  for (const socket of sockets) socket.destroy();
});
