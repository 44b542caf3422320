/** The contract of the DataPath port against the eBPF implementation. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { ownCgroup, pinDirectory } from '../host/mounts.js';
import { runtimeDirectory } from '../host/paths.js';
import { dataPathContract } from './data-path.contract.js';

describe('EbpfDataPath', () => {
  dataPathContract('ebpf', {
    async leftovers(name, _driver, topology, hostName) {
      const host = topology.host(hostName);
      const found: string[] = [];
      if (existsSync(pinDirectory('nodes', name))) found.push('pins');
      if (existsSync(join(ownCgroup(), `tpot-node.${name}`))) found.push('cgroup');
      const rules = await host.must('sh', ['-c', 'ip rule; ip -6 rule']);
      if (rules.includes('fwmark')) found.push(`ip rules: ${rules}`);
      const routes = await host.must('sh', ['-c', 'ip route show table all; ip -6 route show table all']);
      if (routes.includes('table 5450')) found.push(`routes: ${routes}`);
      // bpftool of Debian 12 does not know TCX; a program that is attached by whatever means is in use.
      const tc = await host.must('sh', [
        '-c',
        'for i in $(ls /sys/class/net); do tc filter show dev $i ingress; done',
      ]);
      if (tc.trim() !== '') found.push(`tc: ${tc}`);
      if (existsSync(join(runtimeDirectory, 'routes', name))) found.push('marker');
      return found;
    },
  });
});
