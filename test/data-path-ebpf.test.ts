/** The contract of the DataPath port against the eBPF implementation. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { ownCgroup, pinDirectory } from '../host/mounts.js';
import { runtimeDirectory } from '../host/paths.js';
import { dataPathContract } from './data-path.contract.js';

/** Files that say which nodes use the routing rules of a namespace. */
function routeMarkers(name: string): string[] {
  const folder = join(runtimeDirectory, 'routes');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith(`/${name}`),
  );
}

describe('EbpfDataPath', () => {
  dataPathContract('ebpf', {
    async leftovers(name, driver, host) {
      const rules = await host.must('sh', ['-c', 'ip rule; ip -6 rule']);
      const routes = await host.must('sh', ['-c', 'ip route show table all; ip -6 route show table all']);
      const found = {
        pins: existsSync(pinDirectory('nodes', name)),
        cgroup: existsSync(join(ownCgroup(), `tpot-node.${name}`)),
        rules: rules.includes('fwmark'),
        routes: routes.includes('table 5450'),
        markers: routeMarkers(name).length > 0,
        programs: (await driver.attached()) > 0,
      };
      return Object.entries(found).flatMap(([what, there]) => (there ? [what] : []));
    },
  });
});
