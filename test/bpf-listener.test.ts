/**
 * SYNs that are taken: the programs on a real interface, where the kernel lets them hand a packet to a listener.
 *
 *   packet socket ─ outside ══ veth ══ inside ─ tpot_ingress ─▶ listener on 127.0.0.1 / ::1
 *                           ◀── SYN-ACK ─────── tpot_egress ◀─┘
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toMapped, type Family } from '../core/address.js';
import * as libc from '../host/libc.js';
import { commandSync } from '../host/exec.js';
import { listInterfaces, type NetworkInterface } from '../host/interfaces.js';
import { TpotFlag, TpotState } from '../bpf/generated/maps.js';
import type { Attachment } from '../bpf/attach.js';
import { DeliveryRoutes } from '../node/data-path-host.js';
import { openListener } from '../node/data-path-ebpf.js';
import { kernelRow } from '../node/kernel-policy.js';
import { decideSyn, type NodeView } from '../tpot/node.js';
import { encodeOption } from '../tpot/option.js';
import { flattenRules } from '../tpot/policy.js';
import { bytesUpTo, plainOption } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import { hasFlags } from '../wire/tcp.js';
import {
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  segmentOf,
  type Segment,
} from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';
import { PacketEnd } from './packet-end.js';

const BACKLOG = 4096;
const CLIENT_MAC = '02:00:00:00:00:02'; // as frameOf has them
const NODE_MAC = '02:00:00:00:00:01';

const node: NodeView = {
  own: Object.values(nodeAddresses),
  policy: flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' }]),
  edge: false,
  draining: false,
  full: false,
  listening: true,
  capabilities: 0,
};
const request = (hops = 8): TcpOption => encodeOption({ type: 'request', hops, capabilities: 5 });
const mss: TcpOption = { kind: 'mss', mss: 1460 };

let kernel: ProgramsUnderTest;
let outside: PacketEnd;
let attachments: Attachment[] = [];
const listeners = new Map<Family, number>();
const undo: (() => void)[] = [];
let nextPort = 10_000;

function interfaceNamed(name: string): NetworkInterface {
  const found = listInterfaces().find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no interface ${name}`);
  return found;
}

function makeLink(): void {
  const ipBatch = (line: string): string => commandSync('ip', line.split(' '));
  ipBatch(`link add outside type veth peer name inside address ${NODE_MAC}`);
  for (const name of ['outside', 'inside']) {
    commandSync('sysctl', ['-qw', `net.ipv4.conf.${name}.rp_filter=0`, `net.ipv6.conf.${name}.accept_dad=0`]);
  }
  commandSync('sysctl', ['-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv6.conf.outside.disable_ipv6=1']);
  ipBatch('link set outside up');
  ipBatch('link set inside up');
  for (const of of [4, 6] as const) {
    ipBatch(of === 4 ? 'addr add 198.18.0.1/16 dev inside' : '-6 addr add 2001:db8::1/32 dev inside nodad');
    const client = of === 4 ? '198.18.0.7' : '2001:db8::7';
    ipBatch(`neigh add ${client} lladdr ${CLIENT_MAC} dev inside nud permanent`);
  }
}

beforeAll(() => {
  undo.push(enterNewNetworkNamespace());
  makeLink();
  kernel = new ProgramsUnderTest();
  undo.push(() => kernel.close());
  const routes = new DeliveryRoutes(`test-${process.pid}`, [4, 6]);
  routes.install();
  undo.push(() => routes.remove());
  for (const of of [4, 6] as const) {
    const fd = openListener(of);
    libc.listen(fd, BACKLOG);
    listeners.set(of, fd);
  }
  undo.push(() => [...listeners.values()].forEach(libc.close));
  kernel.programs.configure({
    flags: TpotFlag.NODE,
    maxConnections: 10,
    listenerPort4: libc.localPort(listeners.get(4)!),
    listenerPort6: libc.localPort(listeners.get(6)!),
  });
  kernel.programs.setPolicy(node.policy.map(kernelRow));
  kernel.programs.setOwnAddresses(node.own);
  attachments = kernel.programs.attachInterface(interfaceNamed('inside'));
  outside = new PacketEnd(interfaceNamed('outside').index);
  undo.push(() => outside.close());
});
afterAll(() => {
  for (const attachment of attachments) attachment.detach();
  for (const step of undo.reverse()) step();
});

const synFrame = (of: Family, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
  frameOf(buildTcp({ ...flows[of], flags: ['syn'], seq: 1000, options: [mss, request()], ...changes }), of);

interface Reaction {
  readonly counted: Record<string, number>;
  /** SYN-ACKs that came back. */
  readonly answers: Segment[];
}

/** Sends a frame over the link. A SYN of no hops behind it tells when it has been dealt with: links keep order. */
function send(frame: Uint8Array): Reaction {
  outside.receive();
  const before = kernel.programs.counters();
  outside.send(frame);
  outside.send(synFrame(4, { sourcePort: 9, options: [request(0)] }));
  let after = before;
  const deadline = performance.now() + 5000;
  while (after['pass-hops'] === before['pass-hops']) {
    if (performance.now() > deadline) throw new Error('the frames did not arrive');
    after = kernel.programs.counters();
  }
  const sentinel: Record<string, number | undefined> = {
    ...before,
    'pass-hops': (before['pass-hops'] ?? 0) + 1,
  };
  const counted = Object.entries(after).flatMap(([reason, count]): [string, number][] => {
    const grown = count - (sentinel[reason] ?? 0);
    return grown === 0 ? [] : [[reason, grown]];
  });
  const answers = outside.receive().flatMap((one) => segmentOf(one) ?? []);
  return {
    counted: Object.fromEntries(counted),
    answers: answers.filter(({ tcp }) => hasFlags(tcp, 'syn', 'ack')),
  };
}

describe.each([4, 6] as const)('a SYN over IPv%i', (of) => {
  it('is taken: it is remembered, and answered in the name of its destination', () => {
    const sourcePort = nextPort++;
    const { counted, answers } = send(synFrame(of, { sourcePort }));
    expect(counted).toEqual({ taken: 1 });
    expect(answers).toHaveLength(1);
    const { header, tcp } = answers[0]!;
    expect(header).toMatchObject({ source: flows[of].destination, destination: flows[of].source });
    expect(tcp).toMatchObject({ sourcePort: 80, destinationPort: sourcePort, ack: 1001 });
    // Room for both headers and for the tunnel's (rule 9).
    const [mssOption] = tcpOptions.parse(tcp.options);
    expect(mssOption).toEqual({ kind: 'mss', mss: of === 4 ? 1432 : 1392 });
    expect(kernel.programs.map('tpotTransient').get(mapFlow({ ...flows[of], sourcePort }))).toEqual({
      outerSource: toMapped(flows[of].source),
      isn: tcp.seq,
      state: TpotState.SYN_ANSWERED,
      capabilities: 0, // of what is asked for, this node does nothing
      hops: 8,
      udp: 0,
      mss: 1460,
      keyed: 0,
      counted: 0,
      last: 0,
      acknowledged: 0,
      again: 0,
      returning: 0,
      unused: 0,
    });
  });

  it('gets the same answer when it comes again, whatever has changed since (rule 6)', () => {
    const sourcePort = nextPort++;
    const first = send(synFrame(of, { sourcePort }));
    kernel.programs.setPolicy([]);
    const again = send(synFrame(of, { sourcePort }));
    const plain = send(synFrame(of, { sourcePort, options: [mss] }));
    kernel.programs.setPolicy(node.policy.map(kernelRow));
    expect(again.counted).toEqual({});
    expect(again.answers.map(({ tcp }) => tcp.seq)).toEqual([first.answers[0]!.tcp.seq]);
    // Without its request it is another SYN, meant for the destination (rules 1 and 2).
    expect(plain).toEqual({ counted: {}, answers: [] });
  });

  it('is answered at an edge without its request, too, and its tunnel goes on counting', () => {
    const sourcePort = nextPort++;
    const first = send(synFrame(of, { sourcePort }));
    kernel.programs.configure({ flags: TpotFlag.NODE | TpotFlag.EDGE });
    const plain = send(synFrame(of, { sourcePort, options: [mss] }));
    kernel.programs.configure({ flags: TpotFlag.NODE });
    expect(plain.counted).toEqual({});
    expect(plain.answers.map(({ tcp }) => tcp.seq)).toEqual([first.answers[0]!.tcp.seq]);
    const noted = kernel.programs.map('tpotTransient').get(mapFlow({ ...flows[of], sourcePort }));
    expect(noted).toMatchObject({ state: TpotState.SILENT, isn: first.answers[0]!.tcp.seq });
  });

  it('is taken when the model says so, whatever its options', () => {
    const option = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(0, 1, 8, 255).map(request) },
      { weight: 3, arbitrary: plainOption },
      fc.constantFrom<TcpOption>(mss, { kind: 'unknown', code: 30, data: Uint8Array.of(0x10, 1, 2, 3) }),
    );
    const area = fc
      .array(option, { maxLength: 5 })
      .map((options) => tcpOptions.emit(options).subarray(0, 40));
    fc.assert(
      fc.property(fc.oneof(area, bytesUpTo(40)), fc.boolean(), (options, edge) => {
        kernel.programs.configure({ flags: TpotFlag.NODE | (edge ? TpotFlag.EDGE : 0) });
        const sourcePort = nextPort++;
        const frame = synFrame(of, { sourcePort, options });
        const { options: area, seq } = segmentOf(frame)!.tcp;
        const decision = decideSyn({ ...flows[of], sourcePort, seq, options: area }, { ...node, edge });
        const { counted } = send(frame);
        expect(counted).toEqual(decision.reason === undefined ? {} : { [decision.reason]: 1 });
        const noted = kernel.programs.map('tpotTransient').get(mapFlow({ ...flows[of], sourcePort }));
        expect(noted?.hops).toBe(decision.take ? (decision.request?.hops ?? 0) : undefined);
        expect(noted?.state === TpotState.EDGE).toBe(decision.reason === 'taken-edge');
      }),
      { numRuns: 100 },
    );
    kernel.programs.configure({ flags: TpotFlag.NODE });
  });

  it('passes by when the listener has gone', () => {
    libc.close(listeners.get(of)!);
    listeners.delete(of);
    const { counted, answers } = send(synFrame(of, { sourcePort: nextPort++ }));
    expect([counted, answers]).toEqual([{ 'pass-no-listener': 1 }, []]);
  });
});
