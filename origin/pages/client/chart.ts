/** Throughput over time: what came from other agents above what came from the origin. Plain SVG, so that the style sheet colours it. */
import { type ComponentChildren, h } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { formatBytes, formatRate, formatSeconds } from './format.ts';
import { Empty } from './parts.ts';
import { type Point, type Rate, ratesOf, ticksOf } from './throughput.ts';

const HEIGHT = 190;
const LEFT = 76;
const BOTTOM = 22;
const TOP = 8;

export function Chart({ points }: { readonly points: readonly Point[] }): ComponentChildren {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(600);
  useEffect(() => {
    if (box.current === null) return;
    const watch = new ResizeObserver(([entry]) =>
      setWidth(Math.max(240, Math.floor(entry?.contentRect.width ?? 0))),
    );
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const rates = ratesOf(points);
  return h(
    'div',
    { class: 'chart', ref: box },
    rates.length < 2 ? h(Empty, null, 'Nothing was measured yet.') : plot(rates, width),
  );
}

function plot(rates: readonly Rate[], width: number): ComponentChildren {
  const until = rates.at(-1)?.at ?? 1;
  const most = Math.max(1, ...rates.map(({ peer, origin }) => peer + origin));
  const x = (at: number): number => LEFT + ((width - LEFT) * at) / Math.max(until, 0.001);
  const y = (rate: number): number => TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate / (most * 1.05));
  const area = (upper: (rate: Rate) => number, lower: (rate: Rate) => number): string => {
    const there = rates.map((rate) => `${x(rate.at).toFixed(1)},${y(upper(rate)).toFixed(1)}`);
    const back = rates.toReversed().map((rate) => `${x(rate.at).toFixed(1)},${y(lower(rate)).toFixed(1)}`);
    return `M${[...there, ...back].join('L')}Z`;
  };
  const both = ({ peer, origin }: Rate): number => peer + origin;
  const peak = rates.reduce((highest, rate) => (both(rate) > both(highest) ? rate : highest));
  const label =
    `Throughput over ${formatSeconds(until)}: at most ${formatRate(both(peak))}, ` +
    `at the end ${formatRate(both(rates.at(-1) ?? peak))}.`;
  return h(
    'svg',
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img', 'aria-label': label },
    ticksOf(most).map((tick) => [
      h('line', { key: `l${tick}`, class: 'rule', x1: LEFT, x2: width, y1: y(tick), y2: y(tick) }),
      h(
        'text',
        { key: `t${tick}`, x: LEFT - 8, y: y(tick) + 4, 'text-anchor': 'end' },
        `${formatBytes(tick)}/s`,
      ),
    ]),
    h('path', {
      class: 'origin',
      d: area(
        ({ origin }) => origin,
        () => 0,
      ),
    }),
    h('path', { class: 'peer', d: area(both, ({ origin }) => origin) }),
    h('line', { class: 'axis', x1: LEFT, x2: width, y1: y(0), y2: y(0) }),
    h('text', { x: LEFT, y: HEIGHT - 4 }, '0 s'),
    h('text', { x: width, y: HEIGHT - 4, 'text-anchor': 'end' }, formatSeconds(until)),
  );
}
