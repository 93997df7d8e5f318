/** Two kinds of plot as SVG: steps over time, and groups of bars. Small enough not to need a library. */

export interface Curve {
  readonly label: string;
  /** Points, x ascending; y between 0 and 1. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Group {
  readonly label: string;
  /** One bar for each of the plot's series. */
  readonly values: readonly number[];
}

const WIDTH = 720;
const HEIGHT = 380;
const LEFT = 60;
const BOTTOM = 48;
const TOP = 40;
const RIGHT = 20;
const COLOURS = ['#2463a8', '#c8641e', '#3d8b40', '#8a4fa3', '#a33a3a', '#5a6b7b', '#b59a1c', '#2a9d9a'];

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

const text = (x: number, y: number, label: string, extra = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${extra}>${escaped(label)}</text>`;

const colour = (index: number): string => COLOURS[index % COLOURS.length] ?? 'black';

/** A step of 1, 2 or 5 times a power of ten that divides `most` into about five. */
function step(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 5));
  const factor = most / 5 / power;
  return power * (factor < 1.5 ? 1 : factor < 3.5 ? 2 : factor < 7.5 ? 5 : 10);
}

const frame = (title: string, parts: readonly string[]): string =>
  `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(LEFT, 20, title, 'font-weight="bold"'),
    ...parts,
    '</svg>',
  ].join('\n')}\n`;

/** How far each curve is at x; the legend is beside them. `marks` are lines to hold them against. */
export function drawCurves(options: {
  readonly title: string;
  readonly xLabel: string;
  readonly curves: readonly Curve[];
  readonly marks: readonly { readonly x: number; readonly label: string }[];
}): string {
  const { curves, marks } = options;
  const ends = [...curves.map(({ points }) => points.at(-1)?.[0] ?? 0), ...marks.map((mark) => mark.x)];
  const most = Math.max(...ends) * 1.05;
  const x = (value: number): number => LEFT + (value / most) * (WIDTH - LEFT - RIGHT);
  const y = (part: number): number => HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP);
  const parts: string[] = [];
  for (let value = 0; value <= most; value += step(most)) {
    parts.push(`<path d="M${x(value).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/>`);
    parts.push(
      text(x(value), HEIGHT - BOTTOM + 16, String(Number(value.toFixed(6))), 'text-anchor="middle"'),
    );
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(`<path d="M${LEFT} ${y(part).toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>`);
    parts.push(text(LEFT - 6, y(part) + 4, `${part * 100} %`, 'text-anchor="end"'));
  }
  for (const mark of marks) {
    const d = `M${x(mark.x).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}`;
    parts.push(`<path d="${d}" stroke="#b33" stroke-dasharray="5 3"/>`);
    parts.push(text(x(mark.x) - 4, TOP + 12, mark.label, 'fill="#b33" text-anchor="end"'));
  }
  curves.forEach(({ label, points }, index) => {
    const every = Math.max(1, Math.floor(points.length / 300));
    const shown = points.filter((_, at) => at % every === 0 || at === points.length - 1);
    const line = shown.map(([at, part]) => `${x(at).toFixed(1)},${y(part).toFixed(1)}`).join(' ');
    parts.push(`<polyline points="${line}" fill="none" stroke="${colour(index)}" stroke-width="2"/>`);
    parts.push(text(LEFT + 10, TOP + 32 + index * 16, label, `fill="${colour(index)}"`));
  });
  parts.push(text((WIDTH + LEFT) / 2, HEIGHT - 10, options.xLabel, 'text-anchor="middle"'));
  return frame(options.title, parts);
}

/** Bars side by side for each group, each with its figure above it. */
export function drawBars(options: {
  readonly title: string;
  readonly series: readonly string[];
  readonly groups: readonly Group[];
}): string {
  const { series, groups } = options;
  const finite = groups.flatMap(({ values }) => values).filter(Number.isFinite);
  const most = Math.max(...finite, Number.MIN_VALUE) * 1.15;
  const y = (value: number): number => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP - 16);
  const room = (WIDTH - LEFT - RIGHT) / Math.max(1, groups.length);
  const width = (room * 0.8) / Math.max(1, series.length);
  const parts: string[] = [];
  for (let value = 0; value <= most; value += step(most)) {
    parts.push(`<path d="M${LEFT} ${y(value).toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>`);
    parts.push(text(LEFT - 6, y(value) + 4, String(Number(value.toFixed(6))), 'text-anchor="end"'));
  }
  groups.forEach(({ label, values }, group) => {
    const from = LEFT + group * room + room * 0.1;
    parts.push(text(from + room * 0.4, HEIGHT - BOTTOM + 16, label, 'text-anchor="middle"'));
    values.forEach((value, index) => {
      if (!Number.isFinite(value)) return;
      const at = from + index * width;
      const height = HEIGHT - BOTTOM - y(value);
      parts.push(
        `<rect x="${at.toFixed(1)}" y="${y(value).toFixed(1)}" width="${(width * 0.9).toFixed(1)}" height="${height.toFixed(1)}" fill="${colour(index)}"/>`,
        text(at + width * 0.45, y(value) - 4, value.toPrecision(3), 'text-anchor="middle" font-size="10"'),
      );
    });
  });
  series.forEach((label, index) => {
    parts.push(text(LEFT + 8 + index * 200, TOP - 4, label, `fill="${colour(index)}"`));
  });
  return frame(options.title, parts);
}
