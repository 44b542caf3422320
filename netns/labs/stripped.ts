/**
 * Middleboxes that do not like unknown TCP options: they strip them from SYNs or SYN-ACKs, or drop the packets. In
 * every case the connection works; what it costs is seen side by side with a client without TPOT on the same path.
 */
import type { Lab, LabRun } from '../lab.js';
import { SYN, SYN_ACK, TPOT_OPTION } from '../middlebox.js';
import type { Seen } from '../seen.js';
import { pathSpec } from './path.js';
import { type Claim, expect, FETCHES, type PathCase, runPathCase } from './path-case.js';

const dropsRequests = (near: Seen, far: Seen): readonly Claim[] => [
  [
    near.requests === 2,
    `${near.requests} SYNs with a request left c1, 2 expected: those of the first connection`,
  ],
  [far.requests === 0, `${far.requests} requests came through m`],
  [far.tunnelled === 0, `${far.tunnelled} packets were tunnelled`],
];

const CASES: readonly PathCase[] = [
  {
    id: 'nothing',
    title: 'nothing in the way',
    family: 4,
    rules: [],
    outcome: 'tunnelled to the node',
    holds: (near, _, counters) =>
      expect(
        [
          near.replies === FETCHES && near.plain === 0,
          `${near.replies} replies, ${near.plain} plain packets`,
        ],
        [counters['taken'] === FETCHES, `the node took ${counters['taken'] ?? 0}`],
      ),
  },
  {
    id: 'syn-stripped',
    title: 'the option is stripped from SYNs',
    family: 4,
    rules: [`${SYN} reset ${TPOT_OPTION}`],
    outcome: 'plain TCP at once',
    holds: (near, far, counters) =>
      expect(
        [near.requests === FETCHES, `${near.requests} requests left c1`],
        [
          far.syns === FETCHES && far.requests === 0,
          `${far.requests} requests in ${far.syns} SYNs came through m`,
        ],
        [far.tunnelled === 0, `${far.tunnelled} packets were tunnelled`],
        [counters['taken'] === undefined, 'the node took a connection'],
      ),
  },
  {
    id: 'syn-ack-stripped',
    title: 'the reply is stripped from SYN-ACKs',
    family: 4,
    rules: [`${SYN_ACK} reset ${TPOT_OPTION}`],
    outcome: 'through the node at once, as through a transparent proxy',
    holds: (near, far, counters) =>
      expect(
        [
          far.replies === FETCHES && near.replies === 0,
          `${near.replies} of ${far.replies} replies came through m`,
        ],
        [near.tunnelled === 0, `${near.tunnelled} packets were tunnelled`],
        [counters['taken-reply-stripped'] === FETCHES, 'the node did not notice'],
      ),
  },
  {
    id: 'syn-dropped',
    title: 'SYNs with unknown options are dropped',
    family: 4,
    rules: [`${SYN} ${TPOT_OPTION} exists drop`],
    outcome: 'plain from the third SYN on, then at once',
    against: 'the same: one connection in ten minutes to each destination is delayed',
    holds: (near, far) =>
      expect(...dropsRequests(near, far), [near.syns === 4, `${near.syns} SYNs left c1, 3 and 1 expected`]),
  },
  {
    id: 'syn-dropped-v6',
    title: 'SYNs with unknown options are dropped, IPv6',
    family: 6,
    rules: [`${SYN} ${TPOT_OPTION} exists drop`],
    outcome: 'plain from the third SYN on, then at once',
    holds: (near, far) => expect(...dropsRequests(near, far)),
  },
  {
    id: 'syn-ack-dropped',
    title: 'SYN-ACKs with unknown options are dropped',
    family: 4,
    rules: [`${SYN_ACK} ${TPOT_OPTION} exists drop`],
    outcome: 'plain from the third SYN on, then at once',
    holds: (near, far) =>
      expect(
        [far.replies >= 1 && near.replies === 0, `${near.replies} of ${far.replies} replies came through m`],
        [near.tunnelled === 0, `${near.tunnelled} packets were tunnelled`],
        [near.requests === 2, `${near.requests} requests left c1, 2 expected`],
      ),
  },
];

async function run(run: LabRun): Promise<void> {
  await run.captured(); // each case has captures of its own
  for (const one of CASES) await runPathCase(run, 'stripped', one);
}

export const stripped: Lab = {
  name: 'stripped',
  summary: 'middleboxes that strip the option from SYNs or SYN-ACKs, or drop such packets',
  spec: pathSpec(),
  run,
};
