/** TLS through real namespaces: rules by server name, what is shown of it, and what becomes of a hello that is none. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import type { Program } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import type { ConnectionRow } from '../node/connections.js';
import { closeAll, fixture, ORIGIN, ORIGIN_V6, standChain, type Chain } from './chain.js';

const RULES = [
  { match: { dport: 443, sni: 'www.example.net' }, action: 'splice' },
  { match: { dport: 443, sni: ['*.example.net', 'other.example'] }, action: 'relay' },
  { match: { dport: 443 }, action: 'pass' },
  { match: { dport: 8443 }, action: 'cache' },
  { match: { dport: 9443 }, action: 'relay' },
  { action: 'splice' },
];
const SIZE = 3_000_000;

let chain: Chain;
beforeAll(async () => {
  chain = await standChain({
    v6: true,
    nodes: {
      p1: { address: ['198.18.1.1', '2001:db8:1::1'], rules: RULES },
      p2: { address: ['198.18.3.1', '2001:db8:3::1'], rules: [{ action: 'splice' }] },
    },
  });
  const ports = ['443', '8443', '9443', '10443'];
  const command = [fixture('tls-origin.mjs'), ...ports];
  const origin = chain.host('origin').spawn(process.execPath, command, { label: 'tls-origin' });
  await origin.output(/^ready$/m);
});
afterAll(closeAll);

/** A TLS client that has shaken hands and then says nothing. */
async function hello(port: number, name: string | undefined, address = ORIGIN): Promise<Program> {
  const server = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  const named = name === undefined ? ['-noservername'] : ['-servername', name];
  const command = ['openssl', 's_client', '-ign_eof', '-connect', server, '-alpn', 'http/1.1', ...named];
  const program = chain.spawn('c1', command, { label: 'hello' });
  await program.output(/Verify return code/);
  return program;
}

/** What P1 shows of such a client once it is settled. */
async function shown(
  port: number,
  name: string | undefined,
  state: 'spliced' | 'relaying',
  address = ORIGIN,
): Promise<ConnectionRow> {
  const program = await hello(port, name, address);
  try {
    return await program.while(
      async () =>
        (await chain.conns('p1')).find((row) => row.state === state && row.destination.endsWith(`:${port}`)),
      { what: `${name ?? 'no name'} to be ${state}` },
    );
  } finally {
    await program.stop();
    await waitFor(async () => (await chain.conns('p1')).every((row) => row.state !== state));
  }
}

const reason = async (code: string): Promise<number> =>
  (await chain.stats('p1')).connections.byReason[code] ?? 0;

describe('a rule with a server name', () => {
  test.each([
    ['www.example.net', 'spliced', ORIGIN],
    ['www.example.net', 'spliced', ORIGIN_V6],
    ['a.b.example.net', 'relaying', ORIGIN],
  ] as const)('%s is %s to %s', async (name, state, address) => {
    const action = state === 'spliced' ? 'splice' : 'relay';
    expect(await shown(443, name, state, address)).toMatchObject({ action, sni: name, alpn: ['http/1.1'] });
  });

  test.each(['unknown.example', undefined])('what would pass by the name %s is spliced', async (name) => {
    const before = await reason('late-pass');
    await shown(443, name, 'spliced');
    expect(await reason('late-pass')).toBe(before + 1);
  });
});

describe('the name is shown under other rules', () => {
  test.each([
    [8443, 'spliced'],
    [9443, 'relaying'],
    [10443, 'spliced'],
  ] as const)('port %i is %s', async (port, state) => {
    expect(await shown(port, 'shown.example', state)).toMatchObject({ sni: 'shown.example' });
  });
});

test.each(['www.example.net:443', 'x.example:8443'])('every byte arrives: %s', async (where) => {
  const fetch = `curl -skf --connect-to ::[${ORIGIN_V6}]: https://${where}/bytes/${SIZE} | sha256sum`;
  const hash = await chain.must('c1', ['sh', '-c', fetch]);
  expect(hash.split(' ')[0]).toBe(contentHash(`/bytes/${SIZE}`, SIZE));
});

test('a malformed hello reaches the origin as it is, and its answer the client', async () => {
  const before = await reason('tls-malformed');
  // A ClientHello whose session ID is longer than there are bytes.
  const bytes =
    '\\026\\003\\001\\000\\053\\001\\000\\000\\047\\003\\003' + 'x'.repeat(32) + '\\377\\000\\000\\000\\000';
  const alert = await chain.must('c1', [
    'sh',
    '-c',
    `printf '${bytes}' | busybox nc ${ORIGIN} 443 | od -An -tx1`,
  ]);
  expect(alert.trim()).toMatch(/^15 03 0[1-3] 00 02 02 /);
  await waitFor(async () => (await reason('tls-malformed')) === before + 1);
});
