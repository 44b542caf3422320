/** The labs' own ground: topologies stand, carry packets, lose them as told, and go away without a trace. */
import { existsSync, readdirSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { ownCgroup, pinDirectory } from '../host/mounts.js';
import { builtFile } from '../host/paths.js';
import { startCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { parseOriginLog, requestsOf } from '../netns/origin-events.js';
import type { TopologySpec } from '../netns/spec.js';
import { createTopology, type Topology } from '../netns/topology.js';
import { waitFor } from '../netns/wait.js';

const open: Topology[] = [];

async function stand(spec: TopologySpec): Promise<Topology> {
  const topology = await createTopology(spec);
  open.push(topology);
  return topology;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((topology) => topology.close()));
});

const line: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'r1', role: 'router' },
    { name: 'origin', role: 'origin' },
  ],
  links: [
    { between: ['c1', 'r1'] },
    { between: ['r1', 'origin'], addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
  ],
  routes: [
    { host: 'c1', to: 'default', via: 'r1' },
    { host: 'origin', to: 'default', via: 'r1' },
  ],
};

async function startOrigin(topology: Topology): Promise<ReturnType<ReturnType<Topology['host']>['spawn']>> {
  const program = topology
    .host('origin')
    .spawn(process.execPath, [builtFile('netns', 'origin.js')], { label: 'origin' });
  await program.output(/"ready"/);
  return program;
}

test('plain curl crosses a router, and the origin tells who asked', async () => {
  const net = await stand(line);
  const origin = await startOrigin(net);
  await origin.listening(80);
  const url = `http://${net.host('origin').address}`;
  const sum = await net.host('c1').must('sh', ['-c', `curl -sS ${url}/bytes/300000 | sha256sum`]);
  expect(sum.split(' ')[0]).toBe(contentHash('/bytes/300000', 300_000));
  const echoed = await net
    .host('c1')
    .must('curl', ['-sS', '--data-binary', '@-', `${url}/echo`], { input: 'ping' });
  expect(echoed).toBe('ping');
  const seen = await waitFor(
    () => {
      const requests = requestsOf(parseOriginLog(origin.stdout()));
      return requests.length >= 2 ? requests : undefined;
    },
    { what: 'the origin to report both' },
  );
  expect(seen.map(({ path, peer }) => ({ path, peer }))).toEqual([
    { path: '/bytes/300000', peer: '198.18.1.2' },
    { path: '/echo', peer: '198.18.1.2' },
  ]);
});

test('banner and bulk services speak as documented', async () => {
  const net = await stand(line);
  await startOrigin(net);
  const address = net.host('origin').address;
  const talk = (port: number, input: string): Promise<string> =>
    net.host('c1').must('busybox', ['nc', address, String(port)], { input });
  expect(await talk(22, 'hi')).toBe('SSH-2.0-tpot-lab\r\nhi');
  expect(await talk(9000, 'PUT\nabc')).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3\n',
  );
  const sum = await net
    .host('c1')
    .must('sh', ['-c', `echo GET 100000 | busybox nc ${address} 9000 | sha256sum`]);
  expect(sum.split(' ')[0]).toBe(contentHash('bulk 100000', 100_000));
});

test('a lossy link loses packets, a lossless one none, and the transfer survives', async () => {
  // Hundreds of packets: with segmentation offload there are so few that all may arrive.
  const lossy = { ...line.links[0]!, loss: 5, offload: false };
  const net = await stand({ ...line, links: [lossy, line.links[1]!] });
  await startOrigin(net);
  const url = `http://${net.host('origin').address}/bytes/1000000`;
  const sum = await net.host('c1').must('sh', ['-c', `curl -sS ${url} | sha256sum`]);
  expect(sum.split(' ')[0]).toBe(contentHash('/bytes/1000000', 1_000_000));
  const dropped = async (host: string): Promise<number> => {
    const rules = await net.host(host).must('nft', ['list', 'ruleset']);
    return Number(/counter packets (\d+)/.exec(rules)?.[1] ?? 0);
  };
  expect(await dropped('c1')).toBeGreaterThan(0);
  expect(await dropped('origin')).toBe(0);
});

test('a capture holds every packet that crossed each link, and nothing is lost under load', async () => {
  const net = await stand(line);
  await startOrigin(net);
  const capture = await startCapture(net);
  await net
    .host('c1')
    .must('curl', ['-sS', '-o', '/dev/null', `http://${net.host('origin').address}/bytes/8000000`]);
  const links = await capture.stop();
  expect([...links.keys()]).toEqual(['c1-r1', 'r1-origin']);
  for (const { summary, packets } of links.values()) {
    expect(summary.drops).toBe(0);
    expect(summary.protocols['TCP']).toBe(packets.length);
    const sizes = packets.map(({ dissection }) =>
      dissection.kind === 'tcp' ? dissection.payload.length : NaN,
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(8_000_000);
  }
});

test('closing ends processes and removes namespaces and files', async () => {
  const net = await createTopology(line);
  const sleeper = net.host('c1').spawn('sleep', ['1000']);
  const stubborn = net.host('c1').spawn('sh', ['-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done']);
  await stubborn.output(/up/);
  await net.close();
  expect(await sleeper.exited).toEqual({ code: undefined, signal: 'SIGTERM' });
  expect(await stubborn.exited).toEqual({ code: undefined, signal: 'SIGKILL' });
  expect(readdirSync('/run/netns').filter((name) => name.includes(net.id))).toEqual([]);
  expect(existsSync(net.directory)).toBe(false);
});

test('what a killed node leaves in the kernel goes with its topology', async () => {
  const net = await stand({
    ...line,
    hosts: line.hosts.map((host) => (host.name === 'r1' ? { ...host, role: 'node' } : host)),
    nodes: [{ host: 'r1' }],
  });
  await net.startNodes();
  const name = net.nodeName('r1');
  const left = (): boolean[] => [
    existsSync(pinDirectory('nodes', name)),
    existsSync(`${ownCgroup()}/tpot-node.${name}`),
    existsSync(`/run/tpot-node/${name}.sock`),
  ];
  await net.node('r1').stop('SIGKILL');
  expect(left()).toEqual([true, true, true]);
  await net.close();
  expect(left()).toEqual([false, false, false]);
});

test('a program that ends instead of becoming ready is reported with what it said', async () => {
  const net = await stand(line);
  const program = net.host('c1').spawn('sh', ['-c', 'echo no luck >&2; exit 3']);
  await expect(program.output(/ready/)).rejects.toMatchObject({
    code: 'program-ended',
    message: expect.stringMatching(/status 3.*no luck/) as string,
  });
});
