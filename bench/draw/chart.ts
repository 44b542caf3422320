/** Draws figures as SVG text, with ECharts' server-side renderer: no browser, no DOM. */
import { BarChart, CustomChart, LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import { init, use, type EChartsCoreOption } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import type { CustomSeriesRenderItemAPI, CustomSeriesRenderItemReturn } from 'echarts/types/dist/shared';
import type { Axis, Figure, Point, Series } from './figure.js';

use([
  BarChart,
  CustomChart,
  LineChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  TitleComponent,
  SVGRenderer,
]);

const WIDTH = 860;
const HEIGHT = 480;
/** Distinct for colour-blind readers too (Okabe and Ito), then repeated with other symbols. */
const COLOURS = [
  '#000000',
  '#0072b2',
  '#56b4e9',
  '#d55e00',
  '#e69f00',
  '#009e73',
  '#66c2a5',
  '#cc79a7',
  '#999999',
];
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle'];
const BAR = '#56b4e9';
const WHISKER = 4;
const SMALL_POINT = 3;

function axisOption({ label, scale, max }: Axis, categories: readonly string[], horizontal: boolean): object {
  const type = { linear: 'value', log: 'log', categories: 'category' }[scale];
  return {
    type,
    name: label,
    nameLocation: 'middle',
    nameGap: horizontal ? 30 : 55,
    ...(scale === 'categories' ? { data: categories } : {}),
    ...(scale === 'log' ? { logBase: 10 } : {}),
    ...(max === undefined ? {} : { max }),
    axisLabel: { fontSize: 11 },
  };
}

/** The spread of each point as a line with two ends. */
function whiskers(series: Series, colour: string): object[] {
  const data = series.points.flatMap(({ x, low, high }) =>
    low === undefined || high === undefined || low === high ? [] : [[x, low, high]],
  );
  if (data.length === 0) return [];
  const renderItem = (_: unknown, api: CustomSeriesRenderItemAPI): CustomSeriesRenderItemReturn => {
    const [x = 0, top = 0] = api.coord([api.value(0), api.value(2)]);
    const [, bottom = 0] = api.coord([api.value(0), api.value(1)]);
    const line = (x1: number, y1: number, x2: number, y2: number): object => ({
      type: 'line',
      shape: { x1, y1, x2, y2 },
      style: { stroke: colour, lineWidth: 1 },
    });
    const children = [
      line(x, top, x, bottom),
      line(x - WHISKER, top, x + WHISKER, top),
      line(x - WHISKER, bottom, x + WHISKER, bottom),
    ];
    return { type: 'group', children } as CustomSeriesRenderItemReturn;
  };
  return [{ type: 'custom', renderItem, data, z: 3, silent: true }];
}

const place = ({ x, y }: Point): (number | string)[] => [x, y];
const lay = ({ x, y }: Point): (number | string)[] => [y, x];

function seriesOption(kind: Figure['kind'], series: Series, index: number, crowded: boolean): object[] {
  const colour = COLOURS[index % COLOURS.length] ?? 'black';
  const symbol = SYMBOLS[index % SYMBOLS.length];
  const base = { name: series.name, data: series.points.map(place), itemStyle: { color: colour } };
  if (kind === 'rows')
    return [
      { ...base, itemStyle: { color: BAR }, type: 'bar', data: series.points.map(lay), barMaxWidth: 16 },
    ];
  if (kind === 'bars')
    return [
      { ...base, itemStyle: { color: BAR }, type: 'bar', barMaxWidth: 40 },
      ...whiskers(series, '#333333'),
    ];
  if (kind === 'points') return [{ ...base, type: 'scatter', symbol, symbolSize: SMALL_POINT }];
  const symbols = crowded ? { showSymbol: false } : { symbol, symbolSize: 7 };
  return [
    { ...base, ...symbols, type: 'line', lineStyle: { color: colour, width: 1.5 } },
    ...whiskers(series, colour),
  ];
}

const MANY_POINTS = 30;

/** Room for a legend at the right, or for long names at the left. */
function gridOf(kind: Figure['kind']): object {
  return kind === 'rows'
    ? { left: 320, right: 40, top: 70, bottom: 60 }
    : { left: 80, right: 230, top: 70, bottom: 60 };
}

function optionOf(figure: Figure): EChartsCoreOption {
  const categories = [...new Set(figure.series.flatMap(({ points }) => points.map(({ x }) => String(x))))];
  const crowded = figure.series.some(({ points }) => points.length > MANY_POINTS);
  return {
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: figure.title, subtext: figure.subtitle, left: 'center', textStyle: { fontSize: 15 } },
    legend: {
      show: figure.series.length > 1,
      orient: 'vertical',
      right: 8,
      top: 70,
      data: figure.series.map(({ name }) => name),
    },
    grid: gridOf(figure.kind),
    xAxis: axisOption(figure.x, categories, true),
    yAxis: { ...axisOption(figure.y, categories, false), inverse: figure.kind === 'rows' },
    series: figure.series.flatMap((one, index) => seriesOption(figure.kind, one, index, crowded)),
  };
}

/** The figure as a self-contained SVG document. */
export function drawFigure(figure: Figure): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  try {
    chart.setOption(optionOf(figure));
    return `${chart.renderToSVGString()}\n`;
  } finally {
    chart.dispose();
  }
}
