import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { systemClock } from '../core/clock.js';
import { TRANSFORMS } from '../transcode/capabilities.js';
import { ConnectionTable } from './connections.js';
import { Transforms } from './transforms.js';

const BITS = TRANSFORMS.get('zstd') ?? 0;

function setUp(connections: number, bits = BITS) {
  const said: number[] = [];
  const settings = { bits, storeBytes: 1024, connections, passOn: true, estimate: false };
  const transforms = new Transforms(settings, (bits) => said.push(bits));
  const table = new ConnectionTable(systemClock);
  const from = (client: string) => {
    const endpoints = [
      { address: ip(client), port: 40_000 },
      { address: ip('192.0.2.80'), port: 80 },
    ] as const;
    const taken = { via: 'tunnel' as const, hops: 7, capabilities: bits };
    // Never connected: what a leg says when it ends meets an error that nobody is to see.
    const ignore = (): void => undefined;
    const leg = transforms.ofClient(table.open(new Socket().on('error', ignore), ...endpoints, taken));
    if (leg === undefined) throw new Error('nothing was agreed');
    return leg.on('error', ignore);
  };
  return { said, transforms, from };
}

it('keeps the sums of so many nodes apart, and those of the rest together', () => {
  const { transforms, from } = setUp(10_000);
  const legs = Array.from({ length: 300 }, (_, index) =>
    from(`198.18.${Math.floor(index / 250)}.${(index % 250) + 1}`),
  );
  const { pairs, open } = transforms.report();
  expect(open).toBe(300);
  expect(pairs).toHaveLength(257);
  expect(pairs.find(({ node }) => node === 'others')).toMatchObject({ connections: 44, open: 44 });
  for (const leg of legs) leg.destroy();
});

it('counts what is compressed once, for the compressor that does it', () => {
  const { transforms, from } = setUp(
    2,
    [...TRANSFORMS.values()].reduce((all, bit) => all | bit),
  );
  const leg = from('198.18.0.1');
  const [pair] = transforms.report().pairs;
  expect(pair?.transforms).toEqual(['zstd', 'dedup']);
  expect(pair?.byTransform.map(({ transform }) => transform)).toEqual(['zstd', 'dedup']);
  leg.destroy();
});

it('offers nothing at the limit, and again when one has ended', async () => {
  const { transforms, said, from } = setUp(2);
  const legs = [from('198.18.0.1'), from('198.18.0.2')];
  expect([transforms.bits, said]).toEqual([0, [0]]);
  const closed = new Promise((resolve) => legs[0]?.once('close', resolve));
  legs[0]?.destroy();
  await closed;
  expect([transforms.bits, said]).toEqual([BITS, [0, BITS]]);
  legs[1]?.destroy();
});
