/**
 * Lists of slots (whole numbers that stand for agents or members), sorted by the rank of the slot's
 * zone and then by the slot. Sorted, because then one list serves every question that a choice of
 * peers asks: is this one in it, how many are in this zone or near it, give me one of them at random.
 * Four bytes an entry; adding and removing move what lies behind, which is memory in one piece.
 *
 * Most blobs of a large cluster have one holder, or very few: one slot is kept as a number and few as
 * a small array, which cost a fifth of what a typed array does.
 */
export type ZonedList = number | readonly number[] | Packed;

/** More than a few: the first `length` of `slots`. */
interface Packed {
  slots: Uint32Array;
  length: number;
}

export interface ZonedLists {
  /** The list with this slot; the old one must not be used any more. The same list when it was in it. */
  add(list: ZonedList | undefined, slot: number): ZonedList;
  /** The list without it; undefined when nobody is left. */
  remove(list: ZonedList, slot: number): ZonedList | undefined;
  has(list: ZonedList | undefined, slot: number): boolean;
  /** The first place whose rank is not less than this. */
  placeOfRank(list: ZonedList | undefined, rank: number): number;
}

const FEW = 16;

/** `rankOf` a slot may change while it is in a list only as long as the order of any two stays. */
export function createZonedLists(rankOf: (slot: number) => number): ZonedLists {
  /** The first place whose slot does not come before (rank, slot). */
  const placeOf = (list: ZonedList, rank: number, slot: number): number => {
    let low = 0;
    let high = lengthOf(list);
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = slotAt(list, middle);
      const otherRank = rankOf(other);
      if (otherRank < rank || (otherRank === rank && other < slot)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const has = (list: ZonedList | undefined, slot: number): boolean =>
    list !== undefined && slotAt(list, placeOf(list, rankOf(slot), slot)) === slot;

  return {
    has,
    add(list, slot) {
      if (list === undefined) return slot;
      const place = placeOf(list, rankOf(slot), slot);
      if (slotAt(list, place) === slot) return list;
      if (typeof list === 'number') return place === 0 ? [slot, list] : [list, slot];
      if (!isPacked(list)) {
        const more = [...list.slice(0, place), slot, ...list.slice(place)];
        if (more.length <= FEW) return more;
        const slots = new Uint32Array(FEW * 2);
        slots.set(more);
        return { slots, length: more.length };
      }
      if (list.length === list.slots.length) {
        const slots = new Uint32Array(Math.ceil(list.length * 1.5));
        slots.set(list.slots);
        list.slots = slots;
      }
      list.slots.copyWithin(place + 1, place, list.length);
      list.slots[place] = slot;
      list.length += 1;
      return list;
    },
    remove(list, slot) {
      if (typeof list === 'number') return list === slot ? undefined : list;
      const place = placeOf(list, rankOf(slot), slot);
      if (slotAt(list, place) !== slot) return list;
      if (!isPacked(list)) {
        const [only, ...others] = list.filter((other) => other !== slot);
        return others.length === 0 ? only : [only ?? 0, ...others];
      }
      list.slots.copyWithin(place, place + 1, list.length);
      list.length -= 1;
      // Half of what was few before, so that coming and going at the border copies nothing.
      if (list.length <= FEW / 2) return [...list.slots.subarray(0, list.length)];
      if (list.length < list.slots.length / 4) list.slots = list.slots.slice(0, list.length * 2);
      return list;
    },
    placeOfRank: (list, rank) => (list === undefined ? 0 : placeOf(list, rank, 0)),
  };
}

export function lengthOf(list: ZonedList | undefined): number {
  if (list === undefined) return 0;
  return typeof list === 'number' ? 1 : list.length;
}

/** -1 behind the end. */
export function slotAt(list: ZonedList | undefined, place: number): number {
  if (list === undefined || place < 0) return -1;
  if (typeof list === 'number') return place === 0 ? list : -1;
  if (!isPacked(list)) return list[place] ?? -1;
  return place < list.length ? (list.slots[place] ?? -1) : -1;
}

function isPacked(list: readonly number[] | Packed): list is Packed {
  return 'slots' in list;
}
