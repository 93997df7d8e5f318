/**
 * What the origin tells its pages. A feed's state is a list of keys with JSON values; a message has the keys that
 * changed, `null` for one that is gone. See ../feed.ts.
 *
 * Nodes come in chunks, so that 10,000 of them are cheap: `roster.<n>` has what seldom changes, `cells.<n>` one
 * character a node.
 */

export type Feed = Readonly<Record<string, unknown>>;

/** Nodes in one chunk. */
export const CHUNK = 250;

export interface Roster {
  /** Split by spaces, which no name has. */
  readonly names: string;
  /** Places in `zoneNames`, split by spaces; -1: the node told none. */
  readonly zones: string;
}

export type NodeState = 'waiting' | 'fetching' | 'done' | 'failed' | 'away' | 'here';

const LETTERS: Readonly<Record<Exclude<NodeState, 'fetching'>, string>> = {
  ...{ waiting: 'W', done: 'D', failed: 'F', away: 'A', here: 'H' },
};
const STATES: ReadonlyMap<string, NodeState> = new Map(
  Object.entries(LETTERS).map(([state, letter]) => [letter, state as NodeState]),
);
/** Of a node that fetches; a digit to the base 36 says how many of them are there. */
const STEPS = 20;

/** `share`: from 0 to 1. */
export function encodeCell(state: NodeState, share: number): string {
  return state === 'fetching' ? Math.floor(Math.min(1, share) * STEPS).toString(36) : LETTERS[state];
}

export function decodeCell(cell: string): { readonly state: NodeState; readonly share: number } {
  const state = STATES.get(cell);
  if (state !== undefined) return { state, share: state === 'done' ? 1 : 0 };
  return { state: 'fetching', share: Number.parseInt(cell, 36) / STEPS };
}
