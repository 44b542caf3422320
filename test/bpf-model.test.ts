/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): SYNs, and frames that are none of
 * ours. What follows a SYN that was taken is in bpf-model-taken.test.ts, what a source does in bpf-model-source.test.ts.
 *
 * A test run is no real ingress, where alone the kernel lets a program hand a packet to a socket. So here nobody
 * listens, for the model as for the kernel, and what would be taken passes as `pass-no-listener`; that is the last
 * of the tests a SYN is put to. bpf-listener.test.ts takes SYNs on a real interface.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatIp, ip, toMapped, type Family, type IpAddress, type Prefix } from '../core/address.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { defaultConfig, POLICY_ROWS } from '../bpf/programs.js';
import { kernelRow } from '../node/kernel-policy.js';
import { clientOf } from '../tpot/client.js';
import type { NodeView } from '../tpot/node.js';
import { encodeOption } from '../tpot/option.js';
import { flattenRules, type PolicyRow } from '../tpot/policy.js';
import { bytesUpTo, plainOption, u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import { ETHERNET_HEADER, flows, frameOf, nodeAddresses, ProgramsUnderTest } from './bpf-programs.js';
import { expectedOfSyn } from './bpf-expected.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const family = fc.constantFrom<Family>(4, 6);
/** A small world, so that prefixes and connections meet often. */
const smallAddress = (of: Family): fc.Arbitrary<IpAddress> =>
  fc.integer({ min: 1, max: 8 }).map((low) => ip(of === 4 ? `198.18.0.${low}` : `2001:db8::${low}`));
const smallPort = fc.integer({ min: 79, max: 82 });

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  kernel = new ProgramsUnderTest();
  kernel.programs.setOwnAddresses(Object.values(nodeAddresses));
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

const everyConnection = { sources: [], destinations: [], ports: [], action: 'relay' };

const view: NodeView = {
  own: Object.values(nodeAddresses),
  policy: flattenRules([everyConnection]),
  edge: false,
  draining: false,
  full: false,
  listening: false,
  capabilities: 0,
};

const PER_CLIENT = 3;

/** Makes the kernel's view of the node that of the model; of clients, of those that these tests are about. */
function configure(node: NodeView): void {
  for (const of of [4, 6] as const) {
    const client = clientOf(flows[of].source);
    const connections = node.clientFull?.(client) === true ? PER_CLIENT : PER_CLIENT - 1;
    kernel.programs.map('tpotClients').set({ address: toMapped(client) }, connections);
  }
  const { NODE, EDGE, DRAINING } = TpotFlag;
  kernel.programs.configure({
    ...defaultConfig(),
    policy: kernel.programs.config.policy,
    flags: NODE | (node.edge ? EDGE : 0) | (node.draining ? DRAINING : 0),
    maxConnections: node.full ? 0 : 10,
    maxPerClient: node.clientFull === undefined ? 0 : PER_CLIENT,
    capabilities: node.capabilities,
  });
  kernel.programs.setPolicy(node.policy.map(kernelRow));
}

/** Lets those pass who ask for more than it would do; of what a request asks for, it does `capabilities`. */
const yielding = (capabilities?: number): PolicyRow[] =>
  flattenRules([
    { ...everyConnection, yields: true, ...(capabilities === undefined ? {} : { capabilities }) },
  ]);

const request = (hops = 8): TcpOption => encodeOption({ type: 'request', hops, capabilities: 5 });
const mpJoin: TcpOption = { kind: 'unknown', code: 30, data: Uint8Array.of(0x10, 1, 0, 0, 0, 1, 0, 0, 0, 2) };
const mpCapable: TcpOption = { kind: 'unknown', code: 30, data: Uint8Array.of(0x01, 0x81) };
const mss: TcpOption = { kind: 'mss', mss: 1460 };

const synFrame = (of: Family, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
  frameOf(buildTcp({ ...flows[of], flags: ['syn'], options: [mss, request()], ...changes }), of);

/** Options of ours, of others, and in every state of disrepair; in any order, cut at 40 bytes. */
const option: fc.Arbitrary<TcpOption> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 8, 255).map(request) },
  { weight: 2, arbitrary: plainOption },
  fc.constantFrom(mpJoin, mpCapable, mss),
  family.map((of) => encodeOption({ type: 'reply', address: nodeAddresses[of], flags: 0, capabilities: 0 })),
  fc.constant<TcpOption>({ kind: 'end', padding: new Uint8Array() }),
  fc.record({ kind: fc.constant('unknown' as const), code: fc.constant(253), data: bytesUpTo(10) }),
);
const listedArea = fc.array(option, { maxLength: 6 }).map((options) => tcpOptions.emit(options));
const spoiltArea = fc.tuple(listedArea, fc.nat(39), u8).map(([area, at, value]) => {
  if (at < area.length) area[at] = value;
  return area;
});
const optionArea = fc.oneof(listedArea, spoiltArea, bytesUpTo(40)).map((area) => area.subarray(0, 40));

describe('a SYN', () => {
  const someView = fc.record({ edge: fc.boolean(), draining: fc.boolean(), full: fc.boolean() });

  describe.each([4, 6] as const)('over IPv%i', (of) => {
    it.each<[string | undefined, Partial<TcpPacketSpec>, Partial<NodeView>]>([
      ['pass-no-listener', {}, {}],
      ['pass-no-listener', { options: [mpCapable, request()] }, {}],
      ['pass-no-listener', { payload: new Uint8Array(700) }, {}], // TFO: the SYN is what is taken
      ['pass-no-listener', { options: [mss] }, { edge: true }],
      ['pass-hops', { options: [request(0)] }, {}],
      ['pass-hops', { options: [request(0)] }, { edge: true }],
      ['pass-mp-join', { options: [request(), mpJoin] }, {}],
      ['pass-mp-join', { options: [mpJoin] }, { edge: true }],
      ['pass-local', { destination: nodeAddresses[of] }, {}],
      ['pass-loop', { source: nodeAddresses[of] }, {}],
      ['pass-draining', {}, { draining: true }],
      ['pass-policy', {}, { policy: [] }],
      ['pass-limit', {}, { full: true }],
      ['pass-client-limit', {}, { clientFull: () => true }],
      ['pass-limit', {}, { full: true, clientFull: () => true }],
      ['pass-transforms', {}, { policy: yielding() }],
      ['pass-transforms', {}, { policy: yielding(), capabilities: 0x80ff & ~5, full: true }],
      ['pass-transforms', {}, { policy: yielding(2), capabilities: 7 }],
      ['pass-no-listener', {}, { policy: yielding(), capabilities: 4 }],
      ['pass-no-listener', {}, { policy: yielding(1), capabilities: 5 }],
      [
        'pass-local',
        { source: nodeAddresses[of], destination: nodeAddresses[of] },
        { draining: true, full: true, policy: [] },
      ],
      [undefined, { options: [mss] }, {}],
      [undefined, { options: Uint8Array.of(254, 8, 0x54, 0x50, 0x11, 8, 0, 0) }, {}], // another kind
      [undefined, { options: Uint8Array.of(253, 8, 0x54, 0x50, 0x21, 8, 0, 0) }, {}], // another version
      [undefined, { options: Uint8Array.of(253, 8, 0x54, 0x51, 0x11, 8, 0, 0) }, {}], // another ExID
      [undefined, { options: Uint8Array.of(253, 7, 0x54, 0x50, 0x11, 8, 0, 0) }, {}],
      [undefined, { options: Uint8Array.of(0, 253, 8, 0x54, 0x50, 0x11, 8, 0, 0) }, {}], // behind the end
      [undefined, { options: Uint8Array.of(2, 0, 253, 8, 0x54, 0x50, 0x11, 8, 0, 0) }, {}], // behind a fault
    ])('is judged %s', (reason, changes, node) => {
      const whole = { ...view, ...node };
      configure(whole);
      const frame = synFrame(of, changes);
      expect(expectedOfSyn(frame, whole).reason).toBe(reason);
      kernel.expect('tpot_ingress', frame, expectedOfSyn(frame, whole));
    });

    it('is judged as the model does, whatever its options', () => {
      fc.assert(
        fc.property(someView, fc.array(optionArea, { minLength: 10, maxLength: 10 }), (some, areas) => {
          const node = { ...view, ...some };
          configure(node);
          for (const options of areas) {
            const frame = synFrame(of, { options });
            kernel.expect('tpot_ingress', frame, expectedOfSyn(frame, node));
          }
        }),
        { numRuns: 100 },
      );
    });
  });

  it('is judged by the first row that matches, in each bank, by prefixes of its own family', () => {
    const prefix = (of: Family): fc.Arbitrary<Prefix | undefined> => {
      const lengths = of === 4 ? [0, 8, 29, 30, 31, 32] : [0, 1, 64, 96, 125, 126, 127, 128];
      const some = fc.record({ address: smallAddress(of), length: fc.constantFrom(...lengths) });
      return fc.option(some, { nil: undefined });
    };
    const row: fc.Arbitrary<PolicyRow> = family.chain((of) =>
      fc.record({
        source: prefix(of),
        destination: prefix(of),
        portFrom: smallPort,
        portTo: smallPort,
        take: fc.boolean(),
        yields: fc.boolean(),
        capabilities: fc.constantFrom(0, 1, 4, 0xffff),
      }),
    );
    const connection = family.chain((of) =>
      fc.record({ source: smallAddress(of), destination: smallAddress(of), destinationPort: smallPort }),
    );
    const table = fc.array(row, { maxLength: 6 });
    let banks = 0;
    fc.assert(
      fc.property(
        table,
        fc.array(connection, { minLength: 8, maxLength: 8 }),
        u8,
        (policy, connections, can) => {
          const node = { ...view, policy, capabilities: can };
          configure(node);
          banks |= (kernel.programs.config.policy & 0x80000000) === 0 ? 1 : 2;
          for (const one of connections) {
            const frame = synFrame(one.source.family, one);
            kernel.expect('tpot_ingress', frame, expectedOfSyn(frame, node));
          }
        },
      ),
      { numRuns: 150 },
    );
    expect(banks).toBe(3);
  });

  it('is judged by as many rows as the table has, and no more fit', () => {
    const pass: PolicyRow = {
      source: undefined,
      destination: undefined,
      portFrom: 1,
      portTo: 1,
      take: false,
    };
    const last: PolicyRow = { ...pass, portFrom: 80, portTo: 80, take: true };
    const full = [...new Array<PolicyRow>(POLICY_ROWS - 1).fill(pass), last];
    configure({ ...view, policy: full });
    kernel.expect('tpot_ingress', synFrame(4), { verdict: 'untouched', reason: 'pass-no-listener' });
    expect(() => kernel.programs.setPolicy([...full, last].map(kernelRow))).toThrow(RangeError);
    configure({ ...view, policy: full.slice(0, -1) });
    kernel.expect('tpot_ingress', synFrame(4), { verdict: 'untouched', reason: 'pass-policy' });
  });

  it('is judged by how many connections its client has: an IPv4 address, or an IPv6 /64', () => {
    const table = kernel.programs.map('tpotClients');
    const low = fc.integer({ min: 1, max: 3 });
    const source = fc
      .tuple(family, low, low)
      .map(([of, net, host]) => ip(of === 4 ? `198.18.${10 + net}.${host}` : `2001:db8:7:${net}::${host}`));
    const held = fc.dictionary(
      source.map((address) => formatIp(clientOf(address))),
      fc.integer({ min: 0, max: 5 }),
      { maxKeys: 6 },
    );
    const seen = new Set<string | undefined>();
    const property = fc.property(held, fc.array(source, { maxLength: 8 }), (connections, sources) => {
      const limit = PER_CLIENT;
      const clientFull = (client: IpAddress): boolean => (connections[formatIp(client)] ?? 0) >= limit;
      const node = { ...view, clientFull };
      configure(node);
      for (const key of [...table.keys()]) table.delete(key);
      for (const [client, count] of Object.entries(connections)) {
        table.set({ address: toMapped(ip(client)) }, count);
      }
      for (const one of sources) {
        const frame = synFrame(one.family, { source: one });
        const expected = expectedOfSyn(frame, node);
        seen.add(expected.reason);
        kernel.expect('tpot_ingress', frame, expected);
      }
    });
    fc.assert(property, { numRuns: 100 });
    expect([...seen].sort()).toEqual(['pass-client-limit', 'pass-no-listener']);
  });

  it('is found behind IP options, and on interfaces without an Ethernet header', () => {
    configure(view);
    const behind = synFrame(4, { ipOptions: Uint8Array.of(0x94, 4, 0, 0) });
    kernel.expect('tpot_ingress', behind, { verdict: 'untouched', reason: 'pass-no-listener' });
    // A test run takes the protocol from bytes 12 and 13: of these bare packets, a part of the source address.
    const bare = (of: Family, source: string): Uint8Array =>
      buildTcp({ ...flows[of], source: ip(source), flags: ['syn'], options: [request()] });
    for (const packet of [bare(4, '8.0.0.7'), bare(6, '2001:db8:86dd::7')]) {
      const outcome = kernel.run('tpot_ingress_l3', packet);
      expect(outcome).toMatchObject({ verdict: -1, counted: { 'pass-no-listener': 1 } });
    }
  });

  it('is none when its lengths lie, it is a fragment, or its addresses are mapped ones', () => {
    configure({ ...view, edge: true });
    const patched = (of: Family, offset: number, ...values: number[]): Uint8Array => {
      const frame = synFrame(of);
      frame.set(values, ETHERNET_HEADER + offset);
      return frame;
    };
    const cases = [
      patched(4, 2, 0, 40), // IP ends before the options do
      patched(4, 2, 9, 0), // IP claims more than there is
      patched(4, 6, 0x20, 0),
      patched(4, 0, 0x44),
      patched(4, 0, 0x65),
      patched(4, 32, 0x40),
      patched(6, 4, 0, 20),
      synFrame(4, { options: [], payload: new Uint8Array(8) }).subarray(0, ETHERNET_HEADER + 44),
      patched(6, 0, 0x45),
      patched(6, 6, 44),
      synFrame(6, { source: { family: 6, bytes: toMapped(flows[4].source) } }),
      synFrame(6, { destination: { family: 6, bytes: toMapped(flows[4].destination) } }),
    ];
    for (const frame of cases) kernel.expect('tpot_ingress', frame, { verdict: 'untouched' });
  });
});

describe('what is none of ours', () => {
  const programs = ['tpot_ingress', 'tpot_egress', 'tpot_ingress_l3', 'tpot_egress_l3'] as const;

  it('leaves as it came, bit for bit, random bytes included', () => {
    configure({ ...view, edge: true });
    // The kernel lets no test run begin with less than an IP header behind an IP frame type.
    const header = { 4: 20, 6: 40 };
    const random = family.chain((of) =>
      fc.uint8Array({ minLength: header[of] - 1, maxLength: 120 }).map((bytes) => {
        return frameOf(concat(Uint8Array.of(of << 4), bytes), of);
      }),
    );
    const torn = fc
      .tuple(family, fc.array(fc.tuple(fc.nat(), u8), { maxLength: 4 }), fc.nat(70))
      .map(([of, edits, cut]) => {
        const packet = buildTcp({ ...flows[of], flags: ['syn'], options: [mss, request()] });
        for (const [at, value] of edits) packet[at % packet.length] = value;
        return frameOf(packet.subarray(0, Math.max(header[of], packet.length - cut)), of);
      });
    const anything = fc.uint8Array({ minLength: ETHERNET_HEADER + 40, maxLength: 200 });
    fc.assert(
      fc.property(fc.oneof(random, torn, anything), fc.constantFrom(...programs), (frame, program) => {
        // Without an Ethernet header the packet begins where the frame does, and is never one of the generated ones.
        const node = program === 'tpot_ingress' ? { ...view, edge: true } : undefined;
        kernel.expect(
          program,
          frame,
          node === undefined ? { verdict: 'untouched' } : expectedOfSyn(frame, node),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('is everything, as long as nobody has configured the programs', () => {
    kernel.programs.configure({ ...defaultConfig(), policy: kernel.programs.config.policy });
    for (const of of [4, 6] as const) {
      kernel.expect('tpot_ingress', synFrame(of), { verdict: 'untouched' });
      kernel.expect('tpot_egress', synFrame(of), { verdict: 'untouched' });
    }
  });
});
