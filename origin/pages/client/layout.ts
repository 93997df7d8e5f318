/** Where each node's square is, and where a key or a click leads. No DOM. */
export interface Group {
  readonly label: string;
  readonly size: number;
}

export interface Layout {
  readonly columns: number;
  readonly cell: number;
  readonly gap: number;
  readonly height: number;
  /** Where each group begins: first node, its place on the canvas, rows. */
  readonly groups: readonly {
    readonly from: number;
    readonly size: number;
    readonly y: number;
    readonly label: string;
  }[];
}

const HEAD = 20;
const SPACE = 8;
const SIZES = [26, 20, 16, 13, 11, 9, 8] as const;
/** The grid grows down to this, then its squares become smaller. */
const TALL = 420;

export function layOut(width: number, groups: readonly Group[]): Layout {
  const headed = groups.length > 1;
  for (const cell of SIZES) {
    const gap = cell > 12 ? 3 : 1;
    const columns = Math.max(1, Math.floor((width + gap) / (cell + gap)));
    let y = 0;
    let from = 0;
    const placed = groups.map(({ label, size }) => {
      const top = y + (headed ? HEAD : 0);
      const group = { from, size, y: top, label };
      y = top + Math.ceil(size / columns) * (cell + gap) + SPACE;
      from += size;
      return group;
    });
    if (y <= TALL || cell === SIZES.at(-1))
      return { columns, cell, gap, height: Math.max(y - SPACE, cell), groups: placed };
  }
  throw new Error('there is a smallest size');
}

/** The node at a point of the canvas. */
export function placeAt(layout: Layout, x: number, y: number): number | undefined {
  const pitch = layout.cell + layout.gap;
  const column = Math.floor(x / pitch);
  if (column < 0 || column >= layout.columns) return undefined;
  for (const { from, size, y: top } of layout.groups) {
    const row = Math.floor((y - top) / pitch);
    const within = row * layout.columns + column;
    if (row >= 0 && within < size) {
      if (y < top + Math.ceil(size / layout.columns) * pitch) return from + within;
    }
  }
  return undefined;
}

/** Where a key leads from a node; undefined: it is no key of the grid. */
export function moveBy(key: string, place: number, layout: Layout, count: number): number | undefined {
  const steps: Readonly<Record<string, number>> = {
    ...{ ArrowRight: 1, ArrowLeft: -1, ArrowDown: layout.columns, ArrowUp: -layout.columns },
    ...{ PageDown: 10 * layout.columns, PageUp: -10 * layout.columns, Home: -count, End: count },
  };
  const step = steps[key];
  return step === undefined ? undefined : Math.min(count - 1, Math.max(0, place + step));
}
