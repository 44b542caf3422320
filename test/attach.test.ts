/** Programs on interfaces and cgroups: who fails half-way leaves nothing, and nobody takes away what is somebody else's. */
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { attachInterface } from '../bpf/attach.js';
import { attachClsact } from '../bpf/clsact.js';
import { InterfaceSet } from '../bpf/interfaces.js';
import { TpotPrograms } from '../bpf/programs.js';
import { Shim } from '../client-shim/shim.js';
import { silentLogger } from '../core/log.js';
import { commandSync } from '../host/exec.js';
import { listInterfaces } from '../host/interfaces.js';
import { runtimeDirectory } from '../host/paths.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const LINKS = ['a0', 'a1'] as const;
const SMALL = { tpot_taken: 1, tpot_transient: 1, tpot_splices: 1, tpot_tunnels: 1 };

/** Descriptors of programs, maps and links that this process has. */
function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const what = readlinkSync(`/proc/self/fd/${fd}`);
      return /bpf/.test(what) ? [what] : [];
    } catch {
      return []; // that of the listing itself
    }
  });
}

const indexOf = (name: string): number => listInterfaces().find((link) => link.name === name)?.index ?? 0;
const qdiscs = (): string[] =>
  LINKS.filter((name) => commandSync('tc', ['qdisc', 'show', 'dev', name]).includes('clsact'));
const filters = (name: string): string =>
  ['ingress', 'egress'].map((side) => commandSync('tc', ['filter', 'show', 'dev', name, side])).join('');

/** How many programs of ours an interface has. */
const ours = (name: string): number => filters(name).match(/ id \d+/g)?.length ?? 0;

let leave: () => void;
let programs: TpotPrograms;

beforeAll(() => {
  leave = enterNewNetworkNamespace();
  programs = TpotPrograms.load({ maxEntries: SMALL });
});
afterAll(() => {
  programs.close();
  leave();
});
beforeEach(() => {
  if (indexOf(LINKS[0]) !== 0) commandSync('ip', ['link', 'delete', LINKS[0]]);
  commandSync('ip', ['link', 'add', LINKS[0], 'type', 'veth', 'peer', 'name', LINKS[1]]);
});

describe('who fails half-way', () => {
  it('a shim that cannot attach to its cgroup, when it has attached to the interfaces', () => {
    const parent = mkdtempSync(join(tmpdir(), 'tpot-attach-'));
    const cgroup = join(parent, 'no-cgroup');
    const before = descriptors();
    try {
      expect(() => new Shim({ cgroup, hops: 1, trust: [] }, silentLogger)).toThrow(/attach to .*no-cgroup/);
      expect(existsSync(cgroup)).toBe(false);
    } finally {
      rmSync(parent, { recursive: true });
    }
    expect(descriptors()).toEqual(before);
    expect(LINKS.map(filters)).toEqual(['', '']);
    expect(qdiscs()).toEqual([]);
  });

  it('an interface that takes one direction only, after another one that took both', (context) => {
    // The kernel takes a program once at a place: the second time is the failure.
    const last = Math.max(...LINKS.map(indexOf));
    const there = attachInterface(programs.programFd('tpot_egress'), last, 'egress');
    context.skip(there?.kind !== 'tcx', 'a qdisc takes a program as often as one likes');
    const before = descriptors();
    expect(() => new InterfaceSet(programs, [...LINKS], [], silentLogger)).toThrow(/attach to interface/);
    expect(descriptors()).toEqual(before);
    there?.detach();
  });
});

describe('the clsact qdisc', () => {
  const program = (): number => programs.programFd('tpot_ingress');
  const [link] = LINKS;

  it('goes with the last filter, when we have made it', () => {
    const attached = (['ingress', 'egress'] as const).map((side) =>
      attachClsact(program(), indexOf(link), side),
    );
    expect(qdiscs()).toEqual([link]);
    attached[0]?.detach();
    expect(qdiscs()).toEqual([link]);
    expect(filters(link)).toMatch(/tpot_ingress/);
    attached[1]?.detach();
    expect(qdiscs()).toEqual([]);
  });

  it('goes when the filter is refused', () => {
    expect(() => attachClsact(-1, indexOf(link), 'ingress')).toThrow(/attach to interface/);
    expect(qdiscs()).toEqual([]);
  });

  it('stays when somebody else has made it, or has a filter in it', () => {
    commandSync('tc', ['qdisc', 'add', 'dev', link, 'clsact']);
    attachClsact(program(), indexOf(link), 'ingress').detach();
    expect(qdiscs()).toEqual([link]);
    commandSync('tc', ['qdisc', 'del', 'dev', link, 'clsact']);

    const attached = attachClsact(program(), indexOf(link), 'ingress');
    commandSync('tc', ['filter', 'add', 'dev', link, 'egress', 'bpf', 'bytecode', '1,6 0 0 0,']);
    attached.detach();
    expect(filters(link)).toMatch(/bytecode/);
    commandSync('tc', ['qdisc', 'del', 'dev', link, 'clsact']);
  });

  it('stays with what a node leaves attached', () => {
    attachClsact(program(), indexOf(link), 'ingress', 'node').leave();
    attachClsact(program(), indexOf(link), 'egress').detach();
    attachClsact(program(), indexOf(link), 'ingress', 'other').detach();
    expect(ours(link)).toBe(1);
    attachClsact(program(), indexOf(link), 'ingress', 'node').detach();
    expect(qdiscs()).toEqual([]);
  });

  it('has what a node has left until its successor attaches, and nothing when that detaches', () => {
    attachClsact(program(), indexOf(link), 'ingress', 'node').leave();
    const successor = attachClsact(program(), indexOf(link), 'ingress', 'node');
    expect(ours(link)).toBe(1);
    successor.detach();
    expect(filters(link)).toBe('');
    expect(qdiscs()).toEqual([]);
  });

  it('is not hindered by a note that was not written to its end', () => {
    attachClsact(program(), indexOf(link), 'ingress').leave();
    const folder = join(runtimeDirectory, 'clsact');
    const [inode] = /\d+/.exec(readlinkSync('/proc/thread-self/ns/net')) ?? [];
    const note = readdirSync(folder).find((name) => name.startsWith(`${inode}-${indexOf(link)}-`)) ?? '';
    writeFileSync(join(folder, note), '{"program":');
    attachClsact(program(), indexOf(link), 'ingress').detach();
    expect(existsSync(join(folder, note))).toBe(false);
    expect(ours(link)).toBe(1); // whose filter that is cannot be told
  });

  it('loses what a process that is gone has left to nobody, and nothing of one that lives', () => {
    attachClsact(program(), indexOf(link), 'ingress').leave(); // as a process that is killed
    const first = attachClsact(program(), indexOf(link), 'ingress');
    expect(ours(link)).toBe(1);
    const second = attachClsact(program(), indexOf(link), 'ingress');
    expect(ours(link)).toBe(2);
    first.detach();
    second.detach();
    expect(qdiscs()).toEqual([]);
  });
});
