/** An SVG of one outcome: how many nodes are complete at which time, against the bound. */
import type { Outcome } from './swarm.ts';

const WIDTH = 640;
const HEIGHT = 360;
const LEFT = 56;
const BOTTOM = 44;
const TOP = 34;
const RIGHT = 16;

const text = (x: number, y: number, label: string, extra = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${extra}>${label}</text>`;

/** A step of 1, 2 or 5 times a power of ten that divides `most` into about five. */
function step(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 5));
  const factor = most / 5 / power;
  return power * (factor < 1.5 ? 1 : factor < 3.5 ? 2 : factor < 7.5 ? 5 : 10);
}

export function drawCurve({ scenario, boundMs, times, originBlobs }: Outcome): string {
  const most = Math.max(times.at(-1) ?? boundMs, boundMs) * 1.08;
  const x = (ms: number): number => LEFT + (ms / most) * (WIDTH - LEFT - RIGHT);
  const y = (part: number): number => HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP);
  const points: string[] = [`${LEFT},${y(0)}`];
  const every = Math.max(1, Math.floor(times.length / 400));
  times.forEach((time, index) => {
    if (index % every !== 0 && index !== times.length - 1) return;
    points.push(`${x(time).toFixed(1)},${y(index / times.length).toFixed(1)}`);
    points.push(`${x(time).toFixed(1)},${y((index + 1) / times.length).toFixed(1)}`);
  });
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(
      LEFT,
      20,
      `${scenario.name}: ${scenario.nodes} nodes, last ${((times.at(-1) ?? 0) / boundMs).toFixed(2)} × the bound, ${originBlobs.toFixed(2)} blobs from the seed`,
      'font-weight="bold"',
    ),
  ];
  for (let time = 0; time <= most; time += step(most)) {
    parts.push(`<path d="M${x(time).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/>`);
    parts.push(text(x(time), HEIGHT - BOTTOM + 16, String(time / 1_000), 'text-anchor="middle"'));
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(`<path d="M${LEFT} ${y(part).toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>`);
    parts.push(text(LEFT - 6, y(part) + 4, `${part * 100} %`, 'text-anchor="end"'));
  }
  parts.push(text((WIDTH + LEFT) / 2, HEIGHT - 8, 'seconds since the node arrived', 'text-anchor="middle"'));
  parts.push(
    `<path d="M${x(boundMs).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}" stroke="#b33" stroke-dasharray="5 3"/>`,
    text(x(boundMs) - 4, TOP + 12, 'bound', 'fill="#b33" text-anchor="end"'),
    `<polyline points="${points.join(' ')}" fill="none" stroke="#2463a8" stroke-width="2"/>`,
    '</svg>',
  );
  return `${parts.join('\n')}\n`;
}
