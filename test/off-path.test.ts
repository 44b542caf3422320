/**
 * Somebody who sees no packet of a connection but guesses its addresses and ports: data, resets, answers and ICMP errors
 * of the attacker's making get nowhere, inside the tunnel or outside. Each is followed by the same packet with what the
 * attacker could not know put right, so that the refusal is shown to be for that.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShimReport } from '../client-shim/report.js';
import { ip } from '../core/address.js';
import { startCapture } from '../netns/capture.js';
import { tpotNodeCommand, type Program } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { encodeOption } from '../tpot/option.js';
import { buildIcmp, buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain } from './chain.js';
import { inject } from './packets.js';

const CLIENT = '198.18.1.2';
const NODE = '198.18.1.1';
const MARKER = 'FORGED-51c0';
const FAR = 0x40000000;
const UNREACHABLE = 3;
const PROHIBITED = 13;
const TOO_BIG = 4;

let chain: Chain;

beforeAll(async () => {
  chain = await standChain({
    offload: false,
    nodes: { p1: { rules: [{ action: 'relay' }], udpEncapsulation: false } },
  });
});
afterAll(closeAll);

interface Pinned {
  readonly program: Program;
  readonly port: number;
  /** What the client would send next, and what it has received. */
  readonly seq: number;
  readonly ack: number;
  readonly ping: () => Promise<void>;
}

/** A connection of c1 to a port of the origin, tunnelled to P1, and where its sequence numbers are. */
async function pinned(service: number): Promise<Pinned> {
  const capture = await startCapture(chain.net, { links: ['c1-p1'] });
  const talker = [process.execPath, fixture('talker.mjs'), ORIGIN, String(service)];
  const program = chain.spawn('c1', talker, { label: 'talker' });
  if (service === 22) await program.output(/SSH-2\.0/);
  const row = await waitFor(
    async () =>
      (await chain.conns('p1')).findLast(
        ({ destination, state }) => destination === `${ORIGIN}:${service}` && state === 'relaying',
      ),
    { what: 'the connection at P1' },
  );
  let pings = 0;
  const ping = async (): Promise<void> => {
    pings++;
    program.signal('SIGUSR2');
    await program.output(new RegExp(`"ping ${pings}\\\\n"`));
  };
  if (service === 22) await ping();
  const port = Number(row.client.split(':')[1]);
  const last = (await capture.stop())
    .get('c1-p1')
    ?.packets.flatMap(({ dissection }) => (dissection.kind === 'tcp' ? [dissection] : []))
    .findLast(({ tcp, outer }) => outer !== undefined && tcp.sourcePort === port);
  if (last === undefined) throw new Error('no tunnelled segment was captured');
  return { program, port, seq: (last.tcp.seq + last.payload.length) >>> 0, ack: last.tcp.ack, ping };
}

const counterChange = async (code: string, action: () => Promise<void>): Promise<void> => {
  const before = await chain.counter('p1', code);
  await action();
  await waitFor(async () => (await chain.counter('p1', code)) > before, { what: `${code} to be counted` });
};

const fromClient = ({ port, ack }: Pinned, more: Partial<TcpPacketSpec>): Uint8Array =>
  buildTcp({
    source: ip(CLIENT),
    sourcePort: port,
    destination: ip(ORIGIN),
    destinationPort: 22,
    flags: ['ack', 'psh'],
    ack,
    tunnel: { source: ip(CLIENT), destination: ip(NODE) },
    ...more,
  });

describe('in the tunnel, from the right outer source', () => {
  test('data outside the window: TCP at the node refuses it', async () => {
    const one = await pinned(22);
    const payload = Buffer.from(MARKER);
    const out = (one.seq + FAR) >>> 0;
    await counterChange('decap-ok', () =>
      inject(chain.net, 'c1', 'p1', [fromClient(one, { seq: out, payload })]),
    );
    await one.ping();
    expect(one.program.stdout()).not.toContain(MARKER);
    expect((await chain.conns('p1')).find(({ client }) => client.endsWith(`:${one.port}`))?.bytesIn).toBe(14);
    await one.program.stop();
  });

  test('a reset from another outer source is dropped; one that guesses the number wrong resets nothing', async () => {
    const one = await pinned(22);
    const reset = { flags: ['rst'] as const, payload: new Uint8Array() };
    const elsewhere = { source: ip('198.18.1.77'), destination: ip(NODE) };
    await counterChange('drop-decap-source', () =>
      inject(chain.net, 'c1', 'p1', [fromClient(one, { ...reset, seq: one.seq, tunnel: elsewhere })]),
    );
    await one.ping();
    // RFC 5961 section 3.2: in the window is not enough, it has to be the very next number.
    const near = (one.seq + 1000) >>> 0;
    await counterChange('decap-ok', () =>
      inject(chain.net, 'c1', 'p1', [fromClient(one, { ...reset, seq: near })]),
    );
    await one.ping();
    const next = (one.seq + 2 * 'ping 1\n'.length) >>> 0;
    await inject(chain.net, 'c1', 'p1', [fromClient(one, { ...reset, seq: next })]);
    await waitFor(
      async () => (await chain.conns('p1')).every(({ client }) => !client.endsWith(`:${one.port}`)),
      {
        what: 'the reset with the right number to end it',
      },
    );
    await one.program.stop();
  });
});

/** What `tpot-node run` of a program has counted. */
async function told(program: Program): Promise<Readonly<Record<string, number>>> {
  const [node20, launcher] = tpotNodeCommand;
  const all = JSON.parse(
    await chain.host('c1').must(node20, [launcher, 'status', '--shim', '--json']),
  ) as ShimReport[];
  return all.find(({ pid }) => pid === program.pid)?.counters ?? {};
}

/** An error of P1's about a tunnel packet of the connection. */
function error(one: Pinned, code: number, rest: number, seq: number): Uint8Array {
  const quotation = buildTcp({
    source: ip(CLIENT),
    sourcePort: one.port,
    destination: ip(ORIGIN),
    destinationPort: 9000,
    flags: ['ack'],
    seq,
    ack: one.ack,
    tunnel: { source: ip(CLIENT), destination: ip(NODE) },
  });
  const message = { type: UNREACHABLE, code, rest, source: ip(NODE), destination: ip(CLIENT) };
  return buildIcmp(message, quotation);
}

describe('towards the source', () => {
  test('an "unreachable" with a wrong sequence number does not end a tunnel; with the right one it does', async () => {
    const one = await pinned(9000); // says nothing, and nothing is said: nobody has been heard of yet
    const forged = (seq: number): Promise<void> =>
      inject(chain.net, 'p1', 'c1', [error(one, PROHIBITED, 0, seq)]);
    await forged((one.seq + FAR) >>> 0);
    await forged((one.seq - 1) >>> 0);
    await forged((one.seq + 1) >>> 0);
    await inject(chain.net, 'p1', 'c1', [error(one, TOO_BIG, 576, (one.seq + FAR) >>> 0)]);
    await waitFor(async () => ((await told(one.program))['icmp-translated'] ?? 0) > 0, {
      what: 'the last to arrive',
    });
    expect((await told(one.program))['tunnel-blocked'] ?? 0).toBe(0);
    const { stdout } = await chain.host('c1').run('ip', ['route', 'get', ORIGIN]);
    expect(stdout).not.toMatch(/mtu/); // TCP has not believed it
    await forged(one.seq);
    await waitFor(async () => (await told(one.program))['tunnel-blocked'] === 1, {
      what: 'the tunnel to be given up',
    });
    await one.program.stop();
  });

  test('a reply in a SYN-ACK with a wrong acknowledgement pins nothing', async () => {
    const one = await pinned(22);
    const answer = (more: Partial<TcpPacketSpec>): Uint8Array =>
      buildTcp({
        source: ip(ORIGIN),
        sourcePort: 22,
        destination: ip(CLIENT),
        destinationPort: one.port,
        flags: ['syn', 'ack'],
        seq: 7,
        ack: (one.seq + FAR) >>> 0,
        options: [encodeOption({ type: 'reply', address: ip('198.18.1.66'), flags: 0, capabilities: 0 })],
        ...more,
      });
    await inject(chain.net, 'p1', 'c1', [answer({}), answer({ ack: one.seq })]);
    await one.ping();
    const [node20, launcher] = tpotNodeCommand;
    const shown = await chain.host('c1').must(node20, [launcher, 'status', '--shim', '--json']);
    const mine = (JSON.parse(shown) as ShimReport[]).find(({ pid }) => pid === one.program.pid);
    expect(mine?.tunnels.map(({ nextHop }) => nextHop)).toEqual([NODE]);
    await one.program.stop();
  });
});
