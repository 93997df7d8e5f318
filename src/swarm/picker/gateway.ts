/**
 * Who fetches a piece into our zone. Each near member, and we, have a weight for each piece, a hash
 * of name and piece (rendezvous hashing): the heaviest is the piece's gateway. All members come to
 * the same answer without a word, so a zone takes about one copy over its uplink, and a member that
 * leaves hands over only its own pieces.
 *
 * And when the rule is void: near-first must never be near-only. We are hungry when nothing came
 * for `HUNGRY_MS`, or when what comes is a small part of what has come at best.
 */
import { type Bits, clearBit, createBits, setBit } from './bits.ts';

/** Nothing arrived for so long: take what we lack from anybody. */
const HUNGRY_MS = 1_000;

/** Pace is averaged over this time. */
const PACE_MS = 1_000;

/** Below this part of the best pace, the near members do not suffice. */
const HUNGRY_PART = 0.25;

/** FNV-1a, then mixed: names differ in few characters. */
function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

/** The weight of a member for a piece, 32 bits (the finaliser of MurmurHash3). */
function weigh(member: number, piece: number): number {
  let hash = member ^ Math.imul(piece + 1, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export interface Gateway {
  /** Near members join and leave. O(pieces). */
  join(name: string): void;
  leave(name: string): void;
  /** The pieces that are ours to fetch from outside. Read only. */
  readonly ours: Bits;
  /** Bytes came, from anybody. */
  progress(bytes: number): void;
  /** Whether the rule is void now. */
  hungry(now: number): boolean;
}

export function createGateway(pieceCount: number, ourName: string): Gateway {
  const us = hashName(ourName);
  const members = new Map<string, number>();
  const heaviest = new Uint32Array(pieceCount);
  const ours = createBits(pieceCount);
  let begunAt: number | undefined;
  let progressAt: number | undefined;
  let measuredAt = 0;
  let pending = 0;
  let pace = 0;
  let best = 0;

  function decide(piece: number): void {
    if (weigh(us, piece) >= (heaviest[piece] ?? 0)) setBit(ours, piece);
    else clearBit(ours, piece);
  }

  for (let piece = 0; piece < pieceCount; piece++) setBit(ours, piece);

  return {
    ours,
    join(name) {
      if (members.has(name)) return;
      const member = hashName(name);
      members.set(name, member);
      for (let piece = 0; piece < pieceCount; piece++) {
        const weight = weigh(member, piece);
        if (weight <= (heaviest[piece] ?? 0)) continue;
        heaviest[piece] = weight;
        decide(piece);
      }
    },
    leave(name) {
      const member = members.get(name);
      if (member === undefined) return;
      members.delete(name);
      for (let piece = 0; piece < pieceCount; piece++) {
        if (weigh(member, piece) !== heaviest[piece]) continue;
        let weight = 0;
        for (const other of members.values()) weight = Math.max(weight, weigh(other, piece));
        heaviest[piece] = weight;
        decide(piece);
      }
    },
    progress(bytes) {
      pending += bytes;
    },
    hungry(now) {
      if (begunAt === undefined) {
        begunAt = now;
        measuredAt = now;
      }
      const span = now - measuredAt;
      if (pending > 0) progressAt = now;
      if (span >= PACE_MS / 4) {
        const keep = Math.exp(-span / PACE_MS);
        pace = pace * keep + (pending / span) * (1 - keep);
        best = Math.max(best, pace);
        pending = 0;
        measuredAt = now;
      }
      if (now - (progressAt ?? begunAt) > HUNGRY_MS) return true;
      return pace < best * HUNGRY_PART;
    },
  };
}
