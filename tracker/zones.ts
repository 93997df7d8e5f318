/**
 * The zones that are known, in an order in which near ones are neighbours: `eu1`, all of `eu1/…`,
 * then what is not below `eu1`. A list that is sorted by the rank of the zone therefore has all
 * members of a zone, and of everything around it, in one stretch each. Zones come and go with those
 * who are in them; the order of the others never changes.
 */
export interface Zones {
  /** A number for this zone, until it is released as often as it was taken. Undefined: no zone. */
  take(zone: string | undefined): number;
  release(id: number): void;
  /** Its place in the order; changes as zones come and go, but never against another's. */
  rank(id: number): number;
  /**
   * The ranks [from, to) of everything below `zone`, then of what is around it level by level, the
   * last being all ranks. Without a zone all are equally near: one level.
   */
  levels(zone: string | undefined): readonly RankRange[];
  nameOf(id: number): string | undefined;
}

export interface RankRange {
  readonly from: number;
  readonly to: number;
}

interface Zone {
  /** The name with a separator that sorts before every character of a name. */
  readonly key: string;
  readonly name: string | undefined;
  users: number;
  rank: number;
}

const NO_ZONE = 0;
const MOST_LEVELS = 20_000;
const SEPARATOR = '\u0000';
/** Sorts behind all that begins with the key before it, and before the next name. */
const PAST = '\u0001';

export function createZones(): Zones {
  const none: Zone = { key: '', name: undefined, users: 1, rank: 0 };
  const zones: (Zone | undefined)[] = [none];
  const byName = new Map<string, number>();
  /** Of the zones as they are; emptied when one comes or goes. */
  const levelsOf = new Map<string, readonly RankRange[]>();
  const sorted: Zone[] = [none];
  const free: number[] = [];

  /** The first place whose key is not less. */
  const placeOf = (key: string): number => {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sorted[middle]?.key ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const number = (from: number): void => {
    levelsOf.clear();
    for (let rank = from; rank < sorted.length; rank += 1) {
      const zone = sorted[rank];
      if (zone !== undefined) zone.rank = rank;
    }
  };

  return {
    take(name) {
      if (name === undefined) return NO_ZONE;
      const known = byName.get(name);
      const before = known === undefined ? undefined : zones[known];
      if (known !== undefined && before !== undefined) {
        before.users += 1;
        return known;
      }
      const key = name.replaceAll('/', SEPARATOR);
      const id = free.pop() ?? zones.length;
      const place = placeOf(key);
      const zone = { key, name, users: 1, rank: place };
      zones[id] = zone;
      byName.set(name, id);
      sorted.splice(place, 0, zone);
      number(place);
      return id;
    },
    release(id) {
      const zone = zones[id];
      if (zone === undefined || id === NO_ZONE) return;
      zone.users -= 1;
      if (zone.users > 0) return;
      zones[id] = undefined;
      free.push(id);
      if (zone.name !== undefined) byName.delete(zone.name);
      sorted.splice(zone.rank, 1);
      number(zone.rank);
    },
    rank: (id) => zones[id]?.rank ?? 0,
    levels(name) {
      const all = { from: 0, to: sorted.length };
      if (name === undefined) return [all];
      const known = levelsOf.get(name);
      if (known !== undefined) return known;
      const ranges: RankRange[] = [];
      const labels = name.split('/');
      for (let depth = labels.length; depth > 0; depth -= 1) {
        const key = labels.slice(0, depth).join(SEPARATOR);
        ranges.push({ from: placeOf(key), to: placeOf(key + PAST) });
      }
      ranges.push(all);
      if (levelsOf.size < MOST_LEVELS) levelsOf.set(name, ranges);
      return ranges;
    },
    nameOf: (id) => zones[id]?.name,
  };
}
