/**
 * The BPF load test: the verifier of the running kernel takes every program, each attaches where it belongs, and a
 * SYN that is run through is judged and counted.
 */
import { join } from 'node:path';
import { TpotFlag } from '../../dist/bpf/generated/maps.js';
import { TpotPrograms } from '../../dist/bpf/programs.js';
import { testRun } from '../../dist/bpf/test-run.js';
import { ip } from '../../dist/core/address.js';
import { commandSync } from '../../dist/host/exec.js';
import { listInterfaces } from '../../dist/host/interfaces.js';
import { makeCgroup, ownCgroup, removeCgroup } from '../../dist/host/mounts.js';
import { encodeOption } from '../../dist/tpot/option.js';
import { buildTcp } from '../../dist/wire/build.js';

const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1);
const started = performance.now();
const programs = TpotPrograms.load();
console.log(`programs loaded in ${seconds(started)} s`);

const cgroup = join(ownCgroup(), `tpot-load.${process.pid}`);
makeCgroup(cgroup);
const loopback = listInterfaces().find((candidate) => candidate.loopback);
const attachments = [
  programs.attachCgroup(cgroup),
  ...[true, false].flatMap((ethernet) => programs.attachInterface({ ...loopback, ethernet })),
];
console.log(`attached: ${attachments.map(({ kind }) => kind).join(', ')}`);
for (const attachment of attachments) attachment.detach();
removeCgroup(cgroup);
const left = commandSync('tc', ['qdisc', 'show', 'dev', 'lo']);
if (left.includes('clsact')) {
  console.log(`a qdisc stays: ${left}`);
  process.exit(1);
}
console.log('detached, and nothing stays');

programs.configure({ flags: TpotFlag.NODE, maxConnections: 1 });
const syn = buildTcp({
  source: ip('198.18.0.7'),
  sourcePort: 40000,
  destination: ip('192.0.2.80'),
  destinationPort: 80,
  flags: ['syn'],
  options: [{ kind: 'mss', mss: 1460 }, encodeOption({ type: 'request', hops: 8, capabilities: 0 })],
});
const header = Buffer.from('0200000000010200000000020800', 'hex');
const { verdict, packet } = testRun(programs.programFd('tpot_ingress'), Buffer.concat([header, syn]));
const counted = JSON.stringify(programs.counters());
if (
  verdict !== -1 ||
  counted !== '{"pass-policy":1}' ||
  !packet.subarray(header.length).equals(Buffer.from(syn))
) {
  console.log(`a SYN was not judged as it should be: verdict ${verdict}, counted ${counted}`);
  process.exit(1);
}
console.log('a SYN was judged, counted and left as it came');
programs.close();
