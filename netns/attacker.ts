/** A host of a topology from which packets of any making go out. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
  /** The interface packets go out of, and the Ethernet address they go to. */
  readonly device: string;
  readonly mac: string;
  readonly #directory: string;

  private constructor(host: Host, device: string, mac: string, directory: string) {
    this.host = host;
    this.device = device;
    this.mac = mac;
    this.#directory = directory;
  }

  /** At `name`, sending towards its neighbour `peer`. */
  static async at(topology: Topology, name: string, peer: string): Promise<Attacker> {
    const { own, far } = linkBetween(topology.links, name, peer);
    const shown = await topology.host(peer).must('ip', ['-j', 'link', 'show', 'dev', far.interface]);
    const [link] = JSON.parse(shown) as [{ readonly address: string }];
    return new Attacker(topology.host(name), own.interface, link.address, topology.directory);
  }

  /** Sends IP packets as they are; resolves when the last one is on the link. */
  async inject(packets: readonly Uint8Array[]): Promise<void> {
    const input = packets.map((packet) => Buffer.from(packet).toString('hex')).join('\n');
    const args = [builtFile('netns', 'attack-child.js'), 'inject', this.device, this.mac];
    await this.host.must(process.execPath, args, { input });
  }

  /** Loads packets; the function returned sends them at once, however long it takes to start a program here. */
  async load(packets: readonly Uint8Array[]): Promise<() => Promise<void>> {
    const file = join(this.#directory, `${this.host.name}-packets`);
    writeFileSync(file, packets.map((packet) => Buffer.from(packet).toString('hex')).join('\n'));
    const args = [builtFile('netns', 'attack-child.js'), 'load', this.device, this.mac, file];
    const program = this.host.spawn(process.execPath, args, { label: 'packets' });
    await program.output(/^ready$/m);
    return async () => {
      program.signal('SIGUSR2');
      await program.exited;
    };
  }

  /** SYNs with a request, as fast as the link takes them, from as many sources. */
  async flood(destination: string, port: number, count: number): Promise<Flood> {
    const args = [builtFile('netns', 'attack-child.js'), 'flood', this.device, this.mac];
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
