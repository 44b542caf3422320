/** The table of spliced connections of a running node: filling it, and what it takes of memory. */
import { join } from 'node:path';
import { ip, toMapped } from '../../core/address.js';
import { close } from '../../host/libc.js';
import { pinDirectory } from '../../host/mounts.js';
import { maps, type TpotFlow } from '../../bpf/generated/maps.js';
import { checkBpf, lib } from '../../bpf/libbpf.js';
import { TypedMap } from '../../bpf/map.js';
import { mapInfo, type MapInfo } from '../../bpf/pinned.js';
import { LAYOUT_VERSION } from '../../bpf/programs.js';
import { holdEntry } from '../../node/splice-entry.js';

const PORTS = 60_000;
const FIRST_PORT = 1024;
/** RFC 2544 addresses that no host of a bench has. */
const FIRST_ADDRESS = 0xc6130000; // 198.19.0.0

const destination = ip('192.0.2.99');

/** The flow with that number; no two are alike. */
export function numberedFlow(number: number): TpotFlow {
  const address = new Uint8Array(4);
  new DataView(address.buffer).setUint32(0, FIRST_ADDRESS + Math.floor(number / PORTS));
  return {
    source: toMapped({ family: 4, bytes: address }),
    destination: toMapped(destination),
    sourcePort: FIRST_PORT + (number % PORTS),
    destinationPort: 80,
  };
}

export class SpliceTable {
  readonly #fd: number;
  readonly #map: TypedMap<TpotFlow, ReturnType<typeof holdEntry>>;
  #filled = 0;

  constructor(nodeName: string) {
    const pin = join(pinDirectory('nodes', nodeName), `v${LAYOUT_VERSION}`, maps.tpotSplices.name);
    this.#fd = checkBpf(`open ${pin}`, lib.objGet(pin));
    this.#map = new TypedMap(this.#fd, maps.tpotSplices);
  }

  info(): MapInfo {
    return mapInfo(this.#fd);
  }

  /** Adds entries of connections that nobody has, until the table holds so many of them. */
  fill(count: number): void {
    const now = process.hrtime.bigint();
    for (; this.#filled < count; this.#filled++) {
      const flow = numberedFlow(this.#filled);
      const out = { source: ip('192.0.2.1'), sourcePort: flow.sourcePort, destination, destinationPort: 80 };
      this.#map.set(flow, { ...holdEntry(out, now), flags: 0 });
    }
  }

  /** Removes what {@link fill} added. */
  empty(): void {
    while (this.#filled > 0) {
      this.#filled -= 1;
      this.#map.delete(numberedFlow(this.#filled));
    }
  }

  close(): void {
    close(this.#fd);
  }
}
