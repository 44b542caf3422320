/** Packets that are almost right: option areas in any order with lengths that lie, and packets with spoilt fields. */
import { encodeOption } from '../../tpot/option.js';
import { tcpOptions, type TcpOption } from '../../wire/tcp-options.js';
import { seq } from '../../wire/seq.js';
import type { Family } from '../../core/address.js';
import { nodeAddresses } from '../bpf-programs.js';
import type { Random } from './random.js';

const MOST_OPTIONS = 40;
const TELLING = [0, 1, 2, 3, 4, 6, 8, 17, 20, 41, 0x40, 0x45, 0x60, 0x7f, 0x80, 0xfd, 0xfe, 0xff] as const;

const KNOWN: readonly ((random: Random) => TcpOption)[] = [
  () => ({ kind: 'nop' }),
  (random) => ({ kind: 'mss', mss: random.below(0x10000) }),
  (random) => ({ kind: 'window-scale', shift: random.below(16) }),
  () => ({ kind: 'sack-permitted' }),
  (random) => ({ kind: 'timestamps', value: random.u32(), echo: random.u32() }),
  (random) => ({
    kind: 'sack',
    blocks: Array.from({ length: 1 + random.below(3) }, () => ({
      left: seq(random.u32()),
      right: seq(random.u32()),
    })),
  }),
  (random) => ({ kind: 'unknown', code: random.pick([253, 254]), data: random.bytes(random.below(18)) }),
  (random) => ({ kind: 'unknown', code: 30, data: random.bytes(2 + random.below(10)) }), // MPTCP
  () => ({ kind: 'end', padding: new Uint8Array() }),
];

const OURS: readonly ((random: Random) => TcpOption)[] = [
  (random) =>
    encodeOption({ type: 'request', hops: random.pick([0, 1, 8, 255]), capabilities: random.below(256) }),
  (random) =>
    encodeOption({
      type: 'reply',
      address: nodeAddresses[random.pick<Family>([4, 6])],
      flags: 0,
      capabilities: 3,
    }),
  (random) =>
    encodeOption({
      type: 'reply',
      address: nodeAddresses[4],
      flags: 0,
      capabilities: 0,
      udpPort: random.below(0x10000),
    }),
];

/** Up to 40 bytes of options; half of the time as they should be, else with a byte, a length or the end spoilt. */
export function optionArea(random: Random): Uint8Array {
  if (random.once(32)) return random.bytes(random.below(MOST_OPTIONS + 1));
  const list = Array.from({ length: random.below(7) }, () =>
    (random.once(3) ? random.pick(OURS) : random.pick(KNOWN))(random),
  );
  const area = tcpOptions.emit(list).subarray(0, MOST_OPTIONS);
  if (area.length === 0 || random.once(2)) return area;
  spoilOption(random, area);
  return random.once(4) ? area.subarray(0, random.below(area.length + 1)) : area;
}

/** Most often the length of an option: a little more or less, nothing, or all there is. */
function spoilOption(random: Random, area: Uint8Array): void {
  const lengths: number[] = [];
  for (let at = 0; at + 1 < area.length;) {
    const kind = area[at] ?? 0;
    if (kind > 1) lengths.push(at + 1);
    at += kind > 1 ? Math.max(2, area[at + 1] ?? 0) : 1;
  }
  if (lengths.length === 0 || random.once(3)) {
    spoil(random, area, [], 0);
    return;
  }
  const at = random.pick(lengths);
  const was = area[at] ?? 0;
  area[at] = random.pick([
    was + 1,
    was - 1,
    was + 4,
    0,
    1,
    2,
    area.length - at + 1,
    area.length - at + 2,
    255,
  ]);
}

/** Changes one byte at or behind `from`, every second time one of `fields`: a bit, a step, or a telling value. */
export function spoil(random: Random, bytes: Uint8Array, fields: readonly number[], from: number): void {
  const at =
    fields.length > 0 && random.once(2) ? random.pick(fields) : from + random.below(bytes.length - from);
  const was = bytes[at];
  if (was === undefined) return;
  const kind = random.below(4);
  if (kind === 0) bytes[at] = was ^ (1 << random.below(8));
  else if (kind === 1) bytes[at] = was + random.pick([-8, -4, -1, 1, 4, 8]);
  else bytes[at] = kind === 2 ? random.pick(TELLING) : random.u32() >>> 24;
}
