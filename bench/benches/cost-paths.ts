/**
 * The paths through the BPF programs whose cost is measured: a frame, the state it meets, and the reason that must be
 * counted, so that a path that was not taken is never reported.
 */
import { ip, toMapped } from '../../core/address.js';
import { TpotFlag, TpotState, type TpotTaken } from '../../bpf/generated/maps.js';
import type { TpotPrograms } from '../../bpf/programs.js';
import { kernelFlow, spliceEntry } from '../../node/splice-entry.js';
import type { FlowEnds, Mapping } from '../../splice/mapping.js';
import { encodeOption } from '../../tpot/option.js';
import type { ReasonCode } from '../../tpot/reasons.js';
import { buildTcp, type TcpPacketSpec } from '../../wire/build.js';
import { concat } from '../../wire/bytes.js';
import { seq } from '../../wire/seq.js';
import type { TcpOption } from '../../wire/tcp-options.js';

export const NODE_ADDRESS = ip('198.18.1.1');
export const ORIGIN_ADDRESS = ip('192.0.2.80');
const CLIENT_ADDRESS = ip('198.18.1.2');

export interface CostPath {
  readonly name: string;
  readonly title: string;
  readonly program: 'tpot_ingress' | 'tpot_egress';
  readonly frame: Uint8Array;
  /** The packet is still to be cut into segments with so much payload. */
  readonly gsoSize?: number;
  /**
   * How often the same packet can take the path: what comes out of a tunnel, or goes into one, is another packet
   * afterwards, and so takes it once; a spliced one does until its TTL is used up.
   */
  readonly repeat: number;
  /** Counted once a packet; undefined: nothing is counted. */
  readonly reason: ReasonCode | undefined;
  readonly prepare?: (programs: TpotPrograms) => void;
}

const MANY = Infinity;
const LAST_TTL = 255;
const MSS = 1448;
const MAX_LARGE = 3000; // the kernel's limit for test frames is a page, headroom and tailroom off

const MACS = Uint8Array.of(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2);
const ARP = concat(MACS, Uint8Array.of(8, 6), new Uint8Array(46));

function frame(packet: Uint8Array): Uint8Array {
  return concat(MACS, Uint8Array.of(8, 0), packet);
}

function flowFrom(sourcePort: number): FlowEnds {
  return { source: CLIENT_ADDRESS, sourcePort, destination: ORIGIN_ADDRESS, destinationPort: 80 };
}

const flows = {
  stranger: flowFrom(40000),
  taken: flowFrom(40001),
  pinned: flowFrom(40002),
  spliced: flowFrom(40003),
};
const tunnelledSplice = flowFrom(40004);

const usual: TcpOption[] = [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'timestamps', value: 7, echo: 9 }];
const sack: TcpOption[] = [
  ...usual,
  { kind: 'nop' },
  { kind: 'nop' },
  { kind: 'sack', blocks: [{ left: seq(100), right: seq(200) }] },
];
const SEQUENCE = 1000;

function segment(flow: FlowEnds, payload: number, changes: Partial<TcpPacketSpec> = {}): Uint8Array {
  return buildTcp({
    ...flow,
    flags: ['ack'],
    seq: SEQUENCE,
    ack: 1,
    options: usual,
    ttl: LAST_TTL,
    payload: new Uint8Array(payload),
    ...changes,
  });
}

const tunnel = { source: CLIENT_ADDRESS, destination: NODE_ADDRESS };
const synOptions: TcpOption[] = [
  { kind: 'mss', mss: 1460 },
  encodeOption({ type: 'request', hops: 8, capabilities: 5 }),
];

const takenEntry: TpotTaken = {
  outerSource: toMapped(CLIENT_ADDRESS),
  isn: 0,
  state: TpotState.TUNNELLED,
  capabilities: 5,
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
};

/** Entries from user space: the programs would look into the tables from the first of their own on. */
function useTables(programs: TpotPrograms): void {
  programs.map('tpotGauges').set(0, { taken: 1n, tunnels: 1n, unused: 0, padding: 0 });
}

function take(programs: TpotPrograms): void {
  useTables(programs);
  programs.map('tpotTaken').set(kernelFlow(flows.taken), takenEntry);
}

function pin(programs: TpotPrograms): void {
  useTables(programs);
  const entry = {
    remote: toMapped(NODE_ADDRESS),
    udpPort: 0,
    capabilities: 5,
    repeats: 0,
    plain: 0,
    udp: 0,
    answered: 0,
    back: 0,
    stalls: 0,
    largest: 0,
  };
  programs.map('tpotTunnels').set(kernelFlow(flows.pinned), entry);
}

/** An entry that maps a segment onto itself, so that the same packet can be mapped again and again. */
function entryOf(flow: FlowEnds, tunnelled: boolean): ReturnType<typeof spliceEntry> {
  const mapping: Mapping = {
    out: flow,
    base: seq(SEQUENCE),
    acknowledged: seq(SEQUENCE),
    sequenceDelta: 0,
    acknowledgmentDelta: 0,
    timestampDelta: 0,
    echoDelta: 0,
    scaleUp: 7,
    scaleDown: 7,
    maxSegment: MSS + 32,
    timestamps: true,
    sack: true,
    ecn: false,
  };
  const outerSource = tunnelled ? CLIENT_ADDRESS : undefined;
  return spliceEntry(mapping, { outerSource, fromClient: true, bytes: 0n, now: 1n, startedAt: 1n });
}

function join(programs: TpotPrograms): void {
  programs.map('tpotSplices').set(kernelFlow(flows.spliced), entryOf(flows.spliced, false));
  programs.map('tpotSplices').set(kernelFlow(tunnelledSplice), entryOf(tunnelledSplice, true));
  programs.configure({ flags: programs.config.flags | TpotFlag.SPLICING });
}

/** In the order in which they are measured: the state that one prepares stays for those after it. */
export const costPaths: readonly CostPath[] = [
  {
    name: 'not-ip',
    title: 'not IP (ARP), ingress',
    program: 'tpot_ingress',
    frame: ARP,
    repeat: MANY,
    reason: undefined,
  },
  {
    name: 'pass-ingress',
    title: 'plain segment, ingress, tables empty',
    program: 'tpot_ingress',
    frame: frame(segment(flows.stranger, MSS)),
    repeat: MANY,
    reason: undefined,
  },
  {
    name: 'pass-egress',
    title: 'plain segment, egress, tables empty',
    program: 'tpot_egress',
    frame: frame(segment(flows.stranger, MSS)),
    repeat: MANY,
    reason: undefined,
  },
  {
    name: 'syn-plain',
    title: 'SYN without a request',
    program: 'tpot_ingress',
    frame: frame(segment(flows.stranger, 0, { flags: ['syn'], options: [{ kind: 'mss', mss: 1460 }] })),
    repeat: MANY,
    reason: undefined,
  },
  {
    name: 'syn-request',
    title: 'SYN with a request, one rule, nobody listens',
    program: 'tpot_ingress',
    frame: frame(segment(flows.stranger, 0, { flags: ['syn'], options: synOptions })),
    repeat: MANY,
    reason: 'pass-no-listener',
  },
  {
    name: 'encap',
    title: 'segment into its tunnel, egress',
    program: 'tpot_egress',
    frame: frame(segment(flows.pinned, MSS)),
    repeat: 1,
    reason: 'encap-ok',
    prepare: pin,
  },
  {
    name: 'decap',
    title: 'segment out of its tunnel, ingress',
    program: 'tpot_ingress',
    frame: frame(segment(flows.taken, MSS, { tunnel })),
    repeat: 1,
    reason: 'decap-ok',
    prepare: take,
  },
  {
    name: 'splice',
    title: 'spliced segment',
    program: 'tpot_ingress',
    frame: frame(segment(flows.spliced, MSS)),
    repeat: LAST_TTL - 1,
    reason: 'splice-forwarded',
    prepare: join,
  },
  {
    name: 'splice-ack',
    title: 'spliced ACK',
    program: 'tpot_ingress',
    frame: frame(segment(flows.spliced, 0)),
    repeat: LAST_TTL - 1,
    reason: 'splice-forwarded',
  },
  {
    name: 'splice-sack',
    title: 'spliced ACK with SACK',
    program: 'tpot_ingress',
    frame: frame(segment(flows.spliced, 0, { options: sack })),
    repeat: LAST_TTL - 1,
    reason: 'splice-forwarded',
  },
  {
    name: 'splice-large',
    title: 'spliced packet of two segments (GSO)',
    program: 'tpot_ingress',
    frame: frame(segment(flows.spliced, MAX_LARGE)),
    gsoSize: MSS,
    repeat: LAST_TTL - 1,
    reason: 'splice-forwarded',
  },
  {
    name: 'splice-tunnelled',
    title: 'spliced segment out of its tunnel',
    program: 'tpot_ingress',
    frame: frame(segment(tunnelledSplice, MSS, { tunnel })),
    repeat: 1,
    reason: 'splice-forwarded',
  },
  {
    name: 'pass-ingress-splices',
    title: 'plain segment, ingress, with spliced connections',
    program: 'tpot_ingress',
    frame: frame(segment(flows.stranger, MSS)),
    repeat: MANY,
    reason: undefined,
  },
  {
    name: 'pass-egress-tunnels',
    title: 'plain segment, egress, with tunnels',
    program: 'tpot_egress',
    frame: frame(segment(flows.stranger, MSS)),
    repeat: MANY,
    reason: undefined,
  },
];
