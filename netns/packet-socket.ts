/** What the kernel counted on a capture's socket: libpcap has it, but the `cap` package does not pass it on. */
import { readdirSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';

const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const STATISTICS_SIZE = 12; // struct tpacket_stats_v3: packets, drops, freezes

const getsockopt = koffi
  .load('libc.so.6')
  .func('int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)') as (
  fd: number,
  level: number,
  name: number,
  value: Buffer,
  length: number[],
) => number;

/** The sockets this process has open. */
export function openSockets(): Set<number> {
  const sockets = new Set<number>();
  for (const entry of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${entry}`).startsWith('socket:')) sockets.add(Number(entry));
    } catch {
      // the descriptor of the listing itself
    }
  }
  return sockets;
}

export interface PacketCounts {
  /** Put where the program can read them. */
  readonly kept: number;
  /** Lost for want of room. */
  readonly drops: number;
}

/** Since the last call; `undefined` when `fd` is no packet socket. */
export function packetCounts(fd: number): PacketCounts | undefined {
  const value = Buffer.alloc(STATISTICS_SIZE);
  if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, value, [STATISTICS_SIZE]) !== 0) return undefined;
  const [packets, drops] = [value.readUInt32LE(0), value.readUInt32LE(4)];
  return { kept: packets - drops, drops };
}
