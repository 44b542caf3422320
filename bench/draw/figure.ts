/** A figure as data, so that it is kept with the numbers and can be drawn again from them. */

export interface Point {
  readonly x: number | string;
  readonly y: number;
  /** The spread over rounds, where there were several. */
  readonly low?: number;
  readonly high?: number;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Axis {
  readonly label: string;
  readonly scale: 'linear' | 'log' | 'categories';
  readonly max?: number;
}

export interface Figure {
  /** Part of the file's name. */
  readonly name: string;
  readonly title: string;
  /** Under the title: what was held equal. */
  readonly subtitle: string;
  /** `rows` are bars that lie: x is their length, y what they are called. Points are always { x: name, y: value }. */
  readonly kind: 'lines' | 'bars' | 'rows' | 'points';
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
}
