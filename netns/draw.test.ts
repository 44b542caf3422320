import { expect, test } from 'vitest';
import { drawTopology } from './draw.js';
import { planLinks, type HostSpec, type TopologySpec } from './spec.js';

const host = (name: string, role: HostSpec['role']): HostSpec => ({ name, role });

function draw(spec: TopologySpec): string[] {
  return drawTopology(spec, planLinks(spec)).split('\n');
}

test('two clients behind a chain', () => {
  const picture = draw({
    hosts: [
      host('c1', 'client'),
      host('c2', 'client'),
      host('p1', 'node'),
      host('p2', 'node'),
      host('origin', 'origin'),
    ],
    links: [
      { between: ['c1', 'p1'] },
      { between: ['c2', 'p1'] },
      { between: ['p1', 'p2'] },
      { between: ['p2', 'origin'], addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
    ],
    nodes: [{ host: 'p1' }, { host: 'p2' }],
  });
  expect(picture).toEqual([
    'c1 ----------+',
    '198.18.1.2   +-- p1 * ----------- p2 * ----------- origin',
    '             |   198.18.1.1       198.18.3.1       192.0.2.80',
    'c2 ----------+',
    '198.18.2.2',
  ]);
});

test('two disjoint ways fan out and in again', () => {
  const picture = draw({
    hosts: [
      host('c', 'client'),
      host('r1', 'router'),
      host('a', 'node'),
      host('b', 'node'),
      host('origin', 'origin'),
    ],
    links: [
      { between: ['c', 'r1'] },
      { between: ['r1', 'a'] },
      { between: ['r1', 'b'] },
      { between: ['a', 'origin'] },
      { between: ['b', 'origin'] },
    ],
  });
  expect(picture).toEqual([
    '                              +-- a -----------+',
    'c -------------- r1 ----------+   198.18.2.1   +-- origin',
    '198.18.1.2       198.18.1.1   |                |   198.18.4.1',
    '                              +-- b -----------+',
    '                                  198.18.3.1',
  ]);
});

test('a link that skips a column is told below', () => {
  const picture = draw({
    hosts: [host('c', 'client'), host('r', 'router'), host('d', 'router'), host('origin', 'origin')],
    links: [
      { between: ['c', 'r'] },
      { between: ['r', 'origin'] },
      { between: ['d', 'origin'] },
      { between: ['r', 'd'] },
    ],
  });
  expect(picture.at(-1)).toBe('also linked: r and d');
});
