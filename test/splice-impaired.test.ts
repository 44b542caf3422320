/** Hand-overs with data under way in both directions while packets are lost and reordered; both families. */
import { afterEach, test } from 'vitest';
import { closeAll } from './chain.js';
import { expectRightThroughWires } from './impaired.js';

afterEach(closeAll);

test('every byte of both directions is right, tunnelled and edge, IPv4 and IPv6', async () => {
  await expectRightThroughWires({ lost: 5, doubled: 0, late: 30 }, 30, 60_000);
});
