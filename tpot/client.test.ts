import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ip, sameIp } from '../core/address.js';
import { clientOf } from './client.js';

it.each([
  ['198.18.0.7', '198.18.0.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::'],
  ['2001:db8::', '2001:db8::'],
])('%s is of the client %s', (address, client) => {
  expect(sameIp(clientOf(ip(address)), ip(client))).toBe(true);
});

it('is the same for all addresses of one /64, and for no other', () => {
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(bytes, bytes, fc.boolean(), (one, other, near) => {
      if (near) other.set(one.subarray(0, 8));
      const same = Buffer.from(one.subarray(0, 8)).equals(Buffer.from(other.subarray(0, 8)));
      expect(sameIp(clientOf({ family: 6, bytes: one }), clientOf({ family: 6, bytes: other }))).toBe(same);
    }),
  );
});
