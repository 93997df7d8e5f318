/** The nodes of a feed: names and zones by place, and the string of their cells. See messages.ts. */
import { chunksOf } from './live.ts';
import { CHUNK, decodeCell, type Feed, type NodeState, type Roster } from './messages.ts';

export interface NodeList {
  readonly size: number;
  /** One character a node. */
  readonly cells: string;
  at(place: number): NodeAt | undefined;
}

export interface NodeAt {
  readonly name: string;
  readonly zone: string | undefined;
  readonly state: NodeState;
  /** From 0 to 1. */
  readonly share: number;
}

const split = new WeakMap<Roster, { readonly names: string[]; readonly zones: string[] }>();

/** A chunk that did not change is the same object as before: it is split once. */
function partsOf(roster: Roster): { readonly names: string[]; readonly zones: string[] } {
  const known = split.get(roster);
  if (known !== undefined) return known;
  const parts = { names: roster.names.split(' '), zones: roster.zones.split(' ') };
  split.set(roster, parts);
  return parts;
}

export function nodeListOf(feed: Feed): NodeList {
  const rosters = chunksOf<Roster>(feed, 'roster.');
  const zoneNames = (feed['zoneNames'] ?? []) as readonly string[];
  const cells = chunksOf<string>(feed, 'cells.').join('');
  return {
    size: cells.length,
    cells,
    at(place) {
      const roster = rosters[Math.floor(place / CHUNK)];
      const cell = cells[place];
      if (roster === undefined || cell === undefined) return undefined;
      const { names, zones } = partsOf(roster);
      const within = place % CHUNK;
      return { name: names[within] ?? '', zone: zoneNames[Number(zones[within])], ...decodeCell(cell) };
    },
  };
}
