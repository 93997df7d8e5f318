/** The nodes that this origin knows, and their health. */
import { type ComponentChildren, Fragment, h } from 'preact';
import { useState } from 'preact/hooks';
import { countOf, formatCount, formatTime } from './format.ts';
import { Grid } from './grid.ts';
import { useJson } from './json.ts';
import type { Group } from './layout.ts';
import { useLive, valuesOf } from './live.ts';
import { Filter, Listed, type Listing } from './node-table.ts';
import { Card, type Column, Empty, LiveMark, Problem, StateMark, Tile, Title } from './parts.ts';
import { type NodeList, nodeListOf } from './roster.ts';

interface Node {
  readonly id: string;
  readonly name: string;
  readonly zone: string | null;
  readonly state: string;
  readonly lastSeen: string;
  readonly blobs: number | null;
}

interface Zone {
  readonly zone: string;
  readonly here: number;
  readonly away: number;
}

const COLUMNS: readonly Column<Node>[] = [
  { title: 'Node', cell: ({ name }) => name, sort: 'name' },
  { title: 'Zone', cell: ({ zone }) => zone ?? '–', sort: 'zone' },
  { title: 'State', cell: ({ state }) => h(StateMark, { state }), sort: 'state' },
  { title: 'Spoke last', cell: ({ lastSeen }) => formatTime(lastSeen), sort: 'lastSeen' },
  {
    title: 'Blobs it seeds',
    cell: ({ blobs }) => (blobs === null ? 'not announced' : formatCount(blobs)),
    sort: 'blobs',
    numeric: true,
  },
  { title: 'Peer id', cell: ({ id }) => h('span', { class: 'digest' }, id) },
];
const PAGE = 25;

export function NodesPage(): ComponentChildren {
  const live = useLive('/api/v1/live/nodes');
  const [text, setText] = useState('');
  const { feed } = live;
  const list = feed && nodeListOf(feed);
  const counts = feed?.['nodes'] as { readonly here: number; readonly away: number } | undefined;
  return h(
    Fragment,
    null,
    h(Title, { text: 'Nodes' }),
    h(LiveMark, { live }),
    counts !== undefined &&
      h(
        'dl',
        { class: 'tiles big' },
        h(Tile, {
          label: 'here',
          value: formatCount(counts.here),
          mark: 'here',
          note: 'they ask for orders',
        }),
        h(Tile, {
          label: 'away',
          value: formatCount(counts.away),
          mark: 'away',
          note: 'gone, or silent for 75 s',
        }),
      ),
    list !== undefined &&
      list.size > 0 &&
      h(
        Card,
        { title: 'Health', note: `${countOf(list.size, 'node')}, by zone and name; each square is one` },
        h(Grid, {
          label: 'Nodes by health',
          list,
          groups: groupsOf(list),
          onChoose: (place: number) => setText(list.at(place)?.name ?? ''),
        }),
      ),
    feed !== undefined && h(Zones, { zones: valuesOf<Zone>(feed, 'zone.') }),
    h(NodeTable, { key: text, text, turn: `${counts?.here} ${counts?.away}` }),
  );
}

/** With more zones than this they are one block, still side by side. */
const MOST_GROUPS = 12;

function groupsOf(list: NodeList): Group[] {
  const groups: { label: string; size: number }[] = [];
  for (let place = 0; place < list.size; place += 1) {
    const label = list.at(place)?.zone ?? 'no zone';
    const last = groups.at(-1);
    if (last?.label === label) last.size += 1;
    else groups.push({ label, size: 1 });
    if (groups.length > MOST_GROUPS) return [{ label: 'All', size: list.size }];
  }
  return groups;
}

function Zones({ zones }: { readonly zones: readonly Zone[] }): ComponentChildren {
  if (zones.length < 2) return null;
  return h(
    Card,
    { title: 'Zones', note: countOf(zones.length, 'zone') },
    h(
      'ul',
      { class: 'chips' },
      zones
        .toSorted((a, b) => b.away - a.away || (a.zone < b.zone ? -1 : 1))
        .map(({ zone, here, away }) =>
          h(
            'li',
            { key: zone },
            h('strong', null, zone === '-' ? 'no zone' : zone),
            ` ${formatCount(here)} here`,
            away > 0 &&
              h(
                'span',
                null,
                h('span', { class: 'swatch away', 'aria-hidden': true }),
                `${formatCount(away)} away`,
              ),
          ),
        ),
    ),
  );
}

function NodeTable({
  text: first,
  turn,
}: {
  readonly text: string;
  readonly turn: string;
}): ComponentChildren {
  const [sort, setSort] = useState('state');
  const [state, setState] = useState('');
  const [text, setText] = useState(first);
  const [offset, setOffset] = useState(0);
  const anew =
    (set: (text: string) => void) =>
    (next: string): void => {
      set(next);
      setOffset(0);
    };
  const query = new URLSearchParams({
    ...{ n: String(PAGE), offset: String(offset), sort },
    ...(state && { state }),
    ...(text && { q: text }),
  });
  const { value, problem } = useJson<Listing<Node>>(`/api/v1/nodes?${query}`, turn);
  return h(
    Card,
    { title: 'Each node', note: 'those that are away first, unless sorted otherwise' },
    h(Filter, { states: ['here', 'away'], state, text, onState: anew(setState), onText: anew(setText) }),
    problem !== undefined && h(Problem, { text: problem }),
    value !== undefined && value.total === 0 && state === '' && text === ''
      ? h(Empty, null, 'No agent has spoken with this origin yet. shoal agent --origin URL begins one.')
      : value !== undefined &&
          h(Listed<Node>, {
            ...{ listing: value, caption: 'Nodes', columns: COLUMNS, sort, offset, page: PAGE },
            ...{ onSort: anew(setSort), onOffset: setOffset },
          }),
  );
}
