/**
 * SYN-ACKs of somebody who has not seen the SYN, while a socket of this kernel waits for the answer to one with a request
 * (BPF_PROG_TEST_RUN): whatever reply they carry, they are TCP's to refuse and change nothing.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TpotFlag } from '../bpf/generated/maps.js';
import { formatIp, ip, type Family } from '../core/address.js';
import { commandSync } from '../host/exec.js';
import { waitFor } from '../netns/wait.js';
import { encodeOption } from '../tpot/option.js';
import { buildTcp } from '../wire/build.js';
import { flows, frameOf, mapFlow, ProgramsUnderTest, reversed } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const WAITING = { plain: 0, keyed: 0, verified: 0, unused: 0 };
const SYN_SENT = ' 02 '; // the column st of proc_net_tcp(5)
/** Addresses that no reply may have: not unicast, outside `trust`. */
const REFUSED: Record<Family, readonly string[]> = {
  4: ['127.0.0.1', '203.0.113.1'],
  6: ['::1', '2001:db8:ffff::1'],
};

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;
const sockets: Socket[] = [];

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  for (const [of, length] of [
    [4, 32],
    [6, 128],
  ] as const) {
    const { source, destination } = flows[of];
    commandSync('ip', ['address', 'add', `${formatIp(source)}/${length}`, 'dev', 'lo']);
    commandSync('ip', ['route', 'add', `${formatIp(destination)}/${length}`, 'dev', 'lo']); // nobody is there
  }
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({ flags: TpotFlag.SOURCE });
  kernel.programs.setTrust([]);
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  kernel.close();
  leaveNamespace();
});

test.each([4, 6] as const)(
  'over IPv%i a refused reply counts only in a SYN-ACK that acknowledges our SYN',
  async (of) => {
    const flow = flows[of];
    const pending = kernel.programs.map('tpotPending');
    const forged = (reply: string): Uint8Array =>
      frameOf(
        buildTcp({
          ...reversed(flow),
          flags: ['syn', 'ack'],
          ack: 7, // the kernel's own numbers are random
          options: [encodeOption({ type: 'reply', address: ip(reply), flags: 0, capabilities: 0 })],
        }),
        of,
      );
    const socket = connect({
      host: formatIp(flow.destination),
      port: flow.destinationPort,
      localAddress: formatIp(flow.source),
      localPort: flow.sourcePort,
    });
    socket.on('error', () => undefined);
    sockets.push(socket);
    const table = `/proc/thread-self/net/tcp${of === 4 ? '' : '6'}`;
    await waitFor(() => readFileSync(table, 'latin1').includes(SYN_SENT), { what: 'the SYN to be out' });
    pending.set(mapFlow(flow), WAITING);
    for (const reply of REFUSED[of]) {
      kernel.expect('tpot_ingress', forged(reply), { verdict: 'untouched' });
      expect(pending.get(mapFlow(flow))).toEqual(WAITING);
    }
    pending.delete(mapFlow(flow));
  },
);
