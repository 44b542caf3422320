import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ContentService, digest } from '../content/service.js';
import { indexFields } from '../cache/fields.js';
import { silentLogger } from '../core/log.js';
import { packageRoot } from '../host/paths.js';
import { explainConfig } from './config-explain.js';
import { ConfigError, loadConfig } from './config.js';

const folder = mkdtempSync(join(tmpdir(), 'tpot-content-'));
afterAll(() => rmSync(folder, { recursive: true }));

function problemsOf(content: string, more: Record<string, string> = {}): string[] {
  const file = join(folder, 'node.yaml');
  for (const [name, text] of Object.entries(more)) writeFileSync(join(folder, name), text, { mode: 0o644 });
  const text = `address: 198.18.1.1\nrules: [{ action: cache, content: ${content} }]\n`;
  writeFileSync(file, text, { mode: 0o644 });
  try {
    loadConfig(file);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ where, message }) => `${where.replace(`${folder}/`, '')}: ${message}`);
  }
}

it.each([
  ['[minify, image, { image: { quality: 50 } }, { minify: { scripts: true } }]', []],
  ['[shrink]', ['`rules[0].content[0]`: "shrink" is not valid']],
  ['[{ types: [text/plain] }]', ['`rules[0].content[0]`: it says nothing to do']],
  ['[{ image: {}, minify: {} }]', ['`rules[0].content[0]`: it says image and minify at once']],
  [
    '[minify, { image: {}, types: [a/b] }]',
    ['`rules[0].content[1]`: `types` is for steps with command or module'],
  ],
  ['[{ command: [tr, a, b] }]', ['`rules[0].content[0]`: it has no `types`']],
  [
    '[{ command: [no-such-program], types: [a/b] }]',
    ['`rules[0].content[0]`: no-such-program is not a program'],
  ],
  ['[{ command: [tr, a, b], types: [plain] }]', ['`rules[0].content[0].types[0]`: "plain" is not valid']],
  ['[{ module: none.mjs, types: [a/b] }]', ['none.mjs cannot be read']],
  ['[{ module: number.mjs, types: [a/b] }]', ['number.mjs exports no function as its default']],
  ['[{ module: broken.mjs, types: [a/b] }]', ['`rules[0].content[0]`: ']],
])('%s', (content, expected) => {
  const files = { 'number.mjs': 'export default 5;', 'broken.mjs': 'export default (' };
  const problems = problemsOf(content, files);
  expect(problems).toHaveLength(expected.length);
  for (const [index, part] of expected.entries()) {
    expect(problems[index]).toContain(part);
    expect(problems[index]).toMatch(/^node\.yaml:2:\d+: /);
  }
});

it('a module or program that others may change is refused', () => {
  writeFileSync(join(folder, 'open.mjs'), 'export default () => undefined;');
  chmodSync(join(folder, 'open.mjs'), 0o666);
  expect(problemsOf('[{ module: open.mjs, types: [a/b] }]')[0]).toContain(
    'others than its owner may write it',
  );
  chmodSync(join(folder, 'open.mjs'), 0o777);
  expect(problemsOf('[{ command: [./open.mjs], types: [a/b] }]')[0]).toContain('may change it');
});

it('content is for rules that cache', () => {
  const file = join(folder, 'relay.yaml');
  writeFileSync(file, 'address: 198.18.1.1\nrules: [{ action: relay, content: [minify] }]\n', {
    mode: 0o644,
  });
  expect(() => loadConfig(file)).toThrow('`rules[0]` has `content`, but its action is relay');
});

it('the example of the documentation does what it says, as a command and as a module', async () => {
  // A copy belongs to whoever runs this, and nobody else may write it.
  for (const name of ['node.yaml', 'squeeze.sh', 'first-words.mjs']) {
    writeFileSync(join(folder, name), readFileSync(join(packageRoot, 'examples/content', name)));
    chmodSync(join(folder, name), 0o755);
  }
  const file = join(folder, 'node.yaml');
  const config = loadConfig(file, { address: '198.18.1.1' });
  expect(explainConfig(config, file)).toMatch(
    /Responses go through image to 1024x1280 in quality 50; then minify; then command .*squeeze\.sh for text\/plain; then module .*first-words\.mjs/,
  );
  const service = new ContentService(config.content, silentLogger);
  const text = Buffer.from('one   two\n\n'.repeat(400));
  const exchange = { method: 'GET', status: 200, request: indexFields([]) };
  const response = indexFields(['Content-Type', 'text/plain']);
  const pipeline = config.rules[0]?.content;
  const plan =
    pipeline && service.select(pipeline, { ...exchange, response }, { uri: 'http://a/', length: 1 });
  const made = plan && (await service.variant(plan, () => text, digest(text)));
  service.close();
  expect(typeof made === 'string' ? made : made?.content.toString()).toBe('one two\n'.repeat(250));
});
