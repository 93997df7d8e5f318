/** The nodes of a rollout as a table: those that need a look first. What the grid shows, for who does not see it. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { useState } from 'preact/hooks';
import { formatBytes, formatCount, formatSeconds, formatShare } from './format.ts';
import { useJson } from './json.ts';
import { Card, type Column, Empty, Pager, Problem, STATES, StateMark, Table } from './parts.ts';

export interface RolloutNode {
  readonly id: string;
  readonly name: string;
  readonly zone: string | null;
  readonly wave: number;
  readonly state: string;
  readonly haveBytes: number;
  readonly totalBytes: number;
  readonly bytes: Readonly<
    Record<'peer' | 'originSwarm' | 'originHttp' | 'upstream' | 'resumed' | 'present', number>
  >;
  readonly reason: string | null;
  readonly seconds: number | null;
}

const COLUMNS: readonly Column<RolloutNode>[] = [
  { title: 'Node', cell: ({ name }) => name, sort: 'name' },
  { title: 'Zone', cell: ({ zone }) => zone ?? '–', sort: 'zone' },
  { title: 'Wave', cell: ({ wave }) => wave, sort: 'wave', numeric: true },
  { title: 'State', cell: ({ state }) => h(StateMark, { state }), sort: 'state' },
  {
    title: 'Progress',
    cell: ({ haveBytes, totalBytes }) =>
      totalBytes === 0 ? '–' : `${formatShare(haveBytes / totalBytes)} of ${formatBytes(totalBytes)}`,
    sort: 'progress',
    numeric: true,
  },
  {
    title: 'Time',
    cell: ({ seconds }) => (seconds === null ? '–' : formatSeconds(seconds)),
    sort: 'seconds',
    numeric: true,
  },
  { title: 'Why', cell: ({ reason }) => reason ?? '' },
];
const PAGE = 25;

export function NodeTable({ id, turn }: { readonly id: string; readonly turn: string }): ComponentChildren {
  const [sort, setSort] = useState('trouble');
  const [state, setState] = useState('');
  const [text, setText] = useState('');
  const [offset, setOffset] = useState(0);
  /** What is chosen or sorted otherwise is shown from its beginning. */
  const anew =
    (set: (text: string) => void) =>
    (text: string): void => {
      set(text);
      setOffset(0);
    };
  const query = new URLSearchParams({
    n: String(PAGE),
    offset: String(offset),
    sort,
    ...(state && { state }),
    ...(text && { q: text }),
  });
  const { value, problem } = useJson<Listing<RolloutNode>>(`/api/v1/rollouts/${id}/nodes?${query}`, turn);
  return h(
    Card,
    { title: 'Each node', note: 'failed, away and slowest first, unless sorted otherwise' },
    h(Filter, {
      states: STATES,
      state,
      text,
      onState: anew(setState),
      onText: anew(setText),
    }),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined &&
      h(Listed<RolloutNode>, {
        listing: value,
        caption: 'Nodes of the rollout',
        columns: COLUMNS,
        sort,
        offset,
        page: PAGE,
        onSort: anew(setSort),
        onOffset: setOffset,
      }),
  );
}

export interface Listing<T> {
  readonly nodes: readonly T[];
  readonly total: number;
  readonly next: number | null;
}

/** A page of a listing, with the way to the others. */
export function Listed<T extends { readonly id: string }>(props: {
  readonly listing: Listing<T>;
  readonly caption: string;
  readonly columns: readonly Column<T>[];
  readonly sort: string;
  readonly offset: number;
  readonly page: number;
  readonly onSort: (sort: string) => void;
  readonly onOffset: (offset: number) => void;
}): ComponentChildren {
  const { listing, offset, page, onOffset } = props;
  if (listing.nodes.length === 0) return h(Empty, null, 'No node is like this.');
  const { next, total } = listing;
  return h(
    Fragment,
    null,
    h(Table<T>, {
      caption: props.caption,
      columns: props.columns,
      rows: listing.nodes,
      keyOf: ({ id }) => id,
      sort: props.sort,
      onSort: props.onSort,
    }),
    total > page &&
      h(Pager, {
        label: 'Pages of nodes',
        text: `${formatCount(offset + 1)} to ${formatCount(offset + listing.nodes.length)} of ${formatCount(total)}`,
        onBack: offset === 0 ? undefined : () => onOffset(Math.max(0, offset - page)),
        onNext: next === null ? undefined : () => onOffset(next),
      }),
  );
}

export function Filter(props: {
  readonly states: readonly string[];
  readonly state: string;
  readonly text: string;
  readonly onState: (state: string) => void;
  readonly onText: (text: string) => void;
}): ComponentChildren {
  return h(
    'div',
    { class: 'filter' },
    h(
      'label',
      null,
      'State ',
      h(
        'select',
        {
          value: props.state,
          onChange: (event: Event) => props.onState((event.currentTarget as HTMLSelectElement).value),
        },
        h('option', { value: '' }, 'any'),
        props.states.map((state) => h('option', { key: state, value: state }, state)),
      ),
    ),
    h(
      'label',
      null,
      'Name or zone ',
      h('input', {
        type: 'search',
        value: props.text,
        onInput: (event: Event) => props.onText((event.currentTarget as HTMLInputElement).value),
      }),
    ),
  );
}
