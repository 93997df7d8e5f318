/**
 * Every node as a small square, in groups (waves). Drawn on a canvas, at most once a frame and only when something
 * changed; states differ in shape as well as in colour. By keyboard: arrows, Home, End, Page Up and Down; what the
 * focused node is, is told as text below.
 */
import { type ComponentChildren, h } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { formatCount, formatShare } from './format.ts';
import { type Group, type Layout, layOut, moveBy, placeAt } from './layout.ts';
import { decodeCell, type NodeState } from './messages.ts';
import type { NodeAt, NodeList } from './roster.ts';

function describeNode(node: NodeAt, group: string | undefined): string {
  const state = node.state === 'fetching' ? `fetching, ${formatShare(node.share)}` : node.state;
  return [node.name, node.zone, group, state].filter((part) => part !== undefined && part !== '').join(' · ');
}

export function Grid(props: {
  readonly label: string;
  readonly list: NodeList;
  readonly groups: readonly Group[];
  /** A node was chosen, by click or Enter. */
  readonly onChoose?: (place: number) => void;
}): ComponentChildren {
  const { list, groups } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [place, setPlace] = useState(0);
  const [focused, setFocused] = useState(false);
  const [hovered, setHovered] = useState<number | undefined>(undefined);
  const sizes = groups.map(({ label, size }) => `${label} ${size}`).join();
  const layout = useMemo(() => layOut(width, groups), [width, sizes]);
  const scheme = useScheme();

  useEffect(() => {
    const box = canvas.current?.parentElement;
    if (box == null) return;
    const watch = new ResizeObserver(() => setWidth(Math.floor(box.clientWidth)));
    watch.observe(box);
    return () => watch.disconnect();
  }, []);
  const marked = focused ? place : hovered;
  useEffect(() => {
    if (canvas.current === null || width === 0) return;
    const element = canvas.current;
    const frame = requestAnimationFrame(() => draw(element, width, layout, list.cells, marked));
    return () => cancelAnimationFrame(frame);
  }, [list.cells, layout, marked, width, scheme]);

  const shown = hovered ?? (focused ? place : undefined);
  const node = shown === undefined ? undefined : list.at(shown);
  const group =
    groups.length > 1 ? layout.groups.findLast(({ from }) => from <= (shown ?? 0))?.label : undefined;
  const at = (event: MouseEvent): number | undefined => placeAt(layout, event.offsetX, event.offsetY);
  return h(
    'div',
    { class: 'grid' },
    h(
      'div',
      null,
      h('canvas', {
        ref: canvas,
        ...{
          tabIndex: 0,
          role: 'application',
          'aria-roledescription': 'node grid',
          'aria-describedby': 'grid-keys',
        },
        'aria-label': `${props.label}, ${formatCount(list.size)} in all`,
        onFocus: () => setFocused(true),
        onBlur: () => setFocused(false),
        onMouseMove: (event: MouseEvent) => setHovered(at(event)),
        onMouseLeave: () => setHovered(undefined),
        onClick: (event: MouseEvent) => {
          const chosen = at(event);
          if (chosen === undefined) return;
          setPlace(chosen);
          props.onChoose?.(chosen);
        },
        onKeyDown: (event: KeyboardEvent) => {
          if (event.key === 'Enter' || event.key === ' ') props.onChoose?.(place);
          const next = moveBy(event.key, place, layout, list.size);
          if (next === undefined && event.key !== ' ') return;
          event.preventDefault();
          if (next !== undefined) setPlace(next);
        },
      }),
    ),
    h('p', { id: 'grid-keys', class: 'unseen' }, 'Arrow keys go from node to node, Enter shows more of one.'),
    h(
      'p',
      { class: 'told', role: 'status' },
      node === undefined ? 'Point at a square, or go there with the arrow keys.' : describeNode(node, group),
    ),
  );
}

const COLOURED: readonly NodeState[] = ['done', 'here', 'fetching', 'waiting', 'away', 'failed'];

function draw(
  canvas: HTMLCanvasElement,
  width: number,
  layout: Layout,
  cells: string,
  marked: number | undefined,
): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(layout.height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(layout.height * scale);
    Object.assign(canvas.style, { width: `${width}px`, height: `${layout.height}px` });
  }
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, layout.height);
  const { cell, gap, columns, groups } = layout;
  const pitch = cell + gap;
  const colours = new Map(COLOURED.map((state) => [state, colour(state)]));
  const text = colour('muted');
  const surface = colour('surface');
  context.lineWidth = 1.5;
  context.font = `12px ${style.fontFamily}`;
  for (const { from, size, y: top, label } of groups) {
    if (groups.length > 1) {
      context.fillStyle = text;
      context.fillText(label, 0, top - 6);
    }
    for (let within = 0; within < size; within += 1) {
      const { state, share } = decodeCell(cells[from + within] ?? 'W');
      const x = (within % columns) * pitch;
      const y = top + Math.floor(within / columns) * pitch;
      context.fillStyle = colours.get(state === 'fetching' ? 'waiting' : state) ?? '';
      context.fillRect(x, y, cell, cell);
      if (state === 'fetching') {
        const filled = Math.max(2, Math.round(cell * share));
        context.fillStyle = colours.get('fetching') ?? '';
        context.fillRect(x, y + cell - filled, cell, filled);
      } else if (state === 'away') {
        // Hollow.
        context.fillStyle = surface;
        context.fillRect(x + 2, y + 2, cell - 4, cell - 4);
      } else if (state === 'failed') {
        context.strokeStyle = surface;
        context.beginPath();
        context.moveTo(x + 2, y + 2);
        context.lineTo(x + cell - 2, y + cell - 2);
        context.moveTo(x + cell - 2, y + 2);
        context.lineTo(x + 2, y + cell - 2);
        context.stroke();
      }
    }
  }
  const group = marked === undefined ? undefined : groups.findLast(({ from }) => from <= marked);
  if (group === undefined || marked === undefined) return;
  const within = marked - group.from;
  const x = (within % columns) * pitch;
  const y = group.y + Math.floor(within / columns) * pitch;
  context.strokeStyle = colour('focus');
  context.lineWidth = 3;
  context.strokeRect(x + 0.5, y + 0.5, cell - 1, cell - 1);
}

/** Changes when the system goes from light to dark. */
function useScheme(): boolean {
  const [dark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches);
  useEffect(() => {
    const query = matchMedia('(prefers-color-scheme: dark)');
    const onChange = (): void => setDark(query.matches);
    query.addEventListener('change', onChange);
    return () => query.removeEventListener('change', onChange);
  }, []);
  return dark;
}
