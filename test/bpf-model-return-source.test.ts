/**
 * What the source of a taken connection sends says how the return tunnel fares (rule 13): the BPF programs against
 * tpot/return.ts, segment by segment (BPF_PROG_TEST_RUN), beside a socket that the kernel knows.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { toMapped } from '../core/address.js';
import { TpotState } from '../bpf/generated/maps.js';
import * as tcp from '../host/tcp.js';
import { legOf } from '../node/hand-over.js';
import { reverse, type FlowEnds } from '../splice/mapping.js';
import { CAPABILITY } from '../tpot/option.js';
import { startReturn, stepReturn, type ReturnEvent } from '../tpot/return.js';
import { buildTcp } from '../wire/build.js';
import { add, seq, type Seq } from '../wire/seq.js';
import { entry, NodeUnderTest } from './bpf-node.js';
import { frameOf, mapFlow, nodeAddresses, type ProgramsUnderTest } from './bpf-programs.js';
import { instant, tunnelEntry } from './bpf-returns.js';

const PAYLOAD = 5;
/** As far back as what is heard again may be. */
const FLIGHT = 2 ** 22;

let node: NodeUnderTest;
let kernel: ProgramsUnderTest;
let sockets: Socket[];
/** As the source's segments arrive, and what its socket here expects and has sent. */
let flow: FlowEnds;
let expected: Seq;
let sent: Seq;

beforeAll(async () => {
  node = new NodeUnderTest();
  ({ kernel } = node);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const source = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [taken] = (await once(server, 'connection')) as [Socket];
  server.close();
  sockets = [source, taken];
  const leg = legOf(taken);
  if (leg === undefined) throw new Error('the socket is closed');
  ({ flow } = leg);
  tcp.beginRepair(leg.fd);
  const { sendNext, receiveNext } = tcp.sequences(leg.fd);
  tcp.endRepair(leg.fd);
  [expected, sent] = [seq(receiveNext), seq(sendNext)];
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  node.close();
});

const tunnels = (): ReturnType<typeof kernel.programs.map<'tpotTunnels'>> =>
  kernel.programs.map('tpotTunnels');
const source = () => ({ address: toMapped(flow.source) });
const isRemembered = (): boolean => kernel.programs.map('tpotReturnSources').get(source()) !== undefined;

/** The connection has just been taken; its source takes return tunnels, or not. */
function begin(capabilities: number): void {
  const taken = { ...entry(4, TpotState.TUNNELLED), outerSource: toMapped(flow.source), capabilities };
  kernel.programs.map('tpotTaken').set(mapFlow(flow), taken);
  tunnels().delete(mapFlow(reverse(flow)));
  kernel.programs.map('tpotReturnSources').delete(source());
  kernel.programs.map('tpotGauges').set(0, { taken: 0n, tunnels: 0n, unused: 0, padding: 0 });
}

/** What is counted when a segment arrives in the source's tunnel. */
function arrive(sequence: Seq, ack: Seq, payload: number): string[] {
  const inner = { ...flow, flags: ['ack'] as const, seq: sequence, ack, payload: new Uint8Array(payload) };
  const tunnel = { source: flow.source, destination: nodeAddresses[4] };
  const { 'decap-ok': ok, ...counted } = kernel.run(
    'tpot_ingress',
    frameOf(buildTcp({ ...inner, tunnel }), 4),
  ).counted;
  expect(ok).toBe(1);
  return Object.keys(counted);
}

/** The programs' note of the last sign is as old as it should be, however long this test has been kept waiting. */
function setClock(long: boolean): void {
  const tunnel = tunnels().get(mapFlow(reverse(flow)));
  if (tunnel !== undefined) tunnels().set(mapFlow(reverse(flow)), { ...tunnel, answered: instant(long) });
}

const move = fc.record({
  wait: fc.boolean(),
  /** Before what is expected; a negative one nobody can have sent twice. */
  back: fc.constantFrom(
    PAYLOAD,
    PAYLOAD,
    PAYLOAD,
    PAYLOAD,
    100,
    0,
    -1,
    FLIGHT + PAYLOAD,
    FLIGHT + PAYLOAD + 1,
    -(2 ** 30),
  ),
  /** Acknowledged before what was sent. */
  behind: fc.constantFrom(50, 50, 50, 20, 0, -1, FLIGHT + 1),
  payload: fc.constantFrom(PAYLOAD, PAYLOAD, PAYLOAD, 0),
});
type Move = typeof move extends fc.Arbitrary<infer T> ? T : never;

function eventOf({ back, behind, payload }: Move, now: number): ReturnEvent & { readonly type: 'source' } {
  const [sequence, ack] = [add(expected, -back), add(sent, -behind)];
  const old = (expected - (sequence + payload)) >>> 0;
  const heard = old <= FLIGHT && (sent - ack) >>> 0 <= FLIGHT;
  return { type: 'source', seq: sequence, ack, payload, heard, room: true, now };
}

it('opens the return tunnel, leaves it, and remembers its source as in the model', () => {
  const seen = new Set<string>();
  const property = fc.property(fc.array(move, { minLength: 1, maxLength: 40 }), (moves) => {
    begin(CAPABILITY.returnTunnel);
    let { state } = startReturn(undefined, 0, true);
    let remembered = false;
    let now = 0;
    for (const each of moves) {
      if (each.wait) now += 4000;
      setClock(now - state.signAt >= 1000);
      const event = eventOf(each, now);
      const step = stepReturn(state, event);
      expect(arrive(event.seq, event.ack, event.payload)).toEqual(step.reasons);
      for (const said of [...step.reasons, ...step.actions]) seen.add(said);
      for (const action of step.actions) remembered = action === 'remember-source';
      ({ state } = step);
      const { way, moves: repeats, signs: stalls } = state;
      const plain = way === 'plain' ? 1 : 0;
      const entry = tunnelEntry(flow.source, { back: 1, plain, repeats, stalls });
      const found = tunnels().get(mapFlow(reverse(flow)));
      expect(found && { ...found, udpPort: entry.udpPort, answered: 0 }).toEqual(
        state.opened ? entry : undefined,
      );
      expect(isRemembered()).toBe(remembered);
    }
  });
  const again: Move = { wait: true, back: PAYLOAD, behind: 50, payload: PAYLOAD };
  const on: Move = { ...again, back: 0, behind: 20 };
  const given = [...Array.from({ length: 7 }, () => again), on];
  const examples: [Move[]][] = [[given], [[again, again, again, on, on]]];
  fc.assert(property, { numRuns: 300, examples });
  expect([...seen].sort()).toEqual(['forget-source', 'remember-source', 'return-given-up', 'return-tunnel']);
});

it('opens none for a source that takes none', () => {
  begin(0);
  for (let time = 0; time < 9; time++) expect(arrive(add(expected, -PAYLOAD), sent, PAYLOAD)).toEqual([]);
  expect(tunnels().get(mapFlow(reverse(flow)))).toBeUndefined();
});
