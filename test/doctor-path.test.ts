/** `tpot-node doctor` where something on the path is not as it should be. Its probes wait for answers that never come: side by side. */
import { afterAll, describe, expect, test } from 'vitest';
import { closeAll, ORIGIN, standChain } from './chain.js';
import { doctor, table } from './diagnosis.js';

describe.concurrent('a path that is not well', () => {
  afterAll(closeAll);

  test('the option is dropped', async () => {
    const chain = await standChain({ nodes: { p2: {} } });
    await chain.host('p1').must('nft', [table('forward', 'accept', 'tcp option 253 exists drop')]);
    const { code, checks } = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(code).toBe(1);
    expect(checks['toward-connect']?.status).toBe('ok');
    expect(checks['toward-option']).toMatchObject({
      status: 'fail',
      found: expect.stringContaining('drops the option') as string,
    });
  });

  test.each([
    ['protocol 4', ['ip protocol 4 drop'], 'warn', 'tunnels go on in UDP'],
    ['protocol 4 and UDP', ['ip protocol 4 drop', 'udp dport 6080 drop'], 'fail', 'and so is UDP'],
  ])('dropped: %s', async (_, rules, status, found) => {
    const chain = await standChain({ nodes: { p2: {} } });
    await chain.host('p1').must('nft', [table('forward', 'accept', ...rules)]);
    const { checks } = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(checks['toward-option']?.status).toBe('ok');
    expect(checks['toward-tunnel']).toMatchObject({
      status,
      found: expect.stringContaining(found) as string,
    });
  });

  test('nobody listens; nobody answers; no route', async () => {
    const chain = await standChain({ nodes: {} });
    const refused = await doctor(chain, 'c1', '--toward', `${ORIGIN}:81`);
    expect(refused.checks['toward-connect']).toMatchObject({ status: 'fail' });
    expect(refused.checks['toward-connect']?.found).toContain('refused');
    await chain.host('origin').must('nft', [table('input', 'accept', 'tcp dport 80 drop')]);
    const silent = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(silent.checks['toward-connect']?.found).toContain('no answer');
    await chain.host('c1').must('ip', ['route', 'delete', 'default']);
    const lost = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(lost.checks['toward-connect']?.found).toContain('ENETUNREACH');
  });

  test('a node whose input chain drops its connections: seen, and mended as doctor says', async () => {
    const chain = await standChain({ nodes: { p1: {} } });
    const p1 = chain.host('p1');
    await p1.must('nft', [
      'table inet filter { chain input { type filter hook input priority 0; policy drop; }; }',
    ]);
    expect((await doctor(chain, 'c1', '--toward', ORIGIN)).checks['toward-option']?.status).toBe('fail');
    const mend = (await doctor(chain, 'p1')).checks['firewall']?.mend ?? '';
    await p1.must('sh', ['-c', /nft insert rule .*$/.exec(mend)?.[0] ?? 'false']);
    const after = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect([after.checks['toward-option']?.status, after.checks['toward-tunnel']?.status]).toEqual([
      'ok',
      'ok',
    ]);
  });
});
