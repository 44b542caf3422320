import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { formatPrefix } from '../core/address.js';
import { parseBypass } from './bypass-entry.js';
import { parseBypassFile, resolveBypass } from './bypass-list.js';

const directory = mkdtempSync(join(tmpdir(), 'tpot-bypass-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('an entry', () => {
  it.each([
    ['203.0.113.0/24', ['203.0.113.0/24 0-65535']],
    ['203.0.113.7 22,8000-8999', ['203.0.113.7/32 22-22', '203.0.113.7/32 8000-8999']],
    ['* 25', ['0.0.0.0/0 25-25', '::/0 25-25']],
    ['2001:db8::/32', ['2001:db8::/32 0-65535']],
  ])('%s', (text, shown) => {
    const found = parseBypass(text)?.map(
      ({ prefix, ports }) => `${formatPrefix(prefix)} ${ports.from}-${ports.to}`,
    );
    expect(found).toEqual(shown);
  });

  it.each([
    '',
    'example.test',
    '192.0.2.0/33',
    '192.0.2.1 http',
    '192.0.2.1 80,',
    '192.0.2.1 80 81',
    '192.0.2.1 9-8',
  ])('is not %j', (text) => expect(parseBypass(text)).toBeUndefined());
});

describe('a file', () => {
  it('has a line for each, comments, and problems with their places', () => {
    const { entries, problems } = parseBypassFile(
      'f',
      '# all\n\nto 192.0.2.1 # one\nfrom *\nto\nvia 192.0.2.1\n',
    );
    expect(entries.map(({ side }) => side)).toEqual(['destination', 'source', 'source']);
    expect(problems.map(({ where }) => where)).toEqual(['f:5:1', 'f:6:1']);
  });

  it('is looked for beside the configuration; one that is missing is a problem', () => {
    writeFileSync(join(directory, 'a.list'), 'to 192.0.2.1\n', { mode: 0o600 });
    const { entries, problems } = resolveBypass(
      { files: ['a.list', 'b.list'] },
      join(directory, 'p1.yaml'),
      'here',
    );
    expect(entries).toHaveLength(1);
    expect(problems).toMatchObject([{ where: join(directory, 'b.list') }]);
  });
});

it('more prefixes or ranges of ports than the table has are a problem', () => {
  const many = Array.from({ length: 65_537 }, (_, low) => `10.${low >> 16}.${(low >> 8) & 255}.${low & 255}`);
  expect(resolveBypass({ to: many }, 'p1.yaml', 'here').problems).toMatchObject([
    { where: 'here', message: expect.stringMatching(/65537 prefixes/) as string },
  ]);
  const ports = Array.from({ length: 9 }, (_, index) => 10 * index).join(',');
  expect(resolveBypass({ from: [`192.0.2.1 ${ports}`] }, 'p1.yaml', 'here').problems).toMatchObject([
    { message: expect.stringMatching(/more than 8 ranges of ports/) as string },
  ]);
});
