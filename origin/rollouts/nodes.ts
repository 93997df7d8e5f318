/** The nodes that have spoken with this origin, also before its start, and who of them is away. */
import type { Hello } from '#orders';
import type { KnownNode } from './store.ts';

export interface Nodes {
  /** It speaks now. Whether it is new, or says something else of itself than before. */
  seen(id: string, said: Hello): boolean;
  /** Its connection broke while it waited for orders. */
  left(id: string): void;
  get(id: string): KnownNode | undefined;
  list(): Iterable<KnownNode>;
  isAway(id: string): boolean;
  /** Who went away or came back since the last look is to be written. */
  lookWhoIsAway(): void;
  /** Who is to be written: new, changed, away or back, or seen long after it was written. */
  takeUnsaved(): KnownNode[];
  /** Who has not spoken for a month. */
  takeForgotten(): string[];
  readonly size: number;
}

export const MAX_NODES = 20_000;
/** Longer than an answer is held open and the connection may take to be made anew. */
const SILENT_MS = 75_000;
/** A restart of an agent takes less. */
const LEFT_MS = 10_000;
const SAVE_EACH_MS = 10 * 60_000;
const FORGET_MS = 30 * 24 * 3_600_000;

interface Entry {
  known: KnownNode;
  savedAt: number;
  /** As it is on the disk. */
  savedAway: boolean;
  leftAt: number | undefined;
}

export function createNodes(kept: readonly KnownNode[], now: () => number): Nodes {
  const startedAt = now();
  const nodes = new Map<string, Entry>();
  const unsaved = new Set<string>();
  for (const known of kept) {
    nodes.set(known.id, { known, savedAt: known.seenAt, savedAway: known.away, leftAt: undefined });
  }
  const isAway = ({ known, leftAt }: Entry): boolean => {
    if (known.away) return true;
    if (leftAt !== undefined) return now() - leftAt > LEFT_MS;
    // This origin was away itself: who has not come back yet may still do so.
    return now() - Math.max(known.seenAt, startedAt) > SILENT_MS;
  };

  return {
    seen(id, { name, zone }) {
      const before = nodes.get(id);
      const known: KnownNode = { id, name, zone, seenAt: now(), away: false };
      const changed = before === undefined || before.known.name !== name || before.known.zone !== zone;
      const late = before !== undefined && known.seenAt - before.savedAt > SAVE_EACH_MS;
      if (changed || late) unsaved.add(id);
      const { savedAt = 0, savedAway = false } = before ?? {};
      nodes.set(id, { known, savedAt, savedAway, leftAt: undefined });
      return changed;
    },
    left(id) {
      const entry = nodes.get(id);
      if (entry !== undefined) entry.leftAt = now();
    },
    get: (id) => nodes.get(id)?.known,
    *list() {
      for (const { known } of nodes.values()) yield known;
    },
    isAway(id) {
      const entry = nodes.get(id);
      return entry === undefined || isAway(entry);
    },
    lookWhoIsAway() {
      for (const [id, entry] of nodes) if (isAway(entry) !== entry.savedAway) unsaved.add(id);
    },
    takeUnsaved() {
      const taken: KnownNode[] = [];
      for (const id of unsaved) {
        const entry = nodes.get(id);
        if (entry === undefined) continue;
        entry.savedAway = isAway(entry);
        entry.savedAt = now();
        taken.push({ ...entry.known, away: entry.savedAway });
      }
      unsaved.clear();
      return taken;
    },
    takeForgotten() {
      const old = [...nodes.values()].filter(({ known }) => now() - known.seenAt > FORGET_MS);
      for (const { known } of old) nodes.delete(known.id);
      return old.map(({ known }) => known.id);
    },
    get size() {
      return nodes.size;
    },
  };
}
