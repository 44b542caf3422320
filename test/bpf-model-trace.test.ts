/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): SYNs that trace (protocol rule 11).
 * Here somebody listens, since only a node that would take a SYN counts; see bpf-model.test.ts for why a test run
 * takes none, which for the model is `taken` and for the kernel `pass-no-listener`.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Family } from '../core/address.js';
import * as libc from '../host/libc.js';
import { TpotFlag, TpotState } from '../bpf/generated/maps.js';
import { openListener } from '../node/data-path-ebpf.js';
import { kernelRow } from '../node/kernel-policy.js';
import { decideSyn, type NodeView, type SynDecision } from '../tpot/node.js';
import { CAPABILITY, encodeOption } from '../tpot/option.js';
import { flattenRules } from '../tpot/policy.js';
import { bytesUpTo, plainOption, u8 } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  expectOnlyMssChanged as expectOnlyOptionsChanged,
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  segmentOf,
} from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const BACKLOG = 16;
const nop: TcpOption = { kind: 'nop' };
const mss: TcpOption = { kind: 'mss', mss: 1460 };
const asking = (hops: number, capabilities: number): TcpOption =>
  encodeOption({ type: 'request', hops, capabilities });
const trace = (hops: number): TcpOption => asking(hops, CAPABILITY.trace);

const view: NodeView = {
  own: Object.values(nodeAddresses),
  policy: flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' }]),
  edge: false,
  draining: false,
  full: false,
  listening: true,
  capabilities: CAPABILITY.trace,
};

let kernel: ProgramsUnderTest;
const undo: (() => void)[] = [];
const ports: Record<Family, number> = { 4: 0, 6: 0 };

beforeAll(() => {
  undo.push(enterNewNetworkNamespace());
  kernel = new ProgramsUnderTest();
  undo.push(() => kernel.close());
  for (const family of [4, 6] as const) {
    const fd = openListener(family);
    undo.push(() => libc.close(fd));
    libc.listen(fd, BACKLOG);
    ports[family] = libc.localPort(fd);
  }
  kernel.programs.setOwnAddresses(view.own);
});
afterAll(() => {
  for (const step of undo.reverse()) step();
});

function configure(node: NodeView): void {
  const { NODE, EDGE, DRAINING } = TpotFlag;
  kernel.programs.configure({
    flags: NODE | (node.edge ? EDGE : 0) | (node.draining ? DRAINING : 0),
    maxConnections: node.full ? 0 : 10,
    listenerPort4: node.listening ? ports[4] : 0,
    listenerPort6: node.listening ? ports[6] : 0,
    capabilities: node.capabilities,
  });
  kernel.programs.setPolicy(node.policy.map(kernelRow));
}

/** Runs one SYN through both; the model's decision. */
function compare(family: Family, options: readonly TcpOption[] | Uint8Array, node: NodeView): SynDecision {
  const frame = frameOf(buildTcp({ ...flows[family], flags: ['syn'], options }), family);
  const { options: area, seq } = segmentOf(frame)!.tcp;
  const decision = decideSyn({ ...flows[family], seq, options: area }, node);
  const outcome = kernel.run('tpot_ingress', frame);
  const reason = decision.take ? 'pass-no-listener' : decision.reason;
  expect(outcome.counted).toEqual(reason === undefined ? {} : { [reason]: 1 });
  expect([outcome.verdict, outcome.mark]).toEqual([-1, 0]);
  expectOnlyOptionsChanged(frame, outcome, decision.forwarded ?? area);
  return decision;
}

describe.each([4, 6] as const)('a trace over IPv%i', (family) => {
  it.each<[string, TcpOption[], Partial<NodeView>]>([
    ['trace-forwarded', [mss, trace(2)], {}],
    ['trace-forwarded', [mss, trace(255)], {}],
    ['trace-forwarded', [mss, nop, trace(2)], {}], // at an odd offset, hops in the other half of a checksum word
    ['trace-forwarded', [mss, asking(7, 0xffff)], {}],
    ['trace-forwarded', [mss, trace(3), trace(9)], {}], // the first counts
    ['trace-forwarded', [mss, trace(2)], { edge: true }],
    ['taken', [mss, trace(1)], {}],
    ['taken', [mss, asking(8, 0x7fff)], {}],
    ['taken', [mss, trace(2)], { capabilities: 0x7fff }], // a node that does not offer it
    ['pass-hops', [mss, trace(0)], {}],
    ['pass-draining', [mss, trace(2)], { draining: true }],
    ['pass-policy', [mss, trace(2)], { policy: [] }],
    ['pass-limit', [mss, trace(2)], { full: true }],
    ['pass-no-listener', [mss, trace(2)], { listening: false }],
  ])('is %s', (reason, options, changes) => {
    const node = { ...view, ...changes };
    configure(node);
    expect(compare(family, options, node).reason).toBe(reason);
  });

  it('is judged and rewritten as the model does, whatever its options', () => {
    const request = fc.tuple(fc.constantFrom(0, 1, 2, 8, 255), fc.constantFrom(0, 1, 0x8000, 0xffff));
    const option = fc.oneof(
      { weight: 3, arbitrary: request.map(([hops, bits]) => asking(hops, bits)) },
      plainOption,
      fc.constantFrom(nop, mss),
    );
    const listed = fc.array(option, { maxLength: 6 }).map((options) => tcpOptions.emit(options));
    const spoilt = fc.tuple(listed, fc.nat(39), u8).map(([area, at, value]) => {
      if (at < area.length) area[at] = value;
      return area;
    });
    const area = fc.oneof(listed, spoilt, bytesUpTo(40)).map((bytes) => bytes.subarray(0, 40));
    configure(view);
    fc.assert(
      fc.property(area, (options) => void compare(family, options, view)),
      { numRuns: 1000 },
    );
  });

  it('forgets a connection of the same ports that is over, and travels on', () => {
    configure(view);
    const key = mapFlow(flows[family]);
    const taken = kernel.programs.map('tpotTransient');
    const state = TpotState.TUNNELLED;
    taken.set(key, {
      outerSource: key.source,
      isn: 1,
      state,
      capabilities: 0,
      hops: 1,
      udp: 0,
      mss: 0,
      keyed: 0,
      counted: 0,
      last: 0,
      acknowledged: 0,
      again: 0,
      returning: 0,
      unused: 0,
    });
    expect(compare(family, [mss, trace(2)], view).reason).toBe('trace-forwarded');
    expect(taken.get(key)).toBeUndefined();
  });
});
