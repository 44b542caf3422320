/** TCP streams as they crossed a link: what was carried, and who spoke when. Pure, over a capture. */
import { createHash } from 'node:crypto';
import { formatIp } from '../core/address.js';
import type { CapturedPacket } from './capture.js';
import { hasFlags } from '../wire/tcp.js';

export interface WireStream {
  /** SHA-256 and length of what the opener sent, and of what it got, each byte once. */
  readonly sent: { readonly sha256: string; readonly bytes: number };
  readonly received: { readonly sha256: string; readonly bytes: number };
  /** SYNs and SYN-ACKs, those sent again included. */
  readonly handshakes: number;
  /** How often the side that sends bytes changes: each change takes half a round trip at least. */
  readonly turns: number;
}

/** One direction of one connection; bytes are kept by their place in the stream. */
class Direction {
  #first: number | undefined;
  readonly #parts = new Map<number, Uint8Array>();

  begin(seq: number): void {
    this.#first ??= (seq + 1) >>> 0;
  }

  /** Whether the bytes were new. */
  add(seq: number, bytes: Uint8Array): boolean {
    const at = (seq - (this.#first ?? seq)) >>> 0;
    if ((this.#parts.get(at)?.length ?? 0) >= bytes.length) return false;
    this.#parts.set(at, bytes);
    return true;
  }

  summary(): { sha256: string; bytes: number } {
    const hash = createHash('sha256');
    let end = 0;
    for (const [at, bytes] of [...this.#parts].sort(([a], [b]) => a - b)) {
      const fresh = bytes.subarray(Math.max(0, end - at));
      hash.update(fresh);
      end += fresh.length;
    }
    return { sha256: hash.digest('hex'), bytes: end };
  }
}

/** The connections to a port of `destination`, as one: labs make one at a time. */
export function wireStream(
  packets: readonly CapturedPacket[],
  destination: string,
  port: number,
): WireStream {
  const [out, back] = [new Direction(), new Direction()];
  let [handshakes, turns] = [0, 0];
  let speaker: Direction | undefined;
  for (const { dissection } of packets) {
    if (dissection.kind !== 'tcp') continue;
    const { ip, tcp, payload } = dissection;
    const forward = formatIp(ip.destination) === destination && tcp.destinationPort === port;
    if (!forward && !(formatIp(ip.source) === destination && tcp.sourcePort === port)) continue;
    const direction = forward ? out : back;
    if (hasFlags(tcp, 'syn')) {
      handshakes++;
      direction.begin(tcp.seq);
    }
    if (payload.length === 0 || !direction.add(tcp.seq, payload)) continue;
    if (speaker !== undefined && speaker !== direction) turns++;
    speaker = direction;
  }
  return { sent: out.summary(), received: back.summary(), handshakes, turns };
}
