/**
 * Draws a topology as text, left to right towards the origin; `*` marks a host with a node.
 *
 * ```
 * c1 ----------+
 * 198.18.1.2   +-- p1 * ----------- p2 * ----------- origin
 *              |   198.18.1.1       198.18.3.1       192.0.2.80
 * c2 ----------+
 * 198.18.2.2
 * ```
 *
 * A host's column is its distance from the nearest origin. A link that does not join neighbouring columns is told in
 * a line below the picture.
 */
import type { PlannedLink, TopologySpec } from './spec.js';

interface Box {
  readonly name: string;
  readonly label: string;
  readonly address: string;
  readonly column: number;
  readonly y: number;
}

type Pair = readonly [left: Box, right: Box];

const ROW_HEIGHT = 3;
const MARGIN = 2;
const LANE_WIDTH = 3;

/** Distance of every host that has a way to an origin, in links. */
function distances(spec: TopologySpec): Map<string, number> {
  const found = new Map(spec.hosts.filter(({ role }) => role === 'origin').map(({ name }) => [name, 0]));
  const queue = [...found.keys()];
  for (let host = queue.shift(); host !== undefined; host = queue.shift()) {
    for (const { between } of spec.links) {
      const index = between.indexOf(host);
      const peer = index < 0 ? undefined : between[1 - index];
      if (peer === undefined || found.has(peer)) continue;
      found.set(peer, (found.get(host) ?? 0) + 1);
      queue.push(peer);
    }
  }
  return found;
}

/** Puts hosts into columns, each centred against the tallest; clients stand below the others. */
function placeBoxes(spec: TopologySpec, links: readonly PlannedLink[]): Box[] {
  const distance = distances(spec);
  const farthest = Math.max(0, ...distance.values());
  const nodes = new Set((spec.nodes ?? []).map(({ host }) => host));
  const ends = links.flatMap((link) => link.ends);
  const columns = Array.from({ length: farthest + 1 }, (_, column) => {
    const members = spec.hosts.filter(({ name }) => farthest - (distance.get(name) ?? farthest) === column);
    return [
      ...members.filter(({ role }) => role !== 'client'),
      ...members.filter(({ role }) => role === 'client'),
    ];
  });
  const tallest = Math.max(...columns.map((members) => members.length));
  return columns.flatMap((members, column) =>
    members.map(({ name }, index) => ({
      name,
      label: nodes.has(name) ? `${name} *` : name,
      address: ends.find((end) => end.host === name)?.address ?? '',
      column,
      y: Math.floor((ROW_HEIGHT * (tallest - members.length)) / 2) + ROW_HEIGHT * index,
    })),
  );
}

/** Pairs that share a box belong together and share a vertical line. */
function groupPairs(pairs: readonly Pair[]): Pair[][] {
  let groups: Pair[][] = [];
  for (const pair of pairs) {
    const touches = (group: Pair[]): boolean =>
      group.some(([left, right]) => left === pair[0] || right === pair[1]);
    const joined = groups.filter(touches).flat();
    groups = [...groups.filter((group) => !touches(group)), [...joined, pair]];
  }
  return groups;
}

/** A grid of characters; lines that meet become a corner. */
class Canvas {
  readonly #rows: string[][] = [];

  put(x: number, y: number, text: string): void {
    while (this.#rows.length <= y) this.#rows.push([]);
    const row = this.#rows[y] ?? [];
    while (row.length < x + text.length) row.push(' ');
    for (const [index, character] of text.split('').entries()) {
      const present = row[x + index];
      row[x + index] = present === ' ' || present === character ? character : '+';
    }
  }

  horizontal(from: number, to: number, y: number): void {
    if (to >= from) this.put(from, y, '-'.repeat(to - from + 1));
  }

  vertical(x: number, from: number, to: number): void {
    for (let y = from; y <= to; y++) this.put(x, y, '|');
  }

  toString(): string {
    return this.#rows.map((row) => row.join('').trimEnd()).join('\n');
  }
}

function drawGroup(
  canvas: Canvas,
  group: readonly Pair[],
  x: { left: number; lane: number; right: number },
): void {
  const ys = group.flat().map(({ y }) => y);
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  if (top !== bottom) canvas.vertical(x.lane, top, bottom);
  for (const box of new Set(group.map(([left]) => left))) {
    canvas.horizontal(x.left + box.label.length + 1, x.lane, box.y);
  }
  // Where the line is straight, the lane's own column was drawn from the left already.
  const from = top === bottom ? x.lane + 1 : x.lane;
  for (const box of new Set(group.map(([, right]) => right))) canvas.horizontal(from, x.right - 2, box.y);
}

/** The picture, and in lines below it the links that it cannot show. */
export function drawTopology(spec: TopologySpec, links: readonly PlannedLink[]): string {
  const boxes = placeBoxes(spec, links);
  const boxOf = new Map(boxes.map((box) => [box.name, box]));
  const canvas = new Canvas();
  const undrawn = new Set(links);
  let x = 0;
  for (let column = 0; column <= Math.max(...boxes.map((box) => box.column)); column++) {
    const members = boxes.filter((box) => box.column === column);
    for (const box of members) {
      canvas.put(x, box.y, box.label);
      canvas.put(x, box.y + 1, box.address);
    }
    const pairs = links.flatMap((link): Pair[] => {
      const ends = link.ends.map((end) => boxOf.get(end.host)).filter((box) => box !== undefined);
      const [left, right] = ends.sort((a, b) => a.column - b.column);
      if (left?.column !== column || right?.column !== column + 1) return [];
      undrawn.delete(link);
      return [[left, right]];
    });
    const groups = groupPairs(pairs);
    const width = Math.max(...members.map((box) => Math.max(box.label.length, box.address.length)));
    const right = x + width + 2 * MARGIN + LANE_WIDTH * groups.length;
    for (const [index, group] of groups.entries()) {
      drawGroup(canvas, group, { left: x, lane: x + width + MARGIN + LANE_WIDTH * index + 1, right });
    }
    x = right;
  }
  const also = [...undrawn].map(({ ends: [a, b] }) => `also linked: ${a.host} and ${b.host}`);
  return [canvas.toString(), ...also].join('\n');
}
