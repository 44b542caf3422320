import { Agent, request } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { Harness } from './harness.props.js';

let h: Harness | undefined;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
afterEach(async () => {
  agent.destroy();
  await h?.close();
});

function ask(port: number, path: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, agent, maxHeaderSize: 2 ** 20 }, (response) => {
      response.resume().once('end', () => resolve(response.headers['cache-status'] as string | undefined));
    });
    asked.once('error', reject).end();
  });
}

it('remembers no more than its bytes, those of the responses included', async () => {
  const harness = (h = new Harness({}, 256 * 2 ** 20));
  const long = 'x'.repeat(15_000);
  const fields = Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`x-${index}`, long]));
  const origin = await harness.origin((_request, response) => {
    response.writeHead(200, { ...fields, 'cache-control': 'max-age=1000' }).end('small');
  });
  const front = await harness.front(origin);
  const remembered = (): number => (harness.service.status()['front'] as { remembered: number }).remembered;
  await ask(front, '/0');
  expect(await ask(front, '/0')).toContain('hit');
  expect(remembered()).toBe(1);
  const bytes = 2 * 16 * long.length;
  const most = Math.ceil((2 * 16 * 2 ** 20) / bytes);
  for (let path = 1; path < 2 * most; path++) {
    await ask(front, `/${path}`);
    await ask(front, `/${path}`);
  }
  expect(remembered()).toBeGreaterThan(most / 4);
  expect(remembered()).toBeLessThanOrEqual(most);
});
