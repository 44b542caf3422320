/** Spliced segments and their counters and tables: what is counted has happened, and what is cut short changes nothing. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toMapped, type Family } from '../core/address.js';
import { TpotSpliceFlag, type TpotSplice } from '../bpf/generated/maps.js';
import { forget } from '../node/hand-over.js';
import { spliceEntry } from '../node/splice-entry.js';
import { SpliceTable } from '../node/splice-table.js';
import { reverse, type Mapping } from '../splice/mapping.js';
import { clientOf } from '../tpot/client.js';
import { buildTcp } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { ipv4 } from '../wire/ipv4.js';
import { seq } from '../wire/seq.js';
import { flows, frameOf, mapFlow, type Outcome } from './bpf-programs.js';
import { OUT, SplicingPrograms, UNMAPPED } from './splicing-programs.js';

const ACTION = { pass: -1, drop: 2 } as const;
const plain: Omit<Mapping, 'out'> = {
  ...UNMAPPED,
  base: seq(1000),
  acknowledged: seq(1),
  sequenceDelta: 5,
  acknowledgmentDelta: 7,
};
const data = { ...flows[4], flags: ['ack'] as const, seq: 1000, ack: 1, payload: new Uint8Array(8) };

let kernel: SplicingPrograms;
beforeAll(() => {
  kernel = new SplicingPrograms(9100);
});
afterAll(() => kernel.close());

/** Enters one direction; what stands there can be changed. */
function enter(of: Family, changes: Partial<TpotSplice> = {}): void {
  const facts = { fromClient: true, bytes: 0n, now: 1n, startedAt: 1n, outerSource: undefined };
  const entry = spliceEntry({ ...plain, out: OUT[of] }, facts);
  kernel.programs.map('tpotSplices').set(mapFlow(flows[of]), { ...entry, ...changes });
}

const run = (frame: Uint8Array): Outcome => kernel.run('tpot_ingress', frame);
const isThere = (of: Family): boolean =>
  kernel.programs.map('tpotSplices').get(mapFlow(flows[of])) !== undefined;

it('a SYN that is cut short makes the node forget no connection that is over', () => {
  enter(4, { flags: TpotSpliceFlag.RESET });
  const syn = frameOf(buildTcp({ ...flows[4], flags: ['syn'], seq: 9, options: new Uint8Array(8) }), 4);
  for (const length of [1, 4, 8]) {
    expect(run(syn.subarray(0, syn.length - length))).toMatchObject({ verdict: ACTION.pass, counted: {} });
  }
  expect(isThere(4)).toBe(true);
  expect(run(syn).counted).toEqual({ 'splice-forgotten': 1 });
  expect(isThere(4)).toBe(false);
});

describe('what was counted', () => {
  /** The last router on the way: what comes after this one drops. */
  const expiring = (packet: Uint8Array): Uint8Array => {
    const parsed = ipv4.parse(packet);
    if (!parsed.ok) throw new Error(parsed.fault);
    return concat(ipv4.emit({ ...parsed.value, flags: 0, ttl: 1 }), packet.subarray(20));
  };

  it.each([
    ['cut', { ...data, seq: 900 }],
    ['made smaller', { ...data, payload: new Uint8Array(2000) }],
  ])('of a segment that was %s and then dropped is the drop alone', (_, spec) => {
    enter(4);
    const outcome = run(frameOf(expiring(buildTcp(spec)), 4));
    expect(outcome).toMatchObject({ verdict: ACTION.drop });
    expect(outcome.counted).toEqual({ 'drop-splice-ttl': 1 });
  });
});

it('a list and the sums have what was in the table when they were begun', async () => {
  const table = kernel.programs.map('tpotSplices');
  for (const key of [...table.keys()]) table.delete(key);
  const splices = new SpliceTable(kernel.programs, 60_000);
  const both = (of: Family, startedNs: bigint): void => {
    enter(of, { startedNs, bytes: 5n });
    const entry = spliceEntry(
      { ...plain, out: reverse(flows[of]) },
      { fromClient: false, bytes: 3n, now: 1n, startedAt: startedNs, outerSource: undefined },
    );
    table.set(mapFlow(reverse(OUT[of])), entry);
  };
  both(4, 1n);
  expect(splices.isEmpty()).toBe(false);
  const [list, sums] = [splices.list(), splices.totals()];
  const first = list.next(); // begins
  both(6, process.hrtime.bigint());
  const listed = [(await first).value as unknown[], await list.next()];
  expect(listed).toMatchObject([[{ client: { port: flows[4].sourcePort }, bytesIn: 5, bytesOut: 3 }], {}]);
  expect(await sums).toEqual({ connections: 1, bytesIn: 5, bytesOut: 3 });
  expect(await splices.totals()).toEqual({ connections: 2, bytesIn: 10, bytesOut: 6 });
  await splices.sweep(); // the clients' entries were last seen long ago, so all are over
  expect(await splices.totals()).toEqual({ connections: 0, bytesIn: 10, bytesOut: 6 });
  expect(splices.isEmpty()).toBe(true);
});

it.each([4, 6] as const)('a connection over IPv%i counts for its client until it is forgotten', (of) => {
  const clients = kernel.programs.map('tpotClients');
  const client = { address: toMapped(clientOf(flows[of].source)) };
  clients.set(client, 2);
  const countedAfter = (counted: number): number | undefined => {
    enter(of, { counted });
    forget(kernel.programs, mapFlow(flows[of]));
    expect(isThere(of)).toBe(false);
    return clients.get(client);
  };
  expect(countedAfter(0)).toBe(2);
  expect(countedAfter(1)).toBe(1);
  expect(countedAfter(1)).toBeUndefined();
});
