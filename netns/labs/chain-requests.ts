/** Requests of the clients of lab `chain`, which go on side by side. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtFile } from '../../host/paths.js';
import type { Ask, Exchange } from '../exchanges.js';
import { tpotNodeCommand, type Program } from '../host.js';
import type { LabRun } from '../lab.js';

/** In the requests of clients. */
export const HOPS = 8;
const ONE = 1;
let batches = 0;

export interface Asking {
  readonly program: Program;
  /** What has come of it so far. */
  exchanges(): Exchange[];
}

/** Starts a client's requests, `atOnce` at a time. */
export function startAsking(
  { topology }: Pick<LabRun, 'topology'>,
  client: string,
  asks: readonly Ask[],
  atOnce: number,
  hops = HOPS,
): Asking {
  const file = join(topology.directory, `${client}-requests-${(batches += 1)}`);
  writeFileSync(file, asks.map((one) => `${JSON.stringify(one)}\n`).join(''));
  const [node, launcher] = tpotNodeCommand;
  const { address } = topology.host('origin');
  const command = [node, builtFile('netns', 'requests-child.js'), file, address, String(atOnce)];
  const shim = [launcher, 'run', '--hops', String(hops), '--', ...command];
  const program = topology.host(client).spawn(node, shim, { label: 'requests' });
  const exchanges = (): Exchange[] => {
    const text = program.stdout();
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Exchange);
  };
  return { program, exchanges };
}

/** The requests of several clients to their ends, each client's one after the other. */
export async function ask(
  run: LabRun,
  asks: Readonly<Record<string, readonly Ask[]>>,
): Promise<ReadonlyMap<string, readonly Exchange[]>> {
  const started = Object.entries(asks).map(
    ([client, list]) => [client, startAsking(run, client, list, ONE)] as const,
  );
  await Promise.all(started.map(([, { program }]) => program.exited));
  return new Map(started.map(([client, asking]) => [client, asking.exchanges()]));
}
