/** Where a spliced segment goes: the kernel's route, remembered for a moment (bpf/tpot_route.h). */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, toMapped, type Family } from '../core/address.js';
import { TpotFlag, type TpotRoute } from '../bpf/generated/maps.js';
import { commandSync } from '../host/exec.js';
import { listInterfaces } from '../host/interfaces.js';
import { waitFor } from '../netns/wait.js';
import { spliceEntry } from '../node/splice-entry.js';
import { reverse, type FlowEnds } from '../splice/mapping.js';
import { buildTcp } from '../wire/build.js';
import { seq } from '../wire/seq.js';
import { flows, frameOf, mapFlow, ProgramsUnderTest, type Outcome } from './bpf-programs.js';
import { UNMAPPED } from './splicing-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const MTU = 1500;
const ROUTE_SLOTS = 1024;
const TCP_HEADER = 20;
const OUTER: Record<Family, number> = { 4: 20, 6: 40 };
const TUNNEL = {
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
const HEADERS: Record<Family, number> = { 4: 40, 6: 60 };
const OUT: Record<Family, FlowEnds> = {
  4: { source: ip('198.18.1.1'), sourcePort: 51000, destination: ip('192.0.2.80'), destinationPort: 80 },
  6: {
    source: ip('2001:db8:1::1'),
    sourcePort: 51000,
    destination: ip('2001:db8:80::80'),
    destinationPort: 80,
  },
};

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;

const route = (family: Family, ...words: string[]): string =>
  commandSync('ip', [`-${family}`, 'route', ...words]);

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  for (const name of ['left', 'right']) {
    commandSync('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}-far`]);
    for (const end of [name, `${name}-far`])
      commandSync('ip', ['link', 'set', end, 'mtu', String(MTU), 'up']);
  }
  for (const [family, key] of [
    ['ipv4', 'ip_forward'],
    ['ipv6', 'conf/all/forwarding'],
  ] as const) {
    writeFileSync(`/proc/sys/net/${family}/${key}`, '1');
  }
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({ flags: TpotFlag.NODE | TpotFlag.SPLICING });
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

/** Both directions of a connection in which nothing but addresses and ports is mapped. */
function enter(family: Family): void {
  const arriving = flows[family];
  enterDirection(arriving, OUT[family]);
  enterDirection(reverse(OUT[family]), reverse(arriving));
}

function enterDirection(arriving: FlowEnds, out: FlowEnds): void {
  const entry = spliceEntry(
    {
      out,
      ...UNMAPPED,
      base: seq(1000),
      maxSegment: 9000,
    },
    { outerSource: undefined, fromClient: true, bytes: 0n, now: 1n, startedAt: 1n },
  );
  kernel.programs.map('tpotSplices').set(mapFlow(arriving), entry);
}

const segment = (flow: FlowEnds, payload: number): Uint8Array =>
  buildTcp({ ...flow, flags: ['ack'], seq: 1000, ack: 1, payload: new Uint8Array(payload) });

function send(family: Family, payload: number, gsoSize = 0): Outcome {
  return kernel.run('tpot_ingress', frameOf(segment(flows[family], payload), family), { gsoSize });
}

const maxSegment = (family: Family): number | undefined =>
  kernel.programs.map('tpotSplices').get(mapFlow(flows[family]))?.maxSegment;

/** The remembered route to where the flow goes; on whichever processor the last segment was. */
function remembered(family: Family): TpotRoute | undefined {
  const destination = Buffer.from(toMapped(OUT[family].destination));
  const table = kernel.programs.map('tpotRoutes');
  const all = Array.from({ length: ROUTE_SLOTS }, (_, slot) => table.getPerCpu(slot)).flat();
  return all
    .filter((one) => destination.equals(one.destination))
    .sort((one, other) => other.found - one.found)[0];
}

const indexOf = (name: string): number | undefined =>
  listInterfaces().find((candidate) => candidate.name === name)?.index;

describe.each([4, 6] as const)('a spliced segment, IPv%i', (family) => {
  it('longer than the MTU of its route is lost, and the next one meets what has been learned from it', () => {
    route(family, 'replace', 'default', 'dev', 'left');
    const room = MTU - HEADERS[family];
    const check = (): void => {
      enter(family);
      expect(send(family, room).counted).toEqual({ 'splice-forwarded': 1 });
      expect(send(family, room + 1).counted).toEqual({ 'drop-splice-too-big': 1 });
      expect(send(family, room).counted).toEqual({ 'splice-forwarded': 1 });
      expect(send(family, room + 1).counted).toEqual({ 'drop-splice-too-big': 1, 'splice-told': 1 });
      enter(family);
      expect(send(family, 3000, room).counted).toEqual({ 'splice-forwarded': 1 });
      expect(send(family, 3000, room + 1).counted).toEqual({ 'drop-splice-too-big': 1 });
      expect(maxSegment(family)).toBe(TCP_HEADER + room);
    };
    check(); // looks the route up,
    check(); // and finds it remembered
  });

  // A test run leaves by the loopback interface, which an IPv4 look-up for output does not leave for another.
  it.runIf(family === 6)(
    'longer than its link takes with the outer header is lost, and lowers the limit too',
    () => {
      route(family, 'replace', 'default', 'dev', 'left');
      enter(family);
      const remote = toMapped(OUT[family].destination);
      kernel.programs.map('tpotTunnels').set(mapFlow(OUT[family]), { ...TUNNEL, remote });
      const room = MTU - HEADERS[family] - OUTER[family];
      const leave = (payload: number): Outcome =>
        kernel.run('tpot_egress', frameOf(segment(OUT[family], payload), family));
      expect(leave(room).counted).toEqual({ 'encap-ok': 1 });
      expect(maxSegment(family)).toBe(9000);
      expect(leave(room + 1).counted).toMatchObject({ 'drop-splice-too-big': 1 });
      expect(maxSegment(family)).toBe(TCP_HEADER + room);
      kernel.programs.map('tpotTunnels').delete(mapFlow(OUT[family]));
    },
  );

  it('follows its route to another interface, and ends here when there is none any more', async () => {
    route(family, 'replace', 'default', 'dev', 'left');
    enter(family);
    const takes = (name: string): boolean =>
      send(family, 100).verdict === 7 && remembered(family)?.ifindex === indexOf(name);
    await waitFor(() => takes('left'), { what: 'the route to be taken' });
    route(family, 'replace', 'default', 'dev', 'right');
    await waitFor(() => takes('right'), { what: 'the new route to be taken' });
    route(family, 'del', 'default');
    await waitFor(() => send(family, 100).counted['drop-splice-no-route'] === 1, {
      what: 'the route to be gone',
    });
  });
});
