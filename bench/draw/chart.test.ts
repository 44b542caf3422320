import { describe, expect, it } from 'vitest';
import { drawFigure } from './chart.js';
import type { Figure } from './figure.js';

const figure: Figure = {
  name: 'figure9',
  title: 'Throughput <of all>',
  subtitle: 'large packets',
  kind: 'lines',
  x: { label: 'connections', scale: 'categories' },
  y: { label: 'Gbit/s', scale: 'linear' },
  series: [
    {
      name: 'IP forwarding',
      points: [
        { x: '1', y: 10, low: 9, high: 11 },
        { x: '16', y: 20, low: 20, high: 20 },
      ],
    },
    { name: 'HAProxy', points: [{ x: '1', y: 5 }] },
  ],
};

describe('figures', () => {
  it('are self-contained SVG with title, axes and legend', () => {
    const svg = drawFigure(figure);
    expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(svg.trimEnd()).toMatch(/<\/svg>$/);
    for (const text of ['Throughput &lt;of all&gt;', 'connections', 'Gbit/s', 'IP forwarding', 'HAProxy']) {
      expect(svg).toContain(text);
    }
    expect(svg).not.toMatch(/<image|href=/);
  });

  it('show the spread where there is one', () => {
    const without = { ...figure, series: figure.series.slice(1) };
    const lines = (svg: string): number => svg.match(/<path/g)?.length ?? 0;
    expect(lines(drawFigure(figure))).toBeGreaterThan(lines(drawFigure(without)) + 3);
  });

  it.each(['bars', 'rows', 'points'] as const)('can be %s', (kind) => {
    const x = kind === 'rows' ? figure.y : figure.x;
    const y = kind === 'rows' ? figure.x : figure.y;
    expect(drawFigure({ ...figure, kind, x, y })).toContain('</svg>');
  });

  it('come out the same from the same numbers', () =>
    expect(drawFigure(figure)).toHaveLength(drawFigure(figure).length));
});
