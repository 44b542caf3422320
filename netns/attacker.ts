/** A host of a topology from which packets of any making go out. */
import { builtFile } from '../host/paths.js';
import { linkBetween } from './spec.js';
import type { Host, Program } from './host.js';
import type { Topology } from './topology.js';

export interface Flood {
  readonly sent: number;
  readonly milliseconds: number;
}

export class Attacker {
  readonly host: Host;
  readonly #device: string;
  readonly #mac: string;

  private constructor(host: Host, device: string, mac: string) {
    this.host = host;
    this.#device = device;
    this.#mac = mac;
  }

  /** At `name`, sending towards its neighbour `peer`. */
  static async at(topology: Topology, name: string, peer: string): Promise<Attacker> {
    const { own, far } = linkBetween(topology.links, name, peer);
    const shown = await topology.host(peer).must('ip', ['-j', 'link', 'show', 'dev', far.interface]);
    const [link] = JSON.parse(shown) as [{ readonly address: string }];
    return new Attacker(topology.host(name), own.interface, link.address);
  }

  /** Sends IP packets as they are; resolves when the last one is on the link. */
  async inject(packets: readonly Uint8Array[]): Promise<void> {
    const input = packets.map((packet) => Buffer.from(packet).toString('hex')).join('\n');
    const args = [builtFile('netns', 'attack-child.js'), 'inject', this.#device, this.#mac];
    await this.host.must(process.execPath, args, { input });
  }

  /** SYNs with a request, as fast as the link takes them, from as many sources. */
  async flood(destination: string, port: number, count: number): Promise<Flood> {
    const args = [builtFile('netns', 'attack-child.js'), 'flood', this.#device, this.#mac];
    const said = await this.host.must(process.execPath, [...args, destination, String(port), String(count)]);
    return JSON.parse(said) as Flood;
  }
}

/** Makes a host what a node must never be: it forwards whatever comes in protocol 4, from whomever. */
export async function openDecapsulator(host: Host): Promise<Program> {
  const args = [builtFile('netns', 'attack-child.js'), 'decapsulate'];
  const program = host.spawn(process.execPath, args, { label: 'decapsulator' });
  await program.output(/^ready$/m);
  return program;
}
