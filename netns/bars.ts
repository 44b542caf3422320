/** Grouped bars as SVG text, for labs: no library, so that a lab needs none. */

export interface Panel {
  readonly title: string;
  /** What stands under the groups. */
  readonly names: readonly string[];
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
}

/** Distinct for colour-blind readers too (Okabe and Ito). */
const COLOURS = ['#999999', '#0072b2', '#d55e00', '#009e73'];
const [WIDTH, PLOT, TOP, GAP] = [640, 180, 60, 70];
const LEFT = 20;

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

function label(x: number, y: number, text: string, more = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escape(text)}</text>`;
}

const short = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0));

function drawPanel({ title, names, series }: Panel, top: number): string[] {
  const most = Math.max(...series.flatMap(({ values }) => values), Number.MIN_VALUE);
  const group = (WIDTH - 2 * LEFT) / names.length;
  const bar = (0.8 * group) / series.length;
  const floor = top + PLOT;
  const shapes = series.flatMap(({ values }, index) =>
    values.flatMap((value, place) => {
      const height = ((PLOT - 40) * value) / most;
      const x = LEFT + place * group + 0.1 * group + index * bar;
      const rect = `<rect x="${x.toFixed(1)}" y="${(floor - height).toFixed(1)}" width="${(bar - 4).toFixed(1)}" height="${height.toFixed(1)}" fill="${COLOURS[index % COLOURS.length] ?? ''}"/>`;
      return [rect, label(x + bar / 2 - 2, floor - height - 4, short(value), 'text-anchor="middle"')];
    }),
  );
  const under = names.map((name, place) =>
    label(LEFT + (place + 0.5) * group, floor + 18, name, 'text-anchor="middle"'),
  );
  return [label(LEFT, top + 12, title, 'font-weight="bold"'), ...shapes, ...under];
}

/** Panels one below the other, with one legend for all. */
export function drawBars(title: string, panels: readonly Panel[]): string {
  const legend = (panels[0]?.series ?? []).flatMap(({ name }, index) => [
    `<rect x="${LEFT + 180 * index}" y="34" width="12" height="12" fill="${COLOURS[index % COLOURS.length] ?? ''}"/>`,
    label(LEFT + 180 * index + 18, 44, name),
  ]);
  const height = TOP + panels.length * (PLOT + GAP) - 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    label(LEFT, 22, title, 'font-size="15"'),
    ...legend,
    ...panels.flatMap((panel, index) => drawPanel(panel, TOP + index * (PLOT + GAP))),
    '</svg>\n',
  ].join('\n');
}
