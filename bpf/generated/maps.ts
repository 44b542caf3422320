// Generated from the BTF of tpot.bpf.o by scripts/generate-maps.ts. Do not edit.
// Byte order: host fields are little-endian (x86-64, aarch64), __be fields big-endian, arrays are raw bytes.

export interface Codec<T> {
  readonly size: number;
  read(view: DataView, at?: number): T;
  write(view: DataView, value: T, at?: number): void;
}

/** Where each member stands, for tables that are too large to read whole values. */
type Offsets<T> = { readonly at: Readonly<Record<keyof T, number>> };

const bytesAt = (view: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
const putBytes = (view: DataView, at: number, length: number, bytes: Uint8Array): void => {
  if (bytes.length !== length) throw new RangeError(`expected ${length} bytes, got ${bytes.length}`);
  new Uint8Array(view.buffer, view.byteOffset + at, length).set(bytes);
};

const u32Codec: Codec<number> = {
  size: 4,
  read: (view, at = 0) => view.getUint32(at, true),
  write: (view, value, at = 0) => view.setUint32(at, value, true),
};
const noneCodec: Codec<undefined> = { size: 0, read: () => undefined, write: () => undefined };
const u64Codec: Codec<bigint> = {
  size: 8,
  read: (view, at = 0) => view.getBigUint64(at, true),
  write: (view, value, at = 0) => view.setBigUint64(at, value, true),
};


/** `struct tpot_address`, 16 bytes. */
export interface TpotAddress {
  address: Uint8Array;
}
export const TpotAddressCodec = {
  size: 16,
  at: { address: 0 },
  read: (view, at = 0) => ({
    address: bytesAt(view, at + 0, 16),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 16, value.address);
  },
} satisfies Codec<TpotAddress> & Offsets<TpotAddress>;

/** `struct tpot_black_hole`, 16 bytes. */
export interface TpotBlackHole {
  untilNs: bigint;
  seconds: number;
  times: number;
}
export const TpotBlackHoleCodec = {
  size: 16,
  at: { untilNs: 0, seconds: 8, times: 12 },
  read: (view, at = 0) => ({
    untilNs: view.getBigUint64(at + 0, true),
    seconds: view.getUint32(at + 8, true),
    times: view.getUint32(at + 12, true),
  }),
  write: (view, value, at = 0) => {
    view.setBigUint64(at + 0, value.untilNs, true);
    view.setUint32(at + 8, value.seconds, true);
    view.setUint32(at + 12, value.times, true);
  },
} satisfies Codec<TpotBlackHole> & Offsets<TpotBlackHole>;

/** `struct tpot_bypass`, 32 bytes. */
export interface TpotBypass {
  ports: Uint8Array;
}
export const TpotBypassCodec = {
  size: 32,
  at: { ports: 0 },
  read: (view, at = 0) => ({
    ports: bytesAt(view, at + 0, 32),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 32, value.ports);
  },
} satisfies Codec<TpotBypass> & Offsets<TpotBypass>;

/** `struct tpot_bypass_key`, 24 bytes. */
export interface TpotBypassKey {
  length: number;
  list: number;
  address: Uint8Array;
}
export const TpotBypassKeyCodec = {
  size: 24,
  at: { length: 0, list: 4, address: 8 },
  read: (view, at = 0) => ({
    length: view.getUint32(at + 0, true),
    list: view.getUint32(at + 4, false),
    address: bytesAt(view, at + 8, 16),
  }),
  write: (view, value, at = 0) => {
    view.setUint32(at + 0, value.length, true);
    view.setUint32(at + 4, value.list, false);
    putBytes(view, at + 8, 16, value.address);
  },
} satisfies Codec<TpotBypassKey> & Offsets<TpotBypassKey>;

/** `struct tpot_config`, 80 bytes. */
export interface TpotConfig {
  layoutVersion: number;
  flags: number;
  address4: number;
  mark: number;
  address6: Uint8Array;
  listenerPort4: number;
  listenerPort6: number;
  exid: number;
  exid6: number;
  capabilities: number;
  optionKind: number;
  hops: number;
  synsWithRequest: number;
  maxConnections: number;
  maxTunnels: number;
  policy: number;
  blackHoleFirstSeconds: number;
  blackHoleMaxSeconds: number;
  udpPort: number;
  unused: number;
  keys: number;
  maxPerClient: number;
}
export const TpotConfigCodec = {
  size: 80,
  at: { layoutVersion: 0, flags: 4, address4: 8, mark: 12, address6: 16, listenerPort4: 32, listenerPort6: 34, exid: 36, exid6: 38, capabilities: 40, optionKind: 42, hops: 43, synsWithRequest: 44, maxConnections: 48, maxTunnels: 52, policy: 56, blackHoleFirstSeconds: 60, blackHoleMaxSeconds: 64, udpPort: 68, unused: 70, keys: 72, maxPerClient: 76 },
  read: (view, at = 0) => ({
    layoutVersion: view.getUint32(at + 0, true),
    flags: view.getUint32(at + 4, true),
    address4: view.getUint32(at + 8, false),
    mark: view.getUint32(at + 12, true),
    address6: bytesAt(view, at + 16, 16),
    listenerPort4: view.getUint16(at + 32, true),
    listenerPort6: view.getUint16(at + 34, true),
    exid: view.getUint16(at + 36, false),
    exid6: view.getUint16(at + 38, false),
    capabilities: view.getUint16(at + 40, true),
    optionKind: view.getUint8(at + 42),
    hops: view.getUint8(at + 43),
    synsWithRequest: view.getUint32(at + 44, true),
    maxConnections: view.getUint32(at + 48, true),
    maxTunnels: view.getUint32(at + 52, true),
    policy: view.getUint32(at + 56, true),
    blackHoleFirstSeconds: view.getUint32(at + 60, true),
    blackHoleMaxSeconds: view.getUint32(at + 64, true),
    udpPort: view.getUint16(at + 68, false),
    unused: view.getUint16(at + 70, true),
    keys: view.getUint32(at + 72, true),
    maxPerClient: view.getUint32(at + 76, true),
  }),
  write: (view, value, at = 0) => {
    view.setUint32(at + 0, value.layoutVersion, true);
    view.setUint32(at + 4, value.flags, true);
    view.setUint32(at + 8, value.address4, false);
    view.setUint32(at + 12, value.mark, true);
    putBytes(view, at + 16, 16, value.address6);
    view.setUint16(at + 32, value.listenerPort4, true);
    view.setUint16(at + 34, value.listenerPort6, true);
    view.setUint16(at + 36, value.exid, false);
    view.setUint16(at + 38, value.exid6, false);
    view.setUint16(at + 40, value.capabilities, true);
    view.setUint8(at + 42, value.optionKind);
    view.setUint8(at + 43, value.hops);
    view.setUint32(at + 44, value.synsWithRequest, true);
    view.setUint32(at + 48, value.maxConnections, true);
    view.setUint32(at + 52, value.maxTunnels, true);
    view.setUint32(at + 56, value.policy, true);
    view.setUint32(at + 60, value.blackHoleFirstSeconds, true);
    view.setUint32(at + 64, value.blackHoleMaxSeconds, true);
    view.setUint16(at + 68, value.udpPort, false);
    view.setUint16(at + 70, value.unused, true);
    view.setUint32(at + 72, value.keys, true);
    view.setUint32(at + 76, value.maxPerClient, true);
  },
} satisfies Codec<TpotConfig> & Offsets<TpotConfig>;

/** `struct tpot_episode`, 16 bytes. */
export interface TpotEpisode {
  untilNs: bigint;
  seconds: number;
  unused: number;
}
export const TpotEpisodeCodec = {
  size: 16,
  at: { untilNs: 0, seconds: 8, unused: 12 },
  read: (view, at = 0) => ({
    untilNs: view.getBigUint64(at + 0, true),
    seconds: view.getUint32(at + 8, true),
    unused: view.getUint32(at + 12, true),
  }),
  write: (view, value, at = 0) => {
    view.setBigUint64(at + 0, value.untilNs, true);
    view.setUint32(at + 8, value.seconds, true);
    view.setUint32(at + 12, value.unused, true);
  },
} satisfies Codec<TpotEpisode> & Offsets<TpotEpisode>;

/** `struct tpot_flow`, 36 bytes. */
export interface TpotFlow {
  source: Uint8Array;
  destination: Uint8Array;
  sourcePort: number;
  destinationPort: number;
}
export const TpotFlowCodec = {
  size: 36,
  at: { source: 0, destination: 16, sourcePort: 32, destinationPort: 34 },
  read: (view, at = 0) => ({
    source: bytesAt(view, at + 0, 16),
    destination: bytesAt(view, at + 16, 16),
    sourcePort: view.getUint16(at + 32, false),
    destinationPort: view.getUint16(at + 34, false),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 16, value.source);
    putBytes(view, at + 16, 16, value.destination);
    view.setUint16(at + 32, value.sourcePort, false);
    view.setUint16(at + 34, value.destinationPort, false);
  },
} satisfies Codec<TpotFlow> & Offsets<TpotFlow>;

/** `struct tpot_gauges`, 24 bytes. */
export interface TpotGauges {
  taken: bigint;
  tunnels: bigint;
  unused: number;
  padding: number;
}
export const TpotGaugesCodec = {
  size: 24,
  at: { taken: 0, tunnels: 8, unused: 16, padding: 20 },
  read: (view, at = 0) => ({
    taken: view.getBigUint64(at + 0, true),
    tunnels: view.getBigUint64(at + 8, true),
    unused: view.getUint32(at + 16, true),
    padding: view.getUint32(at + 20, true),
  }),
  write: (view, value, at = 0) => {
    view.setBigUint64(at + 0, value.taken, true);
    view.setBigUint64(at + 8, value.tunnels, true);
    view.setUint32(at + 16, value.unused, true);
    view.setUint32(at + 20, value.padding, true);
  },
} satisfies Codec<TpotGauges> & Offsets<TpotGauges>;

/** `struct tpot_held`, 16388 bytes. */
export interface TpotHeld {
  length: number;
  packet: Uint8Array;
}
export const TpotHeldCodec = {
  size: 16388,
  at: { length: 0, packet: 4 },
  read: (view, at = 0) => ({
    length: view.getUint32(at + 0, true),
    packet: bytesAt(view, at + 4, 16384),
  }),
  write: (view, value, at = 0) => {
    view.setUint32(at + 0, value.length, true);
    putBytes(view, at + 4, 16384, value.packet);
  },
} satisfies Codec<TpotHeld> & Offsets<TpotHeld>;

/** `struct tpot_key`, 16 bytes. */
export interface TpotKey {
  k0: bigint;
  k1: bigint;
}
export const TpotKeyCodec = {
  size: 16,
  at: { k0: 0, k1: 8 },
  read: (view, at = 0) => ({
    k0: view.getBigUint64(at + 0, true),
    k1: view.getBigUint64(at + 8, true),
  }),
  write: (view, value, at = 0) => {
    view.setBigUint64(at + 0, value.k0, true);
    view.setBigUint64(at + 8, value.k1, true);
  },
} satisfies Codec<TpotKey> & Offsets<TpotKey>;

/** `struct tpot_mac_input`, 64 bytes. */
export interface TpotMacInput {
  flow: TpotFlow;
  seq: number;
  isn: number;
  option: Uint8Array;
}
export const TpotMacInputCodec = {
  size: 64,
  at: { flow: 0, seq: 36, isn: 40, option: 44 },
  read: (view, at = 0) => ({
    flow: TpotFlowCodec.read(view, at + 0),
    seq: view.getUint32(at + 36, false),
    isn: view.getUint32(at + 40, false),
    option: bytesAt(view, at + 44, 20),
  }),
  write: (view, value, at = 0) => {
    TpotFlowCodec.write(view, value.flow, at + 0);
    view.setUint32(at + 36, value.seq, false);
    view.setUint32(at + 40, value.isn, false);
    putBytes(view, at + 44, 20, value.option);
  },
} satisfies Codec<TpotMacInput> & Offsets<TpotMacInput>;

/** `struct tpot_option_area`, 68 bytes. */
export interface TpotOptionArea {
  bytes: Uint8Array;
  length: number;
}
export const TpotOptionAreaCodec = {
  size: 68,
  at: { bytes: 0, length: 64 },
  read: (view, at = 0) => ({
    bytes: bytesAt(view, at + 0, 64),
    length: view.getUint32(at + 64, true),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 64, value.bytes);
    view.setUint32(at + 64, value.length, true);
  },
} satisfies Codec<TpotOptionArea> & Offsets<TpotOptionArea>;

/** `struct tpot_pending`, 4 bytes. */
export interface TpotPending {
  plain: number;
  keyed: number;
  verified: number;
  unused: number;
}
export const TpotPendingCodec = {
  size: 4,
  at: { plain: 0, keyed: 1, verified: 2, unused: 3 },
  read: (view, at = 0) => ({
    plain: view.getUint8(at + 0),
    keyed: view.getUint8(at + 1),
    verified: view.getUint8(at + 2),
    unused: view.getUint8(at + 3),
  }),
  write: (view, value, at = 0) => {
    view.setUint8(at + 0, value.plain);
    view.setUint8(at + 1, value.keyed);
    view.setUint8(at + 2, value.verified);
    view.setUint8(at + 3, value.unused);
  },
} satisfies Codec<TpotPending> & Offsets<TpotPending>;

/** `struct tpot_policy_row`, 76 bytes. */
export interface TpotPolicyRow {
  source: Uint8Array;
  sourceMask: Uint8Array;
  destination: Uint8Array;
  destinationMask: Uint8Array;
  portFrom: number;
  portTo: number;
  take: number;
  capabilities: number;
  family: number;
  unused: number;
}
export const TpotPolicyRowCodec = {
  size: 76,
  at: { source: 0, sourceMask: 16, destination: 32, destinationMask: 48, portFrom: 64, portTo: 66, take: 68, capabilities: 72, family: 74, unused: 75 },
  read: (view, at = 0) => ({
    source: bytesAt(view, at + 0, 16),
    sourceMask: bytesAt(view, at + 16, 16),
    destination: bytesAt(view, at + 32, 16),
    destinationMask: bytesAt(view, at + 48, 16),
    portFrom: view.getUint16(at + 64, true),
    portTo: view.getUint16(at + 66, true),
    take: view.getUint32(at + 68, true),
    capabilities: view.getUint16(at + 72, true),
    family: view.getUint8(at + 74),
    unused: view.getUint8(at + 75),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 16, value.source);
    putBytes(view, at + 16, 16, value.sourceMask);
    putBytes(view, at + 32, 16, value.destination);
    putBytes(view, at + 48, 16, value.destinationMask);
    view.setUint16(at + 64, value.portFrom, true);
    view.setUint16(at + 66, value.portTo, true);
    view.setUint32(at + 68, value.take, true);
    view.setUint16(at + 72, value.capabilities, true);
    view.setUint8(at + 74, value.family);
    view.setUint8(at + 75, value.unused);
  },
} satisfies Codec<TpotPolicyRow> & Offsets<TpotPolicyRow>;

/** `struct tpot_prefix`, 24 bytes. */
export interface TpotPrefix {
  length: number;
  family: number;
  address: Uint8Array;
}
export const TpotPrefixCodec = {
  size: 24,
  at: { length: 0, family: 4, address: 8 },
  read: (view, at = 0) => ({
    length: view.getUint32(at + 0, true),
    family: view.getUint32(at + 4, false),
    address: bytesAt(view, at + 8, 16),
  }),
  write: (view, value, at = 0) => {
    view.setUint32(at + 0, value.length, true);
    view.setUint32(at + 4, value.family, false);
    putBytes(view, at + 8, 16, value.address);
  },
} satisfies Codec<TpotPrefix> & Offsets<TpotPrefix>;

/** `struct tpot_quoted`, 112 bytes. */
export interface TpotQuoted {
  flow: TpotFlow;
  remote: Uint8Array;
  outer: Uint8Array;
  outerLength: number;
  tcp: number;
  udpHeader: Uint8Array;
  udp: number;
  back: number;
}
export const TpotQuotedCodec = {
  size: 112,
  at: { flow: 0, remote: 36, outer: 52, outerLength: 92, tcp: 96, udpHeader: 100, udp: 108, back: 109 },
  read: (view, at = 0) => ({
    flow: TpotFlowCodec.read(view, at + 0),
    remote: bytesAt(view, at + 36, 16),
    outer: bytesAt(view, at + 52, 40),
    outerLength: view.getUint32(at + 92, true),
    tcp: view.getUint32(at + 96, true),
    udpHeader: bytesAt(view, at + 100, 8),
    udp: view.getUint8(at + 108),
    back: view.getUint8(at + 109),
  }),
  write: (view, value, at = 0) => {
    TpotFlowCodec.write(view, value.flow, at + 0);
    putBytes(view, at + 36, 16, value.remote);
    putBytes(view, at + 52, 40, value.outer);
    view.setUint32(at + 92, value.outerLength, true);
    view.setUint32(at + 96, value.tcp, true);
    putBytes(view, at + 100, 8, value.udpHeader);
    view.setUint8(at + 108, value.udp);
    view.setUint8(at + 109, value.back);
  },
} satisfies Codec<TpotQuoted> & Offsets<TpotQuoted>;

/** `struct tpot_route`, 72 bytes. */
export interface TpotRoute {
  from: number;
  source: Uint8Array;
  destination: Uint8Array;
  found: number;
  ifindex: number;
  nextHop: Uint8Array;
  family: number;
  mtu: number;
  mac: Uint8Array;
  unused: number;
}
export const TpotRouteCodec = {
  size: 72,
  at: { from: 0, source: 4, destination: 20, found: 36, ifindex: 40, nextHop: 44, family: 60, mtu: 62, mac: 64, unused: 70 },
  read: (view, at = 0) => ({
    from: view.getUint32(at + 0, true),
    source: bytesAt(view, at + 4, 16),
    destination: bytesAt(view, at + 20, 16),
    found: view.getUint32(at + 36, true),
    ifindex: view.getUint32(at + 40, true),
    nextHop: bytesAt(view, at + 44, 16),
    family: view.getUint16(at + 60, true),
    mtu: view.getUint16(at + 62, true),
    mac: bytesAt(view, at + 64, 6),
    unused: view.getUint16(at + 70, true),
  }),
  write: (view, value, at = 0) => {
    view.setUint32(at + 0, value.from, true);
    putBytes(view, at + 4, 16, value.source);
    putBytes(view, at + 20, 16, value.destination);
    view.setUint32(at + 36, value.found, true);
    view.setUint32(at + 40, value.ifindex, true);
    putBytes(view, at + 44, 16, value.nextHop);
    view.setUint16(at + 60, value.family, true);
    view.setUint16(at + 62, value.mtu, true);
    putBytes(view, at + 64, 6, value.mac);
    view.setUint16(at + 70, value.unused, true);
  },
} satisfies Codec<TpotRoute> & Offsets<TpotRoute>;

/** `struct tpot_socket`, 32 bytes. */
export interface TpotSocket {
  nextHop: Uint8Array;
  legReason: number;
  origin: number;
  requestCapabilities: number;
  replyCapabilities: number;
  requestHops: number;
  syns: number;
  requests: number;
  udp: number;
}
export const TpotSocketCodec = {
  size: 32,
  at: { nextHop: 0, legReason: 16, origin: 20, requestCapabilities: 24, replyCapabilities: 26, requestHops: 28, syns: 29, requests: 30, udp: 31 },
  read: (view, at = 0) => ({
    nextHop: bytesAt(view, at + 0, 16),
    legReason: view.getUint32(at + 16, true),
    origin: view.getUint32(at + 20, true),
    requestCapabilities: view.getUint16(at + 24, true),
    replyCapabilities: view.getUint16(at + 26, true),
    requestHops: view.getUint8(at + 28),
    syns: view.getUint8(at + 29),
    requests: view.getUint8(at + 30),
    udp: view.getUint8(at + 31),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 16, value.nextHop);
    view.setUint32(at + 16, value.legReason, true);
    view.setUint32(at + 20, value.origin, true);
    view.setUint16(at + 24, value.requestCapabilities, true);
    view.setUint16(at + 26, value.replyCapabilities, true);
    view.setUint8(at + 28, value.requestHops);
    view.setUint8(at + 29, value.syns);
    view.setUint8(at + 30, value.requests);
    view.setUint8(at + 31, value.udp);
  },
} satisfies Codec<TpotSocket> & Offsets<TpotSocket>;

/** `struct tpot_splice`, 136 bytes. */
export interface TpotSplice {
  out: TpotFlow;
  outerSource: Uint8Array;
  base: number;
  sequenceDelta: number;
  acknowledgmentDelta: number;
  timestampDelta: number;
  echoDelta: number;
  peerFin: number;
  maxSegment: number;
  scaleUp: number;
  scaleDown: number;
  flags: number;
  sent: number;
  acknowledged: number;
  tooBig: number;
  packets: bigint;
  bytes: bigint;
  startedNs: bigint;
  seenNs: bigint;
  stalled: number;
  stalls: number;
  counted: number;
  unused: number;
}
export const TpotSpliceCodec = {
  size: 136,
  at: { out: 0, outerSource: 36, base: 52, sequenceDelta: 56, acknowledgmentDelta: 60, timestampDelta: 64, echoDelta: 68, peerFin: 72, maxSegment: 76, scaleUp: 78, scaleDown: 79, flags: 80, sent: 84, acknowledged: 88, tooBig: 92, packets: 96, bytes: 104, startedNs: 112, seenNs: 120, stalled: 128, stalls: 132, counted: 133, unused: 134 },
  read: (view, at = 0) => ({
    out: TpotFlowCodec.read(view, at + 0),
    outerSource: bytesAt(view, at + 36, 16),
    base: view.getUint32(at + 52, true),
    sequenceDelta: view.getUint32(at + 56, true),
    acknowledgmentDelta: view.getUint32(at + 60, true),
    timestampDelta: view.getUint32(at + 64, true),
    echoDelta: view.getUint32(at + 68, true),
    peerFin: view.getUint32(at + 72, true),
    maxSegment: view.getUint16(at + 76, true),
    scaleUp: view.getUint8(at + 78),
    scaleDown: view.getUint8(at + 79),
    flags: view.getUint32(at + 80, true),
    sent: view.getUint32(at + 84, true),
    acknowledged: view.getUint32(at + 88, true),
    tooBig: view.getUint32(at + 92, true),
    packets: view.getBigUint64(at + 96, true),
    bytes: view.getBigUint64(at + 104, true),
    startedNs: view.getBigUint64(at + 112, true),
    seenNs: view.getBigUint64(at + 120, true),
    stalled: view.getUint32(at + 128, true),
    stalls: view.getUint8(at + 132),
    counted: view.getUint8(at + 133),
    unused: view.getUint16(at + 134, true),
  }),
  write: (view, value, at = 0) => {
    TpotFlowCodec.write(view, value.out, at + 0);
    putBytes(view, at + 36, 16, value.outerSource);
    view.setUint32(at + 52, value.base, true);
    view.setUint32(at + 56, value.sequenceDelta, true);
    view.setUint32(at + 60, value.acknowledgmentDelta, true);
    view.setUint32(at + 64, value.timestampDelta, true);
    view.setUint32(at + 68, value.echoDelta, true);
    view.setUint32(at + 72, value.peerFin, true);
    view.setUint16(at + 76, value.maxSegment, true);
    view.setUint8(at + 78, value.scaleUp);
    view.setUint8(at + 79, value.scaleDown);
    view.setUint32(at + 80, value.flags, true);
    view.setUint32(at + 84, value.sent, true);
    view.setUint32(at + 88, value.acknowledged, true);
    view.setUint32(at + 92, value.tooBig, true);
    view.setBigUint64(at + 96, value.packets, true);
    view.setBigUint64(at + 104, value.bytes, true);
    view.setBigUint64(at + 112, value.startedNs, true);
    view.setBigUint64(at + 120, value.seenNs, true);
    view.setUint32(at + 128, value.stalled, true);
    view.setUint8(at + 132, value.stalls);
    view.setUint8(at + 133, value.counted);
    view.setUint16(at + 134, value.unused, true);
  },
} satisfies Codec<TpotSplice> & Offsets<TpotSplice>;

/** `struct tpot_taken`, 44 bytes. */
export interface TpotTaken {
  outerSource: Uint8Array;
  isn: number;
  state: number;
  capabilities: number;
  hops: number;
  udp: number;
  mss: number;
  keyed: number;
  counted: number;
  last: number;
  acknowledged: number;
  again: number;
  returning: number;
  unused: number;
}
export const TpotTakenCodec = {
  size: 44,
  at: { outerSource: 0, isn: 16, state: 20, capabilities: 24, hops: 26, udp: 27, mss: 28, keyed: 30, counted: 31, last: 32, acknowledged: 36, again: 40, returning: 41, unused: 42 },
  read: (view, at = 0) => ({
    outerSource: bytesAt(view, at + 0, 16),
    isn: view.getUint32(at + 16, true),
    state: view.getUint32(at + 20, true),
    capabilities: view.getUint16(at + 24, true),
    hops: view.getUint8(at + 26),
    udp: view.getUint8(at + 27),
    mss: view.getUint16(at + 28, true),
    keyed: view.getUint8(at + 30),
    counted: view.getUint8(at + 31),
    last: view.getUint32(at + 32, true),
    acknowledged: view.getUint32(at + 36, true),
    again: view.getUint8(at + 40),
    returning: view.getUint8(at + 41),
    unused: view.getUint16(at + 42, true),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 16, value.outerSource);
    view.setUint32(at + 16, value.isn, true);
    view.setUint32(at + 20, value.state, true);
    view.setUint16(at + 24, value.capabilities, true);
    view.setUint8(at + 26, value.hops);
    view.setUint8(at + 27, value.udp);
    view.setUint16(at + 28, value.mss, true);
    view.setUint8(at + 30, value.keyed);
    view.setUint8(at + 31, value.counted);
    view.setUint32(at + 32, value.last, true);
    view.setUint32(at + 36, value.acknowledged, true);
    view.setUint8(at + 40, value.again);
    view.setUint8(at + 41, value.returning);
    view.setUint16(at + 42, value.unused, true);
  },
} satisfies Codec<TpotTaken> & Offsets<TpotTaken>;

/** `struct tpot_tunnel`, 28 bytes. */
export interface TpotTunnel {
  remote: Uint8Array;
  udpPort: number;
  capabilities: number;
  repeats: number;
  plain: number;
  udp: number;
  answered: number;
  back: number;
  stalls: number;
  largest: number;
}
export const TpotTunnelCodec = {
  size: 28,
  at: { remote: 0, udpPort: 16, capabilities: 18, repeats: 20, plain: 21, udp: 22, answered: 23, back: 24, stalls: 25, largest: 26 },
  read: (view, at = 0) => ({
    remote: bytesAt(view, at + 0, 16),
    udpPort: view.getUint16(at + 16, false),
    capabilities: view.getUint16(at + 18, true),
    repeats: view.getUint8(at + 20),
    plain: view.getUint8(at + 21),
    udp: view.getUint8(at + 22),
    answered: view.getUint8(at + 23),
    back: view.getUint8(at + 24),
    stalls: view.getUint8(at + 25),
    largest: view.getUint16(at + 26, true),
  }),
  write: (view, value, at = 0) => {
    putBytes(view, at + 0, 16, value.remote);
    view.setUint16(at + 16, value.udpPort, false);
    view.setUint16(at + 18, value.capabilities, true);
    view.setUint8(at + 20, value.repeats);
    view.setUint8(at + 21, value.plain);
    view.setUint8(at + 22, value.udp);
    view.setUint8(at + 23, value.answered);
    view.setUint8(at + 24, value.back);
    view.setUint8(at + 25, value.stalls);
    view.setUint16(at + 26, value.largest, true);
  },
} satisfies Codec<TpotTunnel> & Offsets<TpotTunnel>;

/** `enum tpot_bypass_list`. */
export const TpotBypassList = {
  SOURCE: 16,
  BANK: 32,
} as const;

/** `enum tpot_flag`. */
export const TpotFlag = {
  NODE: 1,
  SOURCE: 2,
  DRAINING: 4,
  EDGE: 8,
  SPLICING: 16,
  CLIENT_LEGS: 32,
  REQUIRE_KEY: 64,
} as const;

/** `enum tpot_origin`. */
export const TpotOrigin = {
  NONE: 0,
  TUNNEL: 1,
  EDGE: 2,
  STRIPPED: 3,
} as const;

/** `enum tpot_reason`. */
export const TpotReason = {
  NONE: 0,
  TAKEN: 1,
  TAKEN_EDGE: 2,
  TAKEN_REPLY_STRIPPED: 3,
  TRACE_FORWARDED: 4,
  PASS_HOPS: 5,
  PASS_BYPASS: 6,
  PASS_POLICY: 7,
  PASS_TRANSFORMS: 8,
  PASS_UNKEYED: 9,
  PASS_DRAINING: 10,
  PASS_LIMIT: 11,
  PASS_CLIENT_LIMIT: 12,
  PASS_TIME_WAIT: 13,
  PASS_NO_LISTENER: 14,
  PASS_LOOP: 15,
  PASS_MP_JOIN: 16,
  PASS_LOCAL: 17,
  PASS_PLAIN_OF_TUNNELLED: 18,
  DECAP_OK: 19,
  DECAP_UDP_OK: 20,
  DROP_DECAP_UNKNOWN: 21,
  DROP_DECAP_SOURCE: 22,
  DROP_DECAP_MALFORMED: 23,
  DROP_DECAP_OPTIONS: 24,
  DROP_DECAP_NOT_TCP: 25,
  SYNACK_REPLY: 26,
  ESTABLISHED: 27,
  TABLE_FULL: 28,
  REQUEST_SENT: 29,
  REQUEST_OMITTED_BLACK_HOLE: 30,
  REQUEST_OMITTED_RETRIES: 31,
  REQUEST_OMITTED_LOCAL: 32,
  REQUEST_OMITTED_LIMIT: 33,
  REQUEST_OMITTED_UNTRUSTED: 34,
  REQUEST_OMITTED_KEYED: 35,
  REQUEST_NO_SPACE: 36,
  REPLY_ACCEPTED: 37,
  REPLY_NONE: 38,
  DROP_REPLY_UNTRUSTED: 39,
  DROP_REPLY_NOT_UNICAST: 40,
  DROP_REPLY_OWN: 41,
  DROP_REPLY_UNKEYED: 42,
  BLACK_HOLE_LEARNED: 43,
  ENCAP_OK: 44,
  ENCAP_UDP_OK: 45,
  ENCAP_FAILED: 46,
  SPLICE_FORWARDED: 47,
  SPLICE_CUT: 48,
  SPLICE_FORGOTTEN: 49,
  DROP_SPLICE_HOLD: 50,
  DROP_SPLICE_TTL: 51,
  DROP_SPLICE_CONGESTION: 52,
  DROP_SPLICE_TOO_BIG: 53,
  SPLICE_TOLD: 54,
  SPLICE_RESIZED: 55,
  DROP_ICMP_SPLICED: 56,
  DROP_SPLICE_NO_ROUTE: 57,
  DROP_SPLICE_FAILED: 58,
  TAP_COPIED: 59,
  TAP_LOST: 60,
  TUNNEL_BLOCKED: 61,
  TUNNEL_UDP: 62,
  TUNNEL_UDP_REMEMBERED: 63,
  RETURN_TUNNEL: 64,
  RETURN_REMEMBERED: 65,
  RETURN_GIVEN_UP: 66,
  ICMP_TRANSLATED: 67,
  ICMP_DELIVERED: 68,
  COUNT: 69,
} as const;

/** `enum tpot_row`. */
export const TpotRow = {
  PASSES: 0,
  TAKES: 1,
  YIELDS: 2,
} as const;

/** `enum tpot_splice_flag`. */
export const TpotSpliceFlag = {
  HOLD: 1,
  TUNNELLED: 2,
  FROM_CLIENT: 4,
  TIMESTAMPS: 8,
  SACK: 16,
  ECN: 32,
  PEER_FIN: 64,
  PEER_DONE: 128,
  RESET: 256,
  UDP: 512,
  TAPPED: 1024,
  DOUBTFUL: 2048,
  RETURNS: 4096,
} as const;

/** `enum tpot_state`. */
export const TpotState = {
  SYN_RECEIVED: 1,
  SYN_ANSWERED: 2,
  TUNNELLED: 3,
  PLAIN: 4,
  EDGE: 5,
  SILENT: 6,
} as const;

/** `enum tpot_unused`. */
export const TpotUnused = {
  TAKEN: 1,
  TUNNELS: 2,
} as const;

export const maps = {
  tpotBlackHoles: { name: 'tpot_black_holes', key: TpotAddressCodec, value: TpotBlackHoleCodec, maxEntries: 4096, type: 9 },
  tpotBypass: { name: 'tpot_bypass', key: TpotBypassKeyCodec, value: TpotBypassCodec, maxEntries: 131072, type: 11 },
  tpotClients: { name: 'tpot_clients', key: TpotAddressCodec, value: u32Codec, maxEntries: 262144, type: 1 },
  tpotConfig: { name: 'tpot_config', key: u32Codec, value: TpotConfigCodec, maxEntries: 1, type: 2 },
  tpotCounters: { name: 'tpot_counters', key: u32Codec, value: u64Codec, maxEntries: 69, type: 6 },
  tpotGauges: { name: 'tpot_gauges', key: u32Codec, value: TpotGaugesCodec, maxEntries: 1, type: 2 },
  tpotHeld: { name: 'tpot_held', key: noneCodec, value: TpotHeldCodec, maxEntries: 64, type: 22 },
  tpotHeldScratch: { name: 'tpot_held_scratch', key: u32Codec, value: TpotHeldCodec, maxEntries: 1, type: 6 },
  tpotKeys: { name: 'tpot_keys', key: u32Codec, value: TpotKeyCodec, maxEntries: 8, type: 2 },
  tpotMacScratch: { name: 'tpot_mac_scratch', key: u32Codec, value: TpotMacInputCodec, maxEntries: 1, type: 6 },
  tpotOwn: { name: 'tpot_own', key: TpotAddressCodec, value: u32Codec, maxEntries: 16384, type: 1 },
  tpotPending: { name: 'tpot_pending', key: TpotFlowCodec, value: TpotPendingCodec, maxEntries: 16384, type: 9 },
  tpotPolicy: { name: 'tpot_policy', key: u32Codec, value: TpotPolicyRowCodec, maxEntries: 512, type: 2 },
  tpotQuoted: { name: 'tpot_quoted', key: u32Codec, value: TpotQuotedCodec, maxEntries: 1, type: 6 },
  tpotReturnSources: { name: 'tpot_return_sources', key: TpotAddressCodec, value: TpotEpisodeCodec, maxEntries: 4096, type: 9 },
  tpotRoutes: { name: 'tpot_routes', key: u32Codec, value: TpotRouteCodec, maxEntries: 1024, type: 6 },
  tpotScratch: { name: 'tpot_scratch', key: u32Codec, value: TpotOptionAreaCodec, maxEntries: 1, type: 6 },
  tpotSockets: { name: 'tpot_sockets', key: u32Codec, value: TpotSocketCodec, maxEntries: 0, type: 24 },
  tpotSplices: { name: 'tpot_splices', key: TpotFlowCodec, value: TpotSpliceCodec, maxEntries: 262144, type: 1 },
  tpotTaken: { name: 'tpot_taken', key: TpotFlowCodec, value: TpotTakenCodec, maxEntries: 131072, type: 1 },
  tpotTaps: { name: 'tpot_taps', key: noneCodec, value: noneCodec, maxEntries: 65536, type: 27 },
  tpotTransient: { name: 'tpot_transient', key: TpotFlowCodec, value: TpotTakenCodec, maxEntries: 65536, type: 9 },
  tpotTrust: { name: 'tpot_trust', key: TpotPrefixCodec, value: u32Codec, maxEntries: 2048, type: 11 },
  tpotTunnels: { name: 'tpot_tunnels', key: TpotFlowCodec, value: TpotTunnelCodec, maxEntries: 131072, type: 1 },
  tpotTunnelsClosed: { name: 'tpot_tunnels_closed', key: TpotFlowCodec, value: TpotTunnelCodec, maxEntries: 16384, type: 9 },
  tpotUdpNodes: { name: 'tpot_udp_nodes', key: TpotAddressCodec, value: TpotEpisodeCodec, maxEntries: 4096, type: 9 },
} as const;
