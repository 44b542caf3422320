/**
 * A node between two wires that lose, double and reorder; both families.
 *
 * ```
 *   c1 ── w1 ── p1 ── w2 ── origin        w1, w2: test/fixtures/impair.mjs carries frames, there is no router
 * ```
 */
import { expect } from 'vitest';
import type { Program } from '../netns/host.js';
import type { LinkSpec } from '../netns/spec.js';
import { Chain, fixture, stand, startOrigin } from './chain.js';

/** Frames of a thousand. */
interface Impairment {
  readonly lost: number;
  readonly doubled: number;
  readonly late: number;
}

type WireCount = Readonly<Record<'passed' | 'lost' | 'doubled' | 'late', number>>;

const IMPAIRED_ORIGIN = { 4: '192.0.2.80', 6: '2001:db8:b::80' } as const;
const NODE = { 4: '198.18.1.1', 6: '2001:db8:a::1' } as const;

/** Only the outer ends matter: a wire's own addresses are never used. */
const LINKS: readonly LinkSpec[] = [
  { between: ['c1', 'w1'], addresses: ['198.18.1.2/24', '198.19.1.1/24'] },
  { between: ['p1', 'w1'], addresses: ['198.18.1.1/24', '198.19.1.2/24'] },
  { between: ['p1', 'w2'], addresses: ['192.0.2.1/24', '198.19.2.1/24'] },
  { between: ['origin', 'w2'], addresses: ['192.0.2.80/24', '198.19.2.2/24'] },
];

/** What the declaration of a topology cannot say: neighbours are not those of a link. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  c1: [
    'addr add 2001:db8:a::2/64 dev to-w1 nodad',
    'route add default via 198.18.1.1',
    '-6 route add default via 2001:db8:a::1',
  ],
  p1: ['addr add 2001:db8:a::1/64 dev to-w1 nodad', 'addr add 2001:db8:b::1/64 dev to-w2 nodad'],
  origin: [
    'addr add 2001:db8:b::80/64 dev to-w2 nodad',
    'route add default via 192.0.2.1',
    '-6 route add default via 2001:db8:b::1',
  ],
};

class ImpairedChain extends Chain {
  readonly #wires: readonly Program[];

  constructor(chain: Chain, wires: readonly Program[]) {
    super(chain.net, chain.origin);
    this.#wires = wires;
  }

  /** Ends the wires; what each did to the frames that it was given. */
  async wires(): Promise<WireCount[]> {
    await Promise.all(this.#wires.map((wire) => wire.stop()));
    return this.#wires.map((wire) => JSON.parse(wire.stdout().split('\n').at(-2) ?? '') as WireCount);
  }
}

async function standImpaired(
  config: Readonly<Record<string, unknown>>,
  { lost, doubled, late }: Impairment,
): Promise<ImpairedChain> {
  const net = await stand({
    hosts: [
      { name: 'c1', role: 'client' },
      { name: 'w1', role: 'client' },
      { name: 'p1', role: 'node' },
      { name: 'w2', role: 'client' },
      { name: 'origin', role: 'origin' },
    ],
    links: LINKS.map((link) => ({ ...link, v6: true, offload: false })),
    nodes: [{ host: 'p1', config: { address: [NODE[4], NODE[6]], ...config } }],
  });
  for (const [host, lines] of Object.entries(COMMANDS)) {
    for (const line of lines) await net.host(host).must('ip', line.split(' '));
  }
  const shares = [lost, doubled, late].map(String);
  const wires = [
    ['w1', 'c1'],
    ['w2', 'origin'],
  ].map(([wire = '', end = '']) =>
    net
      .host(wire)
      .spawn(process.execPath, [fixture('impair.mjs'), `to-${end}`, 'to-p1', ...shares], { label: 'wire' }),
  );
  await Promise.all(wires.map((wire) => wire.output(/^ready$/m)));
  const [origin] = await Promise.all([startOrigin(net), net.startNodes()]);
  return new ImpairedChain(new Chain(net, origin), wires);
}

/** How many transfers at once, and pauses so short that there is hardly an idle instant. */
const SHAPE = ['15', '3'];
const PATIENT = { timeoutMs: 240_000 };

/** Echoes over so many connections of each kind: every byte is right. */
async function echoes(chain: Chain, connections: number, bytes: number): Promise<void> {
  const runs = ([4, 6] as const).flatMap((family) => {
    const what = [IMPAIRED_ORIGIN[family], '22', String(connections), String(bytes), ...SHAPE];
    const duplex = [fixture('duplex.mjs'), ...what];
    return [
      chain.must('c1', [process.execPath, ...duplex], PATIENT),
      chain.host('c1').must(process.execPath, duplex, PATIENT),
    ];
  });
  for (const score of await Promise.all(runs)) {
    expect(JSON.parse(score)).toMatchObject({ right: connections, wrong: 0, failed: 0 });
  }
}

/**
 * Echoes of `bytes` over so many connections of each kind, tunnelled and plain, IPv4 and IPv6, through a node that
 * splices: every byte is right, the wires did what they were told, and more connections than that were spliced.
 */
export async function expectRightThroughWires(
  impairment: Impairment,
  connections: number,
  bytes: number,
): Promise<void> {
  const chain = await standImpaired({ edge: true, rules: [{ action: 'splice' }] }, impairment);
  const spliced = async (): Promise<number> => (await chain.stats('p1')).connections.byReason['spliced'] ?? 0;
  // How many find an idle instant before they end depends on the machine; there are enough of them at some time.
  for (let round = 0; round < 5 && (await spliced()) <= connections; round++) {
    await echoes(chain, connections, bytes);
  }
  const { byReason } = (await chain.stats('p1')).connections;
  for (const how of ['taken', 'taken-edge', 'spliced']) {
    expect(byReason[how]).toBeGreaterThan(connections);
  }
  for (const wire of await chain.wires()) {
    for (const how of ['lost', 'doubled', 'late'] as const) {
      if (impairment[how] > 0) expect(wire[how]).toBeGreaterThan(10);
    }
  }
}
