/** docs/reliability.md from the cases of labs. Pure. */
import type { CaseOutcome } from './cases.js';

/** The cases of one run of a lab, as `lab NAME --json` prints them. */
export interface LabCases {
  readonly lab: string;
  readonly ok: boolean;
  readonly cases: readonly CaseOutcome[];
}

/** A lab in the page. */
export interface PageLab {
  readonly name: string;
  readonly summary: string;
  readonly runs: readonly LabCases[];
}

const INTRODUCTION = `# Reliability

Whatever stands in the way, a connection with TPOT on should work at least as well as one without. Each row below is a case
that a lab makes on this machine out of real packets, and checks: what a client sees without TPOT on the same path, with it,
and what the same means achieve when they are aimed at TPOT. [labs.md](labs.md) says how each lab works.

*To fall back* is how much longer the first connection took than one without TPOT, *next time* the same of the connection
after it: medians over the runs. A path without delay shows what the protocol itself costs. In \`restart\` these
are the connections opened while the node is down, and after it is up again.
`;

const LIMITS = `## Where it is worse than no node

Each of these is a property of the design and not of a single case:

- **A relayed connection ends with the process that relays it** (\`restart\`). It ends with a reset, never with a FIN that could pass
  for the end of the data. Connections that are spliced go on, and \`down\` waits for the others (\`drainTimeout\`).
- **A tunnel that is blocked after it has carried data is not given up** (\`blocked\`): by then the node has bytes that the
  destination does not have, or the reverse. The connection fails as it does when a route fails.
- **A stateful packet filter between client and node** that drops what its connection tracking calls invalid costs the first
  connection about half a second (\`blocked\`): it sees the SYN but no acknowledgment, since those are in the tunnel, so what the node
  sends has to go in a tunnel, too. For ten minutes, doubled each time up to a day, connections of that client begin so. \`sysctl -w
  net.netfilter.nf_conntrack_tcp_be_liberal=1\` there spares it, and \`doctor\` finds the rule when it runs there. Filters on the
  client's or the node's own machine, and routers that translate addresses, are not concerned. Over IPv6, a return tunnel
  needs a path of 1,320 bytes, as every tunnel does.
- **A middlebox that drops SYNs with unknown options costs the first connection its first two SYNs**, once in ten minutes for
  each destination (\`stripped\`).
- **Both ends opening at once** (RFC 9293 section 3.5) does not work through a node that takes the connection: one side is answered
  before its own SYN arrives. Both get an error soon. A rule with \`pass\` for the ports that do so restores it.
- **A node whose own packets come back to it** (a path that crosses it twice) needs \`net.ipv4.conf.INTERFACE.accept_local=1\`: a kernel drops
  what arrives under one of its own addresses.
`;

const SOAK = `## Soak

\`npx vitest run --config vitest.long.config.ts test/soak.long.test.ts\`: 60,000 connections through two nodes, what an office has in a
day at 0.7 a second, in 154 s: cacheable objects, private pages, uploads, a protocol whose server speaks first, and bulk data; HTTP is
cached, all else spliced. All were right, none was reset. What a connection leaves behind, by a line through the second half (the median of
the slopes between 8 samples), in three runs (\`SOAK_CONNECTIONS\`):

| connections | hours of that office | bytes a connection, p1 and p2 | memory of the processes in the second half |
|---|---|---|---|
| 20,000 | 8 | 125 and 126 | 91 and 90 MiB at the end |
| 60,000 | 24 | 9 and 50 | 92 to 93, and 93 to 94 MiB |
| 120,000 | 48 | 15 and 13 | 93 to 95, and 94 to 95 MiB |

The growth is that of caches and pools that fill; it ends. The tables took 26.7 MiB in p1 and 26.6 MiB in p2 at every sample, within 0.1 MiB,
and less after the last round (27,212 KiB in both) than in it. Descriptors fell from 83 and 86 to 71 and 69.
`;

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle];
  const [low, high] = [sorted[middle - 1], sorted[middle]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

/** Below this a difference says nothing but that the machine was busy. */
const NOTHING_MS = 100;

function time(value: number | undefined): string {
  if (value === undefined) return '';
  return value < NOTHING_MS ? 'at once' : `${(value / 1000).toFixed(1)} s`;
}

function row(id: string, runs: readonly LabCases[]): string {
  const found = runs.flatMap(({ cases }) => cases.filter((one) => one.id === id));
  const [first] = found;
  if (first === undefined) return '';
  const middle = (of: (one: CaseOutcome) => number | undefined): number | undefined =>
    median(found.flatMap((one) => of(one) ?? []));
  const cells = [
    first.title,
    first.without,
    first.with,
    first.against ?? '–',
    time(middle(({ fallbackMs }) => fallbackMs)),
    time(middle(({ laterMs }) => laterMs)),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** Of labs in which a mechanism cannot be aimed at anybody: why not. */
const NOBODY: Readonly<Record<string, string>> = {
  restart:
    '–: a node ends in order for root alone. Nobody else can send it a signal, or gets an answer on its administration socket.',
  mtu:
    '–: a link narrows the packets of everybody who crosses it. Aimed at somebody can be the errors (the last rows), or the loss of what ' +
    'is large and in a tunnel (`blocked`, the last row).',
};

function section({ name, summary, runs }: PageLab): string {
  const ids = runs[0]?.cases.map(({ id }) => id) ?? [];
  const held = runs.filter(({ ok }) => ok).length;
  return [
    `## ${name}: ${summary}`,
    `\`tpot-node lab ${name}\`; every check held in ${held} of ${runs.length} ${runs.length === 1 ? 'run' : 'runs'}.`,
    [
      '| case | without TPOT | with TPOT | turned against it | to fall back | next time |',
      '|---|---|---|---|---|---|',
      ...ids.map((id) => row(id, runs)),
    ].join('\n'),
    ...(name in NOBODY ? [NOBODY[name]] : []),
  ].join('\n\n');
}

/** `made`: the day, the kernel and what else belongs to the figures. */
export function reliabilityPage(labs: readonly PageLab[], made: string): string {
  const written = `Written by \`npm run reliability\` (${made}).\n`;
  return [INTRODUCTION + written, ...labs.map(section), SOAK, LIMITS].join('\n\n').replace(/\n{3,}/g, '\n\n');
}
