/** One object through two nodes, and once more from the first node's cache. */
import type { LinkCapture } from '../capture.js';
import {
  checkCaptures,
  checkEqual,
  checkOptionPlaces,
  checkPlainLeg,
  checkRequestsOn,
  checkTunnelledLeg,
} from '../checks.js';
import { contentHash } from '../content.js';
import { fetch, type FetchResult } from '../fetch.js';
import type { Lab, LabRun } from '../lab.js';
import { requestsOf } from '../origin-events.js';
import type { TopologySpec } from '../spec.js';
import { addressTowards, answererOf, CACHE_RULES, captureOf, chainRoutes, describeFetch } from './common.js';

const HOPS = 8;
const SIZE = 65_536;
const PATH = `/bytes/${SIZE}`;

const spec: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'c2', role: 'client' },
    { name: 'p1', role: 'node' },
    { name: 'p2', role: 'node' },
    { name: 'origin', role: 'origin' },
  ],
  links: [
    { between: ['c1', 'p1'], offload: false },
    { between: ['c2', 'p1'], offload: false },
    { between: ['p1', 'p2'], offload: false },
    { between: ['p2', 'origin'], offload: false, addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
  ],
  routes: chainRoutes(['p1', 'p2', 'origin'], { c1: 'p1', c2: 'p1' }),
  nodes: [
    { host: 'p1', config: { rules: CACHE_RULES } },
    { host: 'p2', config: { rules: CACHE_RULES } },
  ],
};

/** What the captures must show: the connection of c1 leg by leg, and that of c2 only on its own link. */
function checkPackets({ topology, check }: LabRun, captures: ReadonlyMap<string, LinkCapture>): void {
  const destination = topology.host('origin').address;
  const [p1, p2] = [topology.host('p1').address, topology.host('p2').address];
  const leg = (host: string, next: string): { source: string; destination: string } => ({
    source: addressTowards(topology, host, next),
    destination,
  });
  check(checkTunnelledLeg(captureOf(captures, 'c1-p1'), { ...leg('c1', 'p1'), node: p1, hops: [HOPS] }));
  check(checkTunnelledLeg(captureOf(captures, 'p1-p2'), { ...leg('p1', 'p2'), node: p2, hops: [HOPS - 1] }));
  check(checkPlainLeg(captureOf(captures, 'p2-origin'), { ...leg('p2', 'origin'), hops: [HOPS - 2] }));
  check(checkTunnelledLeg(captureOf(captures, 'c2-p1'), { ...leg('c2', 'p1'), node: p1, hops: [HOPS] }));
  const once = [PATH];
  check(checkRequestsOn(captureOf(captures, 'c2-p1'), destination, once, 'c2 asked p1 for the object'));
  check(
    checkRequestsOn(
      captureOf(captures, 'p1-p2'),
      destination,
      once,
      'only the first fetch went on from p1 to p2',
    ),
  );
  check(checkOptionPlaces(captures.values()));
  check(checkCaptures(captures.values()));
}

function checkFetches(
  { topology, check, originEvents }: LabRun,
  results: Record<'c1' | 'c2', FetchResult>,
): void {
  const expected = contentHash(PATH, SIZE);
  for (const [client, result] of Object.entries(results)) {
    check(checkEqual(`${client}: curl ended without an error`, result.exit ?? 'by signal', 0));
    check(checkEqual(`${client}: the body is the origin's, by SHA-256`, result.sha256, expected));
  }
  check(checkEqual('c1 was answered by the origin', answererOf(topology, results.c1), 'origin'));
  check(checkEqual("c2 was answered from p1's cache", answererOf(topology, results.c2), 'p1'));
  const age = results.c2.headers['age'];
  check({ name: "c2's answer has an Age", ok: /^\d+$/.test(age ?? ''), detail: `Age: ${age ?? 'none'}` });
  const served = requestsOf(originEvents());
  check(checkEqual('the origin served one request', served.length, 1));
  const unusual = originEvents().filter(({ event }) => event === 'unusual');
  check(checkEqual('the origin saw nothing unusual', unusual.length, 0, ' events'));
  const peer = served[0]?.peer ?? 'nobody';
  check(checkEqual("the origin's peer was p2", peer, addressTowards(topology, 'p2', 'origin')));
}

async function run(run: LabRun): Promise<void> {
  const { topology, step } = run;
  const url = `http://${topology.host('origin').address}${PATH}`;
  const get = async (client: string): Promise<FetchResult> => {
    const result = await fetch(topology, topology.host(client), url, { hops: HOPS });
    step(`${client}: tpot-node run --hops ${HOPS} -- curl ${url}: ${describeFetch(topology, result)}`);
    return result;
  };
  const results = { c1: await get('c1'), c2: await get('c2') };
  checkFetches(run, results);
  checkPackets(run, await run.captured());
}

export const hello: Lab = {
  name: 'hello',
  summary: 'an unmodified curl, two nodes that know nothing of each other, a plain origin',
  spec,
  run,
};
