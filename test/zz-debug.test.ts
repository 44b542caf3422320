import { afterEach, test } from 'vitest';
import { closeAll, fixture, ORIGIN, standChain } from './chain.js';
const SPLICE = { rules: [{ action: 'splice' }] };
afterEach(closeAll);
test('debug', async () => {
  const chain = await standChain({ nodes: { p1: SPLICE, p2: SPLICE } });
  const n = process.env['N'] ?? '1';
  const r = await chain.run('c1', [process.execPath, fixture('duplex.mjs'), ORIGIN, '22', n, process.env['B'] ?? '200000', process.env['C'] ?? '25', process.env['P'] ?? '2'], { timeoutMs: Number(process.env['T'] ?? 5000) });
  console.log(r.stdout, r.stderr.slice(-300));
  for (const p of ['p1', 'p2']) console.log(p, JSON.stringify(await chain.stats(p)), JSON.stringify((await chain.conns(p)).slice(0, 3)));
  for (const p of ['c1', 'p1', 'p2', 'origin']) console.log(p, (await chain.host(p).run('ss', ['-tnoi'])).stdout.slice(0, 1500));
  console.log((await chain.host('p1').run('sh', ['-c', 'sysctl net.ipv4.ip_forward; ip r; ip n; for m in $(ls -d /sys/fs/bpf/tpot-node/nodes/*/v1); do echo $m; bpftool map dump pinned $m/tpot_tunnels | head -30; bpftool map dump pinned $m/tpot_splices | grep -E "packets|bytes|flags"; done'])).stdout.slice(0, 6000));
});
