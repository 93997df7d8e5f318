/**
 * The parts of an answer: memory that is lent, filled from the source and given back. Answers that send the same
 * blob at about the same time, as a rollout makes them, are given the same memory: a part is read once for all
 * of them, and what the processor's cache holds is one blob's window, not one a client. Who lags behind further
 * than that window reads for itself. Measured with eight clients: `docs/decisions/0034-shared-parts.md`.
 */
import { LARGE_PART_BYTES, lendBuffer, takeBack, writeOff } from './part-buffers.ts';

/** A part waits for whoever is not further behind it than this. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** Parts, over all blobs, that are kept for those behind while nobody sends them. */
const MOST_WAITING = 16;

export interface Part {
  readonly bytes: Uint8Array;
  /** Called once. `isFree`: nothing reads the memory any more; what may still be read is left to the collector. */
  giveBack(isFree: boolean): void;
}

export interface Parts {
  /** The bytes from `at`: `most` of them, or fewer. Asked for in order. @throws what the source throws */
  take(at: number, most: number, large: boolean): Promise<Part>;
  close(): void;
}

type Read = (position: number, into: Uint8Array) => Promise<void>;

/** A part that is read by the first answer that came to it. */
interface SharedPart {
  readonly place: string;
  readonly start: number;
  readonly buffer: Buffer;
  readonly bytes: Uint8Array;
  readonly filled: Promise<void>;
  users: number;
  isFree: boolean;
}

/** The answers that send one blob now, each by the next byte that it will take, and the parts that are shared. */
interface Audience {
  readonly positions: Set<{ at: number }>;
  readonly parts: Map<string, SharedPart>;
}

const audiences = new Map<string, Audience>();
let waiting = 0;

/** Parts for one answer alone. */
export function ownParts(read: Read): Parts {
  return {
    async take(at, most, large) {
      const buffer = lendBuffer(most, large);
      const bytes = buffer.subarray(0, Math.min(buffer.length, most));
      return fill(read, at, buffer, bytes);
    },
    close() {},
  };
}

/** Parts of what `name` names, the same bytes whoever reads them: a digest. */
export function sharedParts(name: string, read: Read): Parts {
  const audience: Audience = audiences.get(name) ?? { positions: new Set(), parts: new Map() };
  audiences.set(name, audience);
  const { positions, parts } = audience;
  const position = { at: 0 };
  positions.add(position);
  const own = ownParts(read);

  const share = async (at: number, most: number): Promise<Part> => {
    // Whatever byte each began with, they meet at the same places.
    const length = Math.min(most, LARGE_PART_BYTES - (at % LARGE_PART_BYTES));
    const place = `${at} ${length}`;
    const known = parts.get(place);
    if (known) {
      if (known.users === 0) waiting -= 1;
      known.users += 1;
      const isFilled = await known.filled.then(
        () => true,
        () => false,
      );
      if (isFilled) return { bytes: known.bytes, giveBack: (isFree) => leave(audience, known, isFree) };
      // Another's failure, its closed file for example, is not ours.
      leave(audience, known, false);
      return own.take(at, length, true);
    }
    const buffer = lendBuffer(length, true);
    const bytes = buffer.subarray(0, Math.min(buffer.length, length));
    // There was no large one to be had.
    if (bytes.length < length) return fill(read, at, buffer, bytes);
    const made = { place, start: at, buffer, bytes, filled: read(at, bytes), users: 1, isFree: true };
    parts.set(place, made);
    try {
      await made.filled;
    } catch (error) {
      parts.delete(place);
      leave(audience, made, false);
      throw error;
    }
    return { bytes, giveBack: (isFree) => leave(audience, made, isFree) };
  };

  return {
    async take(at, most, large) {
      position.at = at;
      const part = await (large && positions.size > 1 ? share(at, most) : own.take(at, most, large));
      position.at = at + part.bytes.length;
      sweep(audience);
      return part;
    },
    close() {
      positions.delete(position);
      sweep(audience);
      if (positions.size === 0 && audiences.get(name) === audience) audiences.delete(name);
    },
  };
}

async function fill(read: Read, at: number, buffer: Buffer, bytes: Uint8Array): Promise<Part> {
  const giveBack = (isFree: boolean): void => (isFree ? takeBack : writeOff)(buffer);
  try {
    await read(at, bytes);
  } catch (error) {
    giveBack(false);
    throw error;
  }
  return { bytes, giveBack };
}

function leave(audience: Audience, part: SharedPart, isFree: boolean): void {
  part.users -= 1;
  part.isFree &&= isFree;
  if (part.users > 0) return;
  if (waiting < MOST_WAITING && isListed(audience, part) && isWanted(audience, part)) waiting += 1;
  else drop(audience, part);
}

/** Whether those who come to this place find it. */
const isListed = (audience: Audience, part: SharedPart): boolean => audience.parts.get(part.place) === part;

function isWanted({ positions }: Audience, { start }: SharedPart): boolean {
  for (const { at } of positions) if (at <= start && start - at <= WINDOW_BYTES) return true;
  return false;
}

/** Lets go of what waited for an answer that has it now, or will not come. */
function sweep(audience: Audience): void {
  for (const part of audience.parts.values()) {
    if (part.users > 0 || isWanted(audience, part)) continue;
    waiting -= 1;
    drop(audience, part);
  }
}

function drop(audience: Audience, part: SharedPart): void {
  if (isListed(audience, part)) audience.parts.delete(part.place);
  (part.isFree ? takeBack : writeOff)(part.buffer);
}
