/**
 * What every implementation of the DataPath port (node/data-path.ts) does. Each data path runs in a process and a
 * network namespace of its own:
 *
 *   client ── p1 ── p2 ── origin      `client` is a data path that takes nothing: only its legs count
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DataPath } from '../node/data-path.js';
import { CAPABILITY } from '../tpot/option.js';
import { REASONS } from '../tpot/reasons.js';
import type { Host } from '../netns/host.js';
import { createTopology, type Topology } from '../netns/topology.js';
import { waitFor } from '../netns/wait.js';
import { Driver, type Opened, type RuleSpec, type StartSpec } from './data-path-driver.js';

const TAKE_ALL: readonly RuleSpec[] = [{ action: 'relay' }];
const HOPS = 8;
const addressesOf = {
  client: { 4: '198.18.1.2', 6: '2001:db8:1::2' },
  p1: { 4: '198.18.1.1', 6: '2001:db8:1::1' },
  p2: { 4: '198.18.2.1', 6: '2001:db8:2::1' },
  origin: { 4: '198.18.3.1', 6: '2001:db8:3::1' },
} as const;
type HostName = keyof typeof addressesOf;

/** Both directions of the line, for both families. */
function routes(): { host: string; to: string; via: string }[] {
  const order: HostName[] = ['client', 'p1', 'p2', 'origin'];
  return order.flatMap((host, at) => {
    const forward = order[at + 1];
    const back = order[at - 1];
    const nets = ['198.18.1.0/24', '198.18.2.0/24', '198.18.3.0/24'].map((net, index) => ({
      far: index - at,
      to: [net, `2001:db8:${index + 1}::/64`],
    }));
    return nets.flatMap(({ far, to }) => {
      const via = far > 0 ? forward : far < -1 ? back : undefined;
      return via === undefined ? [] : to.map((prefix) => ({ host, to: prefix, via }));
    });
  });
}

export interface ContractHooks {
  /** What a data path of this name has put into the kernel and the file system, in words; empty when nothing. */
  leftovers(name: string, driver: Driver, host: Host): Promise<string[]>;
}

export function dataPathContract(kind: DataPath['kind'], hooks: ContractHooks): void {
  let net: Topology;
  let client: Driver;
  let origin: Driver;
  const drivers: Driver[] = [];
  const open: Topology[] = [];

  const drive = async (host: HostName): Promise<Driver> => {
    const driver = await Driver.start(net.host(host));
    drivers.push(driver);
    return driver;
  };
  const nameOf = (host: HostName): string => `${host}-${net.id}`;
  const spec = (host: HostName, changes: Partial<StartSpec> = {}): StartSpec => ({
    kind,
    name: nameOf(host),
    addresses: addressesOf[host],
    rules: TAKE_ALL,
    ...changes,
  });
  const start = async (host: HostName, changes: Partial<StartSpec> = {}): Promise<Driver> => {
    const driver = await drive(host);
    await driver.startDataPath(spec(host, changes));
    return driver;
  };
  /** Connects from the client and tells who greeted it. */
  const ask = async (port = 80, hops = HOPS, family: 4 | 6 = 4): Promise<Opened & { by: string | null }> => {
    const opened = await client.connect(addressesOf.origin[family], port, hops);
    return { ...opened, by: await client.line(opened.connection) };
  };

  beforeEach(async () => {
    net = await createTopology({
      hosts: [
        { name: 'client', role: 'client' },
        { name: 'p1', role: 'node' },
        { name: 'p2', role: 'node' },
        { name: 'origin', role: 'origin' },
      ],
      links: [
        { between: ['client', 'p1'], v6: true },
        { between: ['p1', 'p2'], v6: true },
        { between: ['p2', 'origin'], v6: true },
      ],
      routes: routes(),
    });
    open.push(net);
    origin = await drive('origin');
    for (const port of [80, 8080]) await origin.call('listen', { port, greeting: 'origin' });
    client = await start('client', { rules: [] });
  });
  afterEach(async () => {
    await Promise.all(drivers.splice(0).map((driver) => driver.stop()));
    await Promise.all(open.splice(0).map((topology) => topology.close()));
  });

  describe.each([4, 6] as const)('over IPv%i', (family) => {
    it('takes what its policy says, passes the rest, and knows where it was going', async () => {
      const p1 = await start('p1', { rules: [{ ports: [8080], action: 'pass' }, { action: 'relay' }] });
      const taken = await ask(80, HOPS, family);
      expect(taken).toMatchObject({ by: nameOf('p1'), nextHop: addressesOf.p1[family], reason: 'tunnelled' });
      expect(await client.echoes(taken.connection)).toBe(true);
      expect(await p1.connections()).toMatchObject([
        {
          via: 'tunnel',
          hops: HOPS,
          local: { address: addressesOf.origin[family], port: 80 },
          remote: taken.local,
        },
      ]);
      const passed = await ask(8080, HOPS, family);
      expect(passed).toMatchObject({ by: 'origin', nextHop: null, reason: 'plain-no-reply' });
      expect(await client.echoes(passed.connection)).toBe(true);
      expect(await p1.connections()).toHaveLength(1);
      expect(await p1.counters()).toMatchObject({ taken: 1, 'pass-policy': 1, established: 1 });
    });

    it('opens legs that the next one takes, with the hops it was told', async () => {
      const p1 = await start('p1', { relay: true });
      const p2 = await start('p2');
      const opened = await ask(80, 3, family);
      expect(opened.by).toBe(nameOf('p2'));
      expect(await client.echoes(opened.connection)).toBe(true);
      expect(await p1.legs()).toMatchObject([{ nextHop: addressesOf.p2[family], reason: 'tunnelled' }]);
      expect(await p2.connections()).toMatchObject([
        { via: 'tunnel', hops: 2, local: { address: addressesOf.origin[family], port: 80 } },
      ]);
    });
  });

  it('sends no request when there are no hops left', async () => {
    const p1 = await start('p1');
    expect(await ask(80, 0)).toMatchObject({ by: 'origin', nextHop: null, reason: 'plain-no-request' });
    expect(await p1.counters()).toEqual({});
    expect(await ask(80, 1)).toMatchObject({ by: nameOf('p1') });
    expect(await p1.connections()).toMatchObject([{ hops: 1 }]);
  });

  it('ends a chain where the hops do', async () => {
    const p1 = await start('p1', { relay: true });
    const p2 = await start('p2');
    expect((await ask(80, 1)).by).toBe('origin');
    expect(await p1.legs()).toMatchObject([{ nextHop: null, reason: 'plain-no-request' }]);
    expect(await p2.connections()).toEqual([]);
  });

  it('reports what its reply accepts of the capabilities of the request', async () => {
    const p1 = await start('p1');
    await p1.call('setCapabilities', { bits: 3 });
    const opened = await client.connect(addressesOf.origin[4], 80, HOPS, 0x2001);
    expect(await client.line(opened.connection)).toBe(nameOf('p1'));
    expect(await p1.connections()).toMatchObject([{ capabilities: 1 | CAPABILITY.returnTunnel }]);
  });

  it('takes SYNs without a request at an edge, and only there', async () => {
    const p1 = await start('p1', { edge: true });
    expect((await ask(80, 0)).by).toBe(nameOf('p1'));
    expect(await p1.connections()).toMatchObject([{ via: 'edge', local: { port: 80 } }]);
    expect((await p1.connections())[0]?.hops).toBeUndefined();
    expect((await ask(80, HOPS)).by).toBe(nameOf('p1'));
    expect((await p1.connections())[1]).toMatchObject({ via: 'tunnel', hops: HOPS });
  });

  it('does not pin a connection to a node that is not trusted, and the connection works', async () => {
    await client.stop();
    client = await start('client', { rules: [], trust: ['192.0.2.0/24', '::/0'] });
    await start('p1');
    expect(await ask()).toMatchObject({ by: 'origin', nextHop: null, reason: 'plain-untrusted' });
    expect(await client.counters()).toHaveProperty('drop-reply-untrusted');
  });

  it('takes nothing new while it drains, and keeps what it has', async () => {
    const p1 = await start('p1');
    await start('p2');
    const before = await ask();
    await p1.call('drain');
    expect((await ask()).by).toBe(nameOf('p2')); // fail to wire: the next one takes it
    expect(await client.echoes(before.connection)).toBe(true);
    expect(await p1.counters()).toMatchObject({ 'pass-draining': 1 });
  });

  it('takes no more than its limit, and again when there is room', async () => {
    const p1 = await start('p1', { maxConnections: 1 });
    const first = await ask();
    expect(first.by).toBe(nameOf('p1'));
    expect((await ask()).by).toBe('origin');
    expect(await p1.counters()).toMatchObject({ taken: 1, 'pass-limit': 1 });
    await client.call('end', { connection: first.connection });
    expect(await client.line(first.connection)).toBeNull();
    await waitFor(async () => (await ask()).by === nameOf('p1'), { what: 'room for one more' });
    expect(await client.echoes(first.connection).catch(() => false)).toBe(false);
  });

  it('takes no more of one client than its limit, in either family, and again when one has ended', async () => {
    const p1 = await start('p1', { maxPerClient: 2 });
    for (const family of [4, 6] as const) {
      const [first] = [await ask(80, HOPS, family), await ask(80, HOPS, family)];
      expect((await ask(80, HOPS, family)).by).toBe('origin');
      await client.call('end', { connection: first.connection });
      expect(await client.line(first.connection)).toBeNull();
      const taken = async (): Promise<boolean> => (await ask(80, HOPS, family)).by === nameOf('p1');
      await waitFor(taken, { what: 'room for one more' });
    }
    expect((await p1.counters())['pass-client-limit']).toBeGreaterThanOrEqual(2);
    expect(await p1.counters()).not.toHaveProperty('pass-limit');
  });

  it('replaces its policy in one step', async () => {
    const p1 = await start('p1', { rules: [] });
    expect((await ask()).by).toBe('origin');
    const filler = Array.from({ length: 50 }, (_, index): RuleSpec => ({
      ports: [1000 + index],
      action: 'pass',
    }));
    // Both tables take port 80, by rows at different places: a mixture of them would not.
    const tables = [
      [...filler, ...TAKE_ALL],
      [{ ports: [80], action: 'relay' }, ...filler],
    ];
    await p1.call('setPolicy', { rules: tables[0] });
    await p1.call('alternatePolicies', { tables });
    for (let times = 0; times < 100; times++) expect((await ask()).by).toBe(nameOf('p1'));
    await p1.call('alternatePolicies', { tables: [] });
    await p1.call('setPolicy', { rules: [] });
    expect((await ask()).by).toBe('origin');
  });

  it('has counters that only grow, each of a known reason', async () => {
    const p1 = await start('p1', { rules: [{ ports: [80], action: 'relay' }] });
    let before = await p1.counters();
    for (const port of [80, 8080, 80]) {
      await ask(port);
      const after = await p1.counters();
      for (const [reason, count] of Object.entries(before))
        expect(after[reason]).toBeGreaterThanOrEqual(count);
      expect(Object.values(after).every((count) => Number.isSafeInteger(count) && count > 0)).toBe(true);
      expect(after).not.toEqual(before);
      before = after;
    }
    expect(Object.keys(REASONS)).toEqual(expect.arrayContaining(Object.keys(before)));
    expect(Object.keys(REASONS)).toEqual(expect.arrayContaining(Object.keys(await client.counters())));
  });

  it('remembers a destination whose path loses SYNs with a request, and reaches it', async () => {
    // A plain SYN of Linux fills 60 bytes; the request makes it longer.
    const rules = `table ip drops {
      chain c {
        type filter hook forward priority 0;
        tcp flags & (syn | ack) == syn ip length > 60 drop
      }
    }`;
    await net.host('p1').must('nft', ['-f', '-'], { input: rules });
    expect(await client.call('blackHoles')).toEqual([]);
    expect(await ask()).toMatchObject({ by: 'origin', reason: 'plain-retries' });
    const [hole, ...others] = (await client.call('blackHoles')) as {
      destination: string;
      secondsLeft: number;
    }[];
    expect([hole?.destination, others]).toEqual([addressesOf.origin[4], []]);
    expect(hole?.secondsLeft).toBeGreaterThan(590);
    expect(hole?.secondsLeft).toBeLessThanOrEqual(600);
    expect(await ask()).toMatchObject({ by: 'origin', reason: 'plain-black-hole' });
    expect(await client.counters()).toMatchObject({
      'black-hole-learned': 1,
      'request-omitted-retries': 1,
      'request-omitted-black-hole': 1,
    });
    expect(await client.call('forgetBlackHoles', { address: '192.0.2.99' })).toBe(0);
    expect(await client.call('forgetBlackHoles', { address: addressesOf.origin[4] })).toBe(1);
    expect(await client.call('blackHoles')).toEqual([]);
    expect(await ask()).toMatchObject({ by: 'origin', reason: 'plain-retries' }); // it asked again
    expect(await client.call('forgetBlackHoles')).toBe(1);
  });

  it('names the interface that is not there', async () => {
    const driver = await drive('p1');
    const starting = driver.startDataPath(spec('p1', { interfaces: ['nosuch0'] }));
    await expect(starting).rejects.toMatchObject({ code: 'interface-missing' });
    expect(await hooks.leftovers(nameOf('p1'), driver, net.host('p1'))).toEqual([]);
  });

  it('leaves nothing behind when it is closed, and SYNs travel on', async () => {
    const p1 = await start('p1');
    expect((await ask()).by).toBe(nameOf('p1'));
    const inUse = ['pins', 'cgroup', 'rules', 'routes', 'markers', 'programs'];
    expect(await hooks.leftovers(nameOf('p1'), p1, net.host('p1'))).toEqual(inUse);
    await p1.call('close');
    await p1.call('close'); // idempotent
    expect(await hooks.leftovers(nameOf('p1'), p1, net.host('p1'))).toEqual([]);
    expect((await ask()).by).toBe('origin');
  });

  it('lets SYNs pass by when it was killed, and takes over from itself', async () => {
    const killed = await start('p1');
    const lost = await ask();
    expect(lost.by).toBe(nameOf('p1'));
    await killed.stop('SIGKILL');
    // A dead process closes its sockets; the client's connection ends instead of hanging.
    expect(await client.line(lost.connection)).toBeNull();
    expect(await ask()).toMatchObject({ by: 'origin', reason: 'plain-no-reply' });
    const listening = await net.host('p1').must('ss', ['-Htln']);
    expect(listening.trim()).toBe('');

    const heir = await start('p1');
    expect(heir.log).toContain('event=pins-adopted');
    expect((await ask()).by).toBe(nameOf('p1'));
    expect(await heir.counters()).toMatchObject({ taken: 2, 'pass-no-listener': 1 });
    await heir.call('close');
    expect(await hooks.leftovers(nameOf('p1'), heir, net.host('p1'))).toEqual([]);
  });
}
