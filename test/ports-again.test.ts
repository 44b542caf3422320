/**
 * The same two ends and ports again, shortly after a connection that a node had taken: its TIME_WAIT gets what is its
 * own and keeps nothing that is not, and its tunnel gets nothing at all.
 */
import { afterEach, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { waitFor } from '../netns/wait.js';
import { type Chain, closeAll, HOPS, ORIGIN, standChain } from './chain.js';
import { segmentsOf, type Segment } from './packets.js';

const PORT = 45_000;
/** One HTTP request from PORT, read to the end of the connection; closed, or reset where the argument says so. */
const SCRIPT = `
import socket, struct, sys
s = socket.socket()
if sys.argv[1] == 'reset': s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.settimeout(10)
s.bind(('', ${PORT}))
s.connect(('${ORIGIN}', 80))
s.sendall(b'GET /bytes/1000 HTTP/1.1\\r\\nHost: x\\r\\nConnection: ' + (b'close' if sys.argv[1] == 'close' else b'keep-alive') + b'\\r\\n\\r\\n')
got = b''
while len(got) < 1000 or sys.argv[1] == 'close':
    more = s.recv(65536)
    if not more: break
    got += more
s.close()
print(len(got.split(b'\\r\\n\\r\\n', 1)[1]))
`;
const fetching = (how: 'close' | 'reset'): [string, string, string, string] => ['python3', '-c', SCRIPT, how];

afterEach(closeAll);

async function captured(chain: Chain, action: () => Promise<unknown>): Promise<Segment[]> {
  const capture = await startCapture(chain.net, { links: ['c1-p1'] });
  await action();
  return segmentsOf((await capture.stop()).get('c1-p1'));
}

test('after one that the node ended: past its TIME_WAIT to the destination, with a request and without', async () => {
  const chain = await standChain({ nodes: { p1: {} }, offload: false });
  const remembered = async (): Promise<boolean> => {
    const sockets = await chain.host('p1').must('ss', ['-Htan', 'state', 'time-wait']);
    return sockets.includes(`:${PORT}`);
  };
  const first = await captured(chain, async () => {
    expect(await chain.must('c1', fetching('close'))).toBe('1000\n');
    await waitFor(remembered, { what: 'TIME_WAIT at p1' });
  });
  expect(first.filter(({ rst }) => rst)).toEqual([]);
  const [program, ...args] = fetching('close');
  expect(await chain.host('c1').must(program, args)).toBe('1000\n');
  expect(await chain.counter('p1', 'taken')).toBe(1);
  // One that asks for a node passes, too: its first SYN is answered, by the destination.
  const third = await captured(chain, async () => {
    expect(await chain.must('c1', fetching('reset'))).toBe('1000\n');
  });
  expect(third.filter(({ syn, ack }) => syn && !ack)).toMatchObject([{ request: { hops: HOPS } }]);
  expect(third.filter(({ outer }) => outer !== undefined)).toEqual([]);
  expect((await chain.status('p1')).counters).toMatchObject({ taken: 1, 'pass-time-wait': 1 });
});

test('after one that was tunnelled, under the same shim: a plain one sends nothing into that tunnel', async () => {
  const chain = await standChain({ nodes: { p1: {} }, offload: false });
  const { pid } = chain.net.node('p1');
  // A signal is sent before its process has ended, and until then the node takes connections.
  const killed = `kill -9 ${pid} && while kill -0 ${pid} 2> /dev/null; do sleep 0.01; done`;
  const script = `"$@" && ${killed} && "$@"`;
  const segments = await captured(chain, async () => {
    expect(await chain.must('c1', ['sh', '-c', script, 'sh', ...fetching('reset')])).toBe('1000\n1000\n');
  });
  const second = segments.slice(segments.findLastIndex(({ syn, ack }) => syn && !ack));
  expect(second.length).toBeGreaterThan(3);
  expect(segments.filter(({ outer }) => outer !== undefined).length).toBeGreaterThan(2);
  expect(second.filter(({ outer }) => outer !== undefined)).toEqual([]);
});
