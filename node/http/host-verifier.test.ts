import { expect, it } from 'vitest';
import { indexFields } from '../../cache/fields.js';
import { HostVerifier } from './host-verifier.js';
import { ShiftedClock } from './harness.props.js';

const settled = (): Promise<void> => new Promise(setImmediate);
const from = (host: string): { fields: ReturnType<typeof indexFields> } => ({
  fields: indexFields(['Host', host]),
});
const at = (address: string): { address: string; port: number } => ({ address, port: 80 });

it('lets the addresses of a name share, once it is known that they are', async () => {
  const asked: string[] = [];
  const clock = new ShiftedClock();
  const verifier = new HostVerifier((name) => {
    asked.push(name);
    return name === 'a.example'
      ? Promise.resolve(['192.0.2.1', '192.0.2.2'])
      : Promise.reject(new Error('none'));
  }, clock);
  expect(verifier.shared(at('192.0.2.1'), from('A.example:80'))).toBeUndefined();
  await settled();
  const shared = verifier.shared(at('192.0.2.1'), from('a.example'));
  expect(shared).toEqual(verifier.shared(at('192.0.2.2'), from('a.example')));
  expect(shared).toEqual({ address: '*', port: 80 });
  // A client that lies keeps to the address it has asked.
  expect(verifier.shared(at('192.0.2.66'), from('a.example'))).toBeUndefined();
  for (const odd of ['192.0.2.1', '[2001:db8::1]', 'a b', 'none.example', 'none.example']) {
    expect(verifier.shared(at('192.0.2.1'), from(odd))).toBeUndefined();
    await settled();
  }
  expect(asked).toEqual(['a.example', 'none.example']);
  clock.advance(61_000);
  expect(verifier.shared(at('192.0.2.1'), from('a.example'))).toBeUndefined();
  await settled();
  expect(asked).toHaveLength(3);
});

it('asks for so many names at a time, and for the others when they come again', async () => {
  const answers: (() => void)[] = [];
  const asked: string[] = [];
  const verifier = new HostVerifier((name) => {
    asked.push(name);
    return new Promise((resolve) => answers.push(() => resolve(['192.0.2.1'])));
  }, new ShiftedClock());
  const names = Array.from({ length: 100 }, (_, index) => `n${index}.example`);
  for (const name of names) expect(verifier.shared(at('192.0.2.1'), from(name))).toBeUndefined();
  expect(asked).toEqual(names.slice(0, 64));
  for (const answer of answers.splice(0)) answer();
  await settled();
  for (const name of names) verifier.shared(at('192.0.2.1'), from(name));
  expect(asked).toEqual(names);
  for (const answer of answers) answer();
});
